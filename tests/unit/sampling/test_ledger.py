"""The ledger of a run: what is noted counts once, whatever else is in the file and whoever writes at the same time."""

import json
import math
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.errors import UserError
from distillery.sampling import budget as module
from distillery.sampling.budget import KINDS, Budget

pytestmark = pytest.mark.reliability("store")

LIMITS = {"samples": 1e9}


def entry(samples: float = 3, tokens: float = 90, money: float = 0.5, **more: object) -> bytes:
    return json.dumps({"samples": samples, "tokens": tokens, "money": money, **more}).encode()


amounts = st.fixed_dictionaries({kind: st.integers(0, 1000) for kind in KINDS})
torn = st.builds(lambda line, end: line[:end], amounts.map(lambda a: entry(**a)), st.integers(0, 20))
no_entry = st.one_of(
    torn,
    st.binary(max_size=30).filter(lambda junk: b"{" not in junk and b"}" not in junk),
    st.integers(1, 5000).map(bytes),
    st.sampled_from([
        b'{"samples": -5, "tokens": 1, "money": 1}', b'{"samples": NaN, "tokens": 1, "money": 1}', b"[1, 2]", b"null",
        b'{"samples": 1e400, "tokens": 1, "money": 1}', b'{"samples": 1e300, "tokens": 1, "money": 1}', b"{}", b"\xff",
        b'{"samples": true, "tokens": 1, "money": 1}', b'{"samples": "5", "tokens": 1, "money": 1}', b'{"other": 1}',
        b'{"samples": -Infinity, "tokens": 1, "money": 1}', b'{"samples": ' + b"9" * 5000 + b"}", b'{"samples": null}',
        b'{"samples": ' + b"[" * 99999 + b"}", '{"samples": "\u00e4"}'.encode("latin-1"), b'{"money": {"samples": -1}}',
    ]),
)  # fmt: skip


@pytest.mark.reliability("store", cases=100)
@given(st.lists(st.tuples(st.booleans(), amounts, no_entry, st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n\0\0"]))))
def test_entries_count_whatever_lies_between_them_and_no_damage_lowers_or_blocks(lines):
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder, "run.jsonl")
        ledger.write_bytes(b"".join((entry(**good) if is_good else bad) + end for is_good, good, bad, end in lines))
        budget = Budget(LIMITS, ledger)
        total = {kind: sum(good[kind] for is_good, good, _, _ in lines if is_good) for kind in KINDS}
        assert budget.spent == total
        budget.note(samples=1, tokens=2, money=0.25)
        budget.close()
        spent = {"samples": total["samples"] + 1, "tokens": total["tokens"] + 2, "money": total["money"] + 0.25}
        assert budget.spent == Budget(LIMITS, ledger).spent == spent
        assert budget.affords(samples=1, tokens=1, money=1) and all(map(math.isfinite, spent.values()))


@pytest.mark.parametrize("end", range(len(entry()) + 1))
def test_an_entry_after_a_torn_line_counts_wherever_the_line_was_torn(tmp_path, end):
    ledger = tmp_path / "run.jsonl"
    ledger.write_bytes(entry() + b"\n" + entry()[:end])
    budget = Budget(LIMITS, ledger)
    budget.note(samples=1, tokens=0, money=0)
    budget.close()
    assert Budget(LIMITS, ledger).spent["samples"] == 3 + 1 + (3 if end == len(entry()) else 0)


def test_what_was_known_as_spent_is_never_taken_back(tmp_path):
    ledger = tmp_path / "run.jsonl"
    ledger.write_bytes(entry())
    budget = Budget({"samples": 4}, ledger)
    ledger.write_bytes(bytes(100))
    budget.note(samples=1, tokens=0, money=0)
    budget.close()
    assert budget.spent["samples"] == 4 and budget.exhausted == "samples"


def test_damage_is_reported_once(tmp_path, caplog):
    ledger = tmp_path / "run.jsonl"
    ledger.write_bytes(entry()[:9])
    budget = Budget(LIMITS, ledger)
    for _ in range(3):
        budget.note(samples=1, tokens=0, money=0)
        budget.close()
    assert caplog.text.count("passed over") == 1


def test_a_request_is_billed_once_however_often_it_is_noted(tmp_path):
    budget = Budget(LIMITS, tmp_path / "run.jsonl")
    for _ in range(3):
        budget.note(samples=1, tokens=5, money=1, request="a")
        budget.close()
    budget.note(samples=1, tokens=5, money=1, request="b")
    assert budget.spent["samples"] == 2
    budget.close()
    assert Budget(LIMITS, tmp_path / "run.jsonl").spent == {"samples": 2, "tokens": 10, "money": 2}


@pytest.mark.parametrize("step", ["_append", "_read"])
def test_an_interrupted_entry_counts_once(tmp_path, monkeypatch, step):
    """Ctrl-C comes when the line is in the file and nobody knows it yet, or just after."""
    budget = Budget(LIMITS, tmp_path / "run.jsonl")
    real = getattr(module, step, None) or getattr(Budget, step)

    def interrupted(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module if step == "_append" else Budget, step, interrupted)
        budget.note(samples=1, tokens=5, money=1, request="a")
        with pytest.raises(KeyboardInterrupt):
            budget.close()
    assert budget.spent["samples"] == 1
    budget.note(samples=1, tokens=5, money=1, request="b")
    budget.close()
    assert budget.spent["samples"] == 2 == Budget(LIMITS, tmp_path / "run.jsonl").spent["samples"]


def spend(ledger: Path, times: int) -> None:
    budget = Budget(LIMITS, ledger)
    for _ in range(times):
        budget.note(samples=1, tokens=2, money=0.5)
        budget.close()


@pytest.mark.reliability("store", cases=4 * 50)
def test_processes_that_note_at_the_same_time_lose_nothing(tmp_path):
    ledger = tmp_path / "ledger" / "run.jsonl"
    processes = [multiprocessing.get_context("fork").Process(target=spend, args=(ledger, 50)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert Budget(LIMITS, ledger).spent == {"samples": 200, "tokens": 400, "money": 100}


def test_a_ledger_that_cannot_be_kept_is_named(tmp_path):
    ledger = tmp_path / "run.jsonl"
    budget = Budget(LIMITS, ledger)
    ledger.mkdir()
    budget.note(samples=1, tokens=0, money=0)
    with pytest.raises(UserError, match=r"run\.jsonl"):
        budget.close()
    assert budget.spent["samples"] == 1
    with pytest.raises(UserError, match=r"run\.jsonl"):
        Budget(LIMITS, ledger)
    os.rmdir(ledger)
    budget.close()
    assert Budget(LIMITS, ledger).spent["samples"] == 1
