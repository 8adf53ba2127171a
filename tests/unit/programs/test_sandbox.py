"""The sandbox: order, profiles, limits, replacement of workers; hostile programs have tests of their own."""

import os
import time

import pytest

from distillery.errors import UserError
from distillery.programs import sandbox
from distillery.programs.execution import RunOutcome
from distillery.programs.sandbox import Sandbox, Worker, probe


def program(expression):
    return f"def solution():\n    return {expression}\n"


def opened(**settings):
    try:
        return Sandbox(**{"workers": 1, **settings})
    except UserError as error:
        pytest.skip(f"no sandbox on this machine: {error}")


@pytest.fixture(scope="module")
def box():
    with opened() as one:
        yield one


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_programs(workers):
    delays = [f"sum(range({200_000 if number % 7 == 0 else 1})) * 0 + {number}" for number in range(60)]
    with opened(workers=workers) as box:
        assert [run.value for run in box.run(map(program, delays))] == [str(number) for number in range(60)]


def test_the_profile_in_use_has_a_name(box):
    assert box.profile.removesuffix("+landlock") == probe()


@pytest.fixture
def sent(monkeypatch):
    """The programs that were sent to workers, in order."""
    programs = []
    honest = Worker.send
    monkeypatch.setattr(Worker, "send", lambda worker, source: (programs.append(source), honest(worker, source))[1])
    return programs


def test_a_program_that_used_up_its_processor_time_costs_its_limit_once(sent):
    endless = ["def solution():\n    while True: pass\n", "def solution():\n    while 1: pass\n"]
    with opened(workers=2, cpu_seconds=1) as box:
        runs = list(box.run([*endless, *(program(number) for number in range(10))]))
    assert [run.label for run in runs] == ["timeout_cpu", "timeout_cpu", *["ok"] * 10]
    assert [sent.count(source.encode()) for source in endless] == [1, 1]


def test_a_program_that_waited_too_long_runs_once_more_alone(sent):
    waits = "import time\ndef solution():\n    time.sleep(9)\n"
    with opened(workers=2, wall_seconds=0.5, gate=False) as box:
        runs = list(box.run([waits, *(program(number) for number in range(4))]))
    assert [run.label for run in runs] == ["timeout_wall", *["ok"] * 4]
    assert sent.count(waits.encode()) == 2 and sent[-1] == waits.encode()


def test_the_time_of_a_slow_reader_is_not_the_programs(monkeypatch):
    with opened(wall_seconds=0.5) as box:
        runs = []
        for run in box.run([program(number) for number in range(4)]):
            runs.append(run.outcome)
            time.sleep(0.7)
    assert set(runs) == {RunOutcome.OK}


def test_a_worker_is_replaced_after_its_share_and_after_a_kill(monkeypatch):
    monkeypatch.setattr(sandbox, "PROGRAMS_PER_WORKER", 5)
    started = []
    honest = Worker.start
    with opened() as box:
        monkeypatch.setattr(Worker, "start", lambda worker: (started.append(1), honest(worker))[1])
        list(box.run([program(number) for number in range(11)]))
        assert len(started) == 2
        list(box.run(["def solution():\n    while True: print('x' * 1000)\n", program(1)]))
        assert len(started) == 3


def test_programs_see_nothing_of_one_another(box):
    writes = "import math\ndef solution():\n    return math.pi\n"
    with opened(gate=False) as free:
        spoiled = "import math, builtins\nmath.pi = 3\nbuiltins.abs = None\ndef solution():\n    return math.pi\n"
        values = [run.value for run in free.run([spoiled, writes, program("abs(-3)")])]
    assert values == ["3", "3.141592653589793", "3"]


def test_results_are_the_same_in_every_run(box):
    unordered = program("''.join({'ann', 'bob', 'cem', 'dee', 'eve', 'fay'})")
    with opened() as other:
        assert {run.value for one in (box, other) for run in one.run([unordered] * 2)} == {
            next(iter(box.run([unordered]))).value
        }


def test_what_is_printed_is_counted_with_the_value(box):
    texts = [
        "    print(5)\n    return 6\n",
        "    return 6\n",
        "    print('a', end='')\n    return 6\n",
        "    print('x')\n    x\n",
    ]
    runs = list(box.run([f"def solution():\n{text}" for text in texts]))
    assert [(run.stdout_lines, run.last_stdout) for run in runs] == [(2, None), (1, "6"), (1, "a6"), (1, "x")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("def solution():\n    return x\n", "NameError: name 'x' is not defined"),
        ("def solution():\n    return {}['a']\n", "KeyError: 'a'"),
        ("def solution(:\n", "SyntaxError: invalid syntax"),
        (
            "def solution():\nreturn 1\n",
            "IndentationError: expected an indented block after function definition on line 1",
        ),
        ("def solution():\n    raise ValueError\n", "ValueError"),
    ],
)
def test_the_last_line_of_the_traceback_is_what_python_prints(text, line, box):
    assert next(iter(box.run([text]))).traceback_line == line


def test_modules_that_import_late_work_behind_the_filter(box):
    late = (
        "from datetime import datetime\nfrom fractions import Fraction\nfrom collections import namedtuple\n"
        "def solution():\n    P = namedtuple('P', 'x')\n    d = datetime.strptime('03/11/2002', '%m/%d/%Y')\n"
        "    return d.strftime('%A %d %B') + str(Fraction('1/3') + P(1).x) + '\\N{EURO SIGN}' + f'{1e6:,.1f}'\n"
    )
    assert next(iter(box.run([late]))).value == "Monday 11 March4/3\u20ac1,000,000.0"


def test_a_rejected_program_is_not_run(box):
    (run,) = box.run(["import os\ndef solution():\n    return 1\n"])
    assert (run.label, run.seconds) == ("rejected:import", 0.0)


def test_no_programs_give_no_results_and_one_run_at_a_time(box):
    assert list(box.run([])) == []
    first = box.run([program(1), program(2)])
    next(first)
    with pytest.raises(RuntimeError, match="second one"):
        next(box.run([program(3)]))
    first.close()
    assert [run.value for run in box.run([program(3)])] == ["3"]


def test_an_unknown_profile_is_named():
    with pytest.raises(UserError, match="no such sandbox profile"):
        Sandbox(profile="docker")


def test_where_no_profile_holds_nothing_runs_unless_it_is_called_unsafe(monkeypatch):
    monkeypatch.setattr(sandbox, "_self_test", lambda *_: "it could fork")
    probe.cache_clear()
    sandbox._resolve.cache_clear()
    try:
        with pytest.raises(UserError, match=r"it could fork.*docs/sandbox.md.*unsafe"):
            Sandbox()
        with Sandbox("unsafe", workers=1) as box:
            assert box.profile == "unsafe"
            assert [run.value for run in box.run([program(6)])] == ["6"]
    finally:
        probe.cache_clear()
        sandbox._resolve.cache_clear()


def test_the_self_test_notices_a_wall_with_a_hole(monkeypatch):
    monkeypatch.setattr(sandbox, "worker_settings", lambda profile, **limits: HONEST("unsafe", **limits))
    assert "a test program could fork" in sandbox._self_test("seccomp", None)


HONEST = sandbox.worker_settings


def test_the_environment_of_this_process_stays_outside(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "secret")
    with opened(gate=False) as box:
        (run,) = box.run(["import os\ndef solution():\n    return str(dict(os.environ))\n"])
    assert "SECRET" not in run.value and os.environ["SECRET_TOKEN"] == "secret"
