"""Jobs that request the same keys at the same time: each key is requested once, and everybody has the same answer."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from distillery.config.model import ApiModel
from distillery.models.sources import prepare_model
from distillery.sampling.claims import Claim, ForeignClaims
from distillery.sampling.requests import Request, Series
from distillery.sampling.store import CompletionStore

from .test_api_faults import KEY, Server, chat

pytestmark = pytest.mark.reliability("store")

LIBRARY = Path(__file__).parents[3] / "workflow"
DECODING = {"temperature": 0.0, "max_new_tokens": 8}
ASK = """
import json, logging, sys
from pathlib import Path
from distillery.errors import UserError
from distillery.sampling.requests import Request
from distillery.sampling.sampler import CompletionSampler
from distillery.sampling.store import CompletionStore
logging.basicConfig(level="INFO", stream=sys.stderr)
model, store, identity, *questions = sys.argv[1:]
sampler = CompletionSampler(Path(model), identity, "api", CompletionStore(store))
requests = [Request(question, 0, special_tokens=False) for question in questions]
try:
    answers = sampler.complete(requests, DECODING, [], "test")
    print(json.dumps({q: answer.text for q, answer in zip(questions, answers)}))
except UserError as error:
    print(error)
""".replace("DECODING", repr(DECODING))


class Bench:
    """A model behind an endpoint that never gives the same text twice, a store, and processes that ask."""

    def __init__(self, folder: Path, answer) -> None:
        self.folder, self.processes = folder, []
        self.server = Server(answer)
        model = ApiModel(kind="api", id="t", endpoint=self.server.url, key="MY_KEY")
        made = prepare_model(model, folder / "model", parent=None, downloads=folder)
        self.identity = made.identity

    def ask(self, *questions: str, **environment: str) -> subprocess.Popen:
        """A process that asks these questions; it prints its answers, or why it has none."""
        self.processes.append(
            subprocess.Popen(
                [sys.executable, "-c", ASK, self.folder / "model", self.folder / "store", self.identity, *questions],
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(LIBRARY), "MY_KEY": KEY, **environment},
            )
        )
        return self.processes[-1]

    def stored(self, *questions: str) -> dict[str, str]:
        """What a later reader finds."""
        series = Series.of(self.identity, DECODING, [])
        keys = {Request(question, 0, special_tokens=False).key(series): question for question in questions}
        store = CompletionStore(str(self.folder / "store"))
        rows = [key for _, table in store.tables(series, ["key"]) for key in table["key"].to_pylist()]
        assert len(rows) == len(set(rows)), "an answer was added to one that was there"
        found = store.find(series, set(keys))
        return {keys[key]: stored.text for key, stored in found.items()}


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    made = []

    def make(answer) -> Bench:
        made.append(Bench(tmp_path, answer))
        return made[0]

    yield make
    for process in made[0].processes:
        process.kill()
        process.communicate()
    made[0].server.http.shutdown()


def answers_of(process: subprocess.Popen) -> dict[str, str]:
    out, err = process.communicate(timeout=60)
    assert out.startswith("{"), out + err
    return json.loads(out)


def until(process: subprocess.Popen, words: str) -> None:
    """Read the log of a process up to these words."""
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"the process ended and did not say: {words}")


def test_processes_that_ask_the_same_at_the_same_time_ask_each_once_and_have_the_same_answers(bench):
    own, all_at_work = {"own 0", "own 1", "own 2"}, threading.Event()

    def answer(prompt, number):
        own.discard(prompt)
        if not own:
            all_at_work.set()  # nothing is answered before each process has sent its first request
        assert all_at_work.wait(60)
        return 200, chat(f"{prompt}: answer {number}"), {}

    at = bench(answer)
    asked = [[f"own {n}", *(f"question {q}" for q in range(10 * n, 10 * n + 20))] for n in range(3)]
    processes = [at.ask(*questions) for questions in asked]
    answers = [answers_of(process) for process in processes]
    everything = sorted({question for questions in asked for question in questions})
    assert Counter(at.server.prompts) == dict.fromkeys(everything, 1)
    stored = at.stored(*everything)
    assert sorted(stored) == everything
    for questions, given in zip(asked, answers, strict=True):
        assert given == {question: stored[question] for question in questions}


def test_what_a_killed_process_had_claimed_is_asked_by_the_one_that_waits(bench):
    begun, killed = threading.Event(), threading.Event()

    def answer(prompt, number):
        begun.set()
        assert killed.wait(60)
        return 200, chat(f"answer {number}"), {}

    at = bench(answer)
    questions = [f"question {n}" for n in range(20)]
    first = at.ask(*questions)
    assert begun.wait(60)
    second = at.ask(*questions[5:])
    until(second, "test: 15 completions is under way elsewhere")
    asked = len(at.server.prompts)
    first.kill()
    first.wait()
    killed.set()
    assert answers_of(second) == at.stored(*questions) and len(at.stored(*questions)) == 15
    assert Counter(at.server.prompts[asked:]) == dict.fromkeys(questions[5:], 1)


def test_a_stopped_process_loses_its_claim_and_changes_no_answer_when_it_continues(bench):
    begun, taken = threading.Barrier(4, timeout=60), threading.Event()

    def answer(prompt, number):
        if number <= 3:
            begun.wait()
            assert taken.wait(60)
        return 200, chat(f"answer {number}"), {}

    at = bench(answer)
    questions = [f"question {n}" for n in range(3)]
    stopped = at.ask(*questions)
    begun.wait()
    stopped.send_signal(signal.SIGSTOP)
    second = at.ask(*questions, DISTILLERY_LOCK_TAKEOVER="0.3")
    taken_over = answers_of(second)
    assert sorted(taken_over.values()) == ["answer 4", "answer 5", "answer 6"]
    assert at.stored(*questions) == taken_over
    taken.set()
    stopped.send_signal(signal.SIGCONT)
    out, _ = stopped.communicate(timeout=60)
    assert "another process took over its requests" in out
    assert at.stored(*questions) == taken_over


def test_a_claim_ends_when_it_is_given_back_and_takes_its_files_with_it(tmp_path):
    claim, foreign = Claim(tmp_path), ForeignClaims(tmp_path, "test")
    claim.make(["a", "b"])
    assert foreign.keys() == {"a", "b"}
    claim.check()
    claim.close()
    assert foreign.keys() == set() and list(tmp_path.iterdir()) == []


def test_files_of_dead_claims_are_removed_and_claim_nothing(tmp_path):
    (tmp_path / "dead.lock").write_text("{}")
    (tmp_path / "dead.keys").write_text("a\n")
    assert ForeignClaims(tmp_path, "test").keys() == set()
    assert list(tmp_path.iterdir()) == []
