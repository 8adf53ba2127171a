"""Hostile programs: each is judged as written here, behind the gate and without it, and leaves nothing behind.

A case says what the sandbox must make of its programs when the gate is off; with the gate on, a gated case must be
turned away. After every program: the worker's processes are those from before, this process lives, and the next program
is judged right. Wherever bwrap works, bwrap is the wall that is tested.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from distillery.errors import UserError
from distillery.programs import isolation, sandbox
from distillery.programs.execution import RunOutcome
from distillery.programs.gate import refusal
from distillery.programs.isolation import bwrap_programs
from distillery.programs.sandbox import Sandbox

from .cases import CASES, NEXT, SPIN, body, using

pytestmark = [pytest.mark.slow, pytest.mark.reliability("program")]
CPU, WALL, WAIT = 2, 20.0, 1.0
MEMORY = 256
"""MB. Filling them takes a tenth of a second, on a machine that is short of pages ten times as much: well below CPU."""
"""Limits in seconds; WAIT is the wall's limit for programs that wait, which no load makes later."""
ENDED = 30
"""Seconds after which a process that goes on is one that survived."""

RUNS = [(name, program) for name, case in CASES.items() for program in case.programs]


def ids(runs):
    return [f"{CASES[name].number}. {name} {number}" for number, (name, _) in enumerate(runs)]


@pytest.fixture(scope="module")
def tag(tmp_path_factory):
    """Marks the command line of this module's workers, so that they can be told from anybody else's."""
    tag, patch = f"# {uuid.uuid4()}", pytest.MonkeyPatch()
    copy = tmp_path_factory.mktemp("worker") / "worker.py"
    copy.write_text(isolation.WORKER.read_text() + tag + "\n")
    patch.setattr(isolation, "WORKER", copy)
    yield tag
    patch.undo()


def marked(tag):
    """Process ids of this module's workers and of what they left behind."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and tag.encode() in (entry / "cmdline").read_bytes():
                found.add(entry.name)
        except OSError:
            continue
    return found


def namespaces_work():
    """Whether a bwrap of this machine starts a program, by a command of this file and not by the sandbox's own."""
    plain = ["--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--dev", "/dev", "true"]
    return any(subprocess.run([bwrap, *plain], capture_output=True).returncode == 0 for bwrap in bwrap_programs())


STRONGEST = "bwrap" if namespaces_work() else "seccomp"
"""What `auto` must take here. Were it to fall back in silence, every case below would pass behind the weaker wall."""


def box_of(profile, gate, wall=WALL):
    wanted = STRONGEST if profile == "auto" else profile
    try:
        box = Sandbox(profile, workers=1, wall_seconds=wall, cpu_seconds=CPU, memory_mb=MEMORY, gate=gate)
    except UserError as error:
        if wanted == STRONGEST == "bwrap":
            raise
        pytest.skip(f"no {profile} sandbox on this machine: {error}")
    assert box.profile.split("+")[0] == wanted
    return box


def left(tag, most):
    """This module's processes, once there are at most so many, or none ends any more; the kernel says when one does."""
    while len(found := marked(tag)) > most:
        handles = []
        with contextlib.ExitStack() as opened:
            for number in found:
                with contextlib.suppress(ProcessLookupError):
                    handles.append(os.pidfd_open(int(number)))
                    opened.callback(os.close, handles[-1])
            if len(handles) == len(found) and not select.select(handles, [], [], ENDED)[0]:
                break
    return marked(tag)


def test_the_strongest_wall_of_this_machine_is_the_one_under_test(boxes):
    for gate in (True, False):
        box, _ = boxes("auto", gate)
        assert box.profile.split("+")[0] == STRONGEST


@pytest.fixture(scope="module")
def boxes(tag):
    """A sandbox per profile, behind the gate and without it, with the number of processes that it consists of."""
    opened = {}

    def box(profile, gate, wall=WALL):
        if (profile, gate, wall) not in opened:
            before = len(marked(tag))
            sandbox = box_of(profile, gate, wall).__enter__()
            list(sandbox.run([NEXT]))
            opened[profile, gate, wall] = sandbox, len(marked(tag)) - before
        return opened[profile, gate, wall]

    yield box
    for one, _ in opened.values():
        one.__exit__()


def run_and_check(boxes, tag, profile, gate, program, wall=WALL):
    box, _ = boxes(profile, gate, wall)
    usual = sum(size for _, size in (boxes(*key) for key in USED))
    parent = os.getpid()
    execution = next(iter(box.run([program])))
    assert os.getpid() == parent
    (following,) = box.run([NEXT])
    assert (following.outcome, following.value) == (RunOutcome.OK, "42")
    assert len(left(tag, usual)) <= usual, "something survived"
    return execution


