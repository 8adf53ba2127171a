"""GPUs: each job claims its own; what a scheduler has decided is respected."""

import os
import threading

import pytest

from distillery.jobs.gpus import claimed_gpus


@pytest.fixture(autouse=True)
def _no_gpus_chosen(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_two_jobs_get_different_gpus_and_a_third_waits(tmp_path):
    waited = threading.Event()

    def third() -> None:
        with claimed_gpus(1, ["0", "1"], [tmp_path]):
            waited.set()

    with claimed_gpus(1, ["0", "1"], [tmp_path]) as first:
        del os.environ["CUDA_VISIBLE_DEVICES"]  # another job is another process, with an environment of its own
        with claimed_gpus(1, ["0", "1"], [tmp_path]) as second:
            assert first + second == ["0", "1"]
            assert os.environ.pop("CUDA_VISIBLE_DEVICES") == "1"
            job = threading.Thread(target=third)
            job.start()
            assert not waited.wait(0.3)
            os.environ["CUDA_VISIBLE_DEVICES"] = "1"
        os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    job.join(timeout=10)
    assert waited.is_set()


def test_a_schedulers_choice_is_respected(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with claimed_gpus(1, ["0"], [tmp_path]) as claimed:
        assert claimed == []
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_machine_without_gpus_has_nothing_to_claim(tmp_path):
    with claimed_gpus(1, [], [tmp_path]) as claimed:
        assert claimed == []
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_jobs_of_a_folder_that_cannot_be_used_share_the_next(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    folders = [tmp_path / "file", tmp_path / "second"]
    with claimed_gpus(1, ["0", "1"], folders) as first:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        with claimed_gpus(1, ["0", "1"], folders[1:]) as second:
            assert first + second == ["0", "1"]
        os.environ["CUDA_VISIBLE_DEVICES"] = "0"