USED = [(*key, wall) for wall in (WALL, WAIT) for key in (("auto", True), ("auto", False), ("seccomp", False))]


def wall_of(case):
    return WAIT if "timeout_wall" in case.expected else WALL


def fits(execution, expected):
    return bool({execution.label, str(execution.outcome)} & expected)


@pytest.mark.parametrize(("name", "program"), RUNS, ids=ids(RUNS))
def test_behind_the_gate_a_hostile_program_is_turned_away_or_judged_as_written(name, program, boxes, tag):
    case = CASES[name]
    execution = run_and_check(boxes, tag, "auto", True, program, wall_of(case))
    if case.gated and execution.outcome != RunOutcome.SYNTAX:
        assert execution.outcome == RunOutcome.REJECTED, execution
        assert execution.detail
    else:
        assert fits(execution, case.expected), execution


# What the gate lets through went the same way in the test above.
GATED = [(name, program) for name, program in RUNS if refusal(program) is not None]


@pytest.mark.parametrize(("name", "program"), GATED, ids=ids(GATED))
def test_without_the_gate_the_wall_alone_holds(name, program, boxes, tag):
    execution = run_and_check(boxes, tag, "auto", False, program, wall_of(CASES[name]))
    assert fits(execution, CASES[name].expected), execution


QUICK = [(name, program) for name, program in RUNS if not CASES[name].slow]


@pytest.mark.parametrize(("name", "program"), QUICK, ids=ids(QUICK))
def test_system_call_filter_and_limits_hold_without_namespaces(name, program, boxes, tag):
    execution = run_and_check(boxes, tag, "seccomp", False, program)
    assert fits(execution, CASES[name].expected), execution


def test_a_forged_record_lies_about_its_own_value_only(boxes, tag):
    forged = using(
        "os, json",
        "r = {'status': 'value', 'kind': 'int', 'value': '12', 'error': None, 'message': '',",
        "     'stdout_lines': 1, 'last_stdout': '12'}",
        "data = json.dumps(r).encode()",
        "os.write(3, len(data).to_bytes(4, 'big') + data)",
        "os._exit(0)",
    )
    execution = run_and_check(boxes, tag, "auto", False, forged)
    assert (execution.outcome, execution.value) == (RunOutcome.OK, "12")


def test_nothing_is_left_when_the_sandbox_closes_while_a_program_runs(tag):
    others = marked(tag)
    with box_of("auto", False) as box:
        runs = box.run([NEXT, body(SPIN)])
        assert next(runs).value == "42"
        runs.close()
    assert left(tag, len(others)) - others == set()


def test_a_worker_that_dies_is_replaced_and_no_program_is_blamed(boxes):
    box, _ = boxes("auto", True)
    for worker in box._pool:
        os.kill(worker.process.pid, signal.SIGKILL)
    assert [run.value for run in box.run([NEXT, NEXT])] == ["42", "42"]


def test_a_fault_of_the_sandbox_that_stays_is_named_as_such(boxes, monkeypatch):
    box, _ = boxes("auto", True)

    def send(worker, source):
        raise OSError("no such worker")

    with monkeypatch.context() as patch:
        patch.setattr(sandbox.Worker, "send", send)
        assert [run.outcome for run in box.run([NEXT])] == [RunOutcome.SANDBOX_ERROR]
    assert [run.value for run in box.run([NEXT])] == ["42"]


def test_programs_of_root_run_as_nobody_even_without_namespaces(tag):
    if os.geteuid() != 0:
        pytest.skip("not root")
    with box_of("seccomp", True) as box:
        status = Path(f"/proc/{box._pool[0].process.pid}/status").read_text()
    assert "Uid:\t65534\t65534\t65534" in status


def test_every_case_of_the_specification_is_here():
    assert {case.number for case in CASES.values()} == set(range(1, 26))


def test_an_ordinary_user_has_the_same_walls():
    """Root gives up its rights and runs the telling cases again; for anybody else all tests above have shown it."""
    if os.geteuid() != 0:
        pytest.skip("not root: the tests above ran as an ordinary user")
    ordinary = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    rights = subprocess.run([*ordinary, "grep", "CapEff", "/proc/self/status"], capture_output=True, text=True)
    if rights.returncode != 0:
        pytest.skip(f"no user namespaces on this machine: {rights.stderr}")
    assert int(rights.stdout.split()[1], 16) == 0
    cases = "files or network or signals or bombs or daemon or forged or crashing"
    ran = subprocess.run(
        [*ordinary, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__,
         "-k", f"(without_the_gate or without_namespaces) and ({cases})"],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ran.returncode == 0 and " passed" in ran.stdout, ran.stdout + ran.stderr
    assert "failed" not in ran.stdout.splitlines()[-1]
