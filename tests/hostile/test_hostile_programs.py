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
from typing import NamedTuple

import pytest

from distillery.errors import UserError
from distillery.programs import isolation, sandbox
from distillery.programs.execution import RunOutcome
from distillery.programs.gate import refusal
from distillery.programs.isolation import bwrap_programs
from distillery.programs.sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.reliability("program")]
CPU, WALL, WAIT = 2, 20.0, 1.0
MEMORY = 256
"""MB. Filling them takes a tenth of a second, on a machine that is short of pages ten times as much: well below CPU."""
"""Limits in seconds; WAIT is the wall's limit for programs that wait, which no load makes later."""
ENDED = 30
"""Seconds after which a process that goes on is one that survived."""
NEXT = "def solution():\n    return 6 * 7"


class Case(NamedTuple):
    number: int
    gated: bool
    expected: set[str]
    programs: list[str]
    slow: bool = False


def body(*lines, head=""):
    return head + "def solution():\n" + "".join(f"    {line}\n" for line in lines)


def using(modules, *lines):
    return body(*lines, head=f"import {modules}\n")


SPIN = "while True: pass"
FAILS = {"exception"}
HARMLESS = {"exception", "wrong_type"}

CASES = {
    "a loop without end": Case(1, False, {"timeout_cpu"}, [body(SPIN)], slow=True),
    "sleep": Case(2, True, {"timeout_wall"}, [using("time", "time.sleep(60)")], slow=True),
    "more memory than there is": Case(
        3,
        False,
        {"memory"},
        [
            body("return [0] * 10**10"),
            body("rows = []", "while True: rows.append('x' * 10**6 + str(len(rows)))"),
            body("return [[[0] * 10**4 for j in range(10**3)] for k in range(10**3)]"),
        ],
    ),
    "numbers without end": Case(
        4,
        False,
        {"timeout_cpu", "memory"},
        [
            body("return 10**10**10"),
            body("return 9**9**9"),
            body("return 1 << 10**12"),
            body("return 'a' * 10**12"),
            body("return math.factorial(10**8)", head="import math\n"),
        ],
        slow=True,
    ),
    "text of a huge number": Case(
        4, False, {"exception:ValueError"}, [body("return str(10**5000)"), body("return 10**5000")]
    ),
    "recursion without end": Case(5, False, FAILS, [body("return solution()")]),
    "deep nesting": Case(
        5,
        True,
        {"syntax", "exception"},
        [
            body("return " + "(" * 10**5 + "1" + ")" * 10**5),
            body("return " + "-" * 8000 + "1"),
            body("return " + "(" * 60 + "1" + ")" * 59),
            body("return " + "[" * 3000),
        ],
    ),
    "leaving early": Case(
        6,
        True,
        {"exception", "killed"},
        [
            using("sys", "sys.exit(0)"),
            using("os", "os._exit(0)"),
            using("os", "print(12)", "os._exit(0)"),
        ],
    ),
    "raising past `except Exception`": Case(
        6,
        False,
        FAILS,
        [
            body("raise SystemExit"),
            body("raise KeyboardInterrupt"),
            body("raise BaseException"),
            "raise SystemExit(0)\n" + NEXT,
        ],
    ),
    "printing without end": Case(
        7, False, {"output_limit"}, [body("while True: print('x' * 100)"), body("print('x' * 10**7)")]
    ),
    "huge values and messages": Case(
        8,
        False,
        {"output_limit", "memory", "exception:ValueError"},
        [
            body("return 'a' * 10**10"),
            body("return 'a' * 10**8"),
            body("raise ValueError('m' * 10**7)"),
            body("return 10**300"),
        ],
    ),
    "objects whose text fails": Case(
        8,
        True,
        {"exception", "wrong_type"},
        [
            body("return A()", head="class A:\n    def __repr__(self): raise ValueError\n"),
            body("raise A()", head="class A(Exception):\n    def __str__(self): raise ValueError\n"),
            body("return A()", head="class A:\n    def __repr__(self): return 7\n"),
        ],
    ),
    "objects whose text never ends": Case(
        8,
        True,
        {"timeout_cpu"},
        [body("return A()", head="class A:\n    def __repr__(self):\n        while True: pass\n")],
        slow=True,
    ),
    "writing files": Case(
        9,
        True,
        FAILS,
        [
            *(body(f"open({name!r}, 'w').write('x')") for name in ("/usr/x", f"{Path.home()}/x", "x", "/tmp/x")),
            using("os", "for n in range(10**5): os.close(os.open(f'/tmp/{n}', os.O_CREAT | os.O_WRONLY))"),
            using("os", "os.mkdir('/tmp/x')"),
        ],
    ),
    "reading files": Case(
        10,
        True,
        FAILS,
        [
            *(
                body(f"return open({name!r}).read()")
                for name in ("/etc/passwd", "/proc/self/environ", f"{Path.home()}/.ssh/id_rsa")
            ),
            using("os", "return open(f'/proc/{os.getppid()}/mem', 'rb').read(1)"),
            using("os", "return str(os.listdir('/'))"),
            using("os", "return os.environ['HOME']"),
        ],
    ),
    "network": Case(
        11,
        True,
        FAILS,
        [
            using("socket", "socket.create_connection(('127.0.0.1', 22), 1)"),
            using("_socket", "return str(_socket.socket())"),
            using("socket", "return socket.gethostbyname('localhost')"),
            using("urllib.request", "urllib.request.urlopen('http://127.0.0.1')"),
        ],
    ),
    "signals to others": Case(
        12,
        True,
        FAILS,
        [using("os", f"os.kill({pid}, 9)", "return 1") for pid in ("os.getppid()", "-1", "1", "0")],
    ),
    "bombs": Case(
        13,
        True,
        FAILS,
        [
            using("os", "while True: os.fork()"),
            using("_thread", "while True: _thread.start_new_thread(solution, ())"),
            using("os", "os.execv('/usr/bin/true', ['true'])"),
            using("os", "os.posix_spawn('/usr/bin/true', ['true'], {})"),
        ],
    ),
    "deaf to signals": Case(
        14,
        True,
        {"killed:SIGKILL"},
        [
            using(
                "_signal",
                "for n in range(1, 65):",
                "    try: _signal.signal(n, _signal.SIG_IGN)",
                "    except (OSError, ValueError): pass",
                SPIN,
            )
        ],
        slow=True,
    ),
    "a daemon": Case(
        15,
        True,
        FAILS,
        [using("os", "if os.fork() == 0:", "    os.setsid()", "    if os.fork() == 0:", f"        {SPIN}", "return 1")],
    ),
    "values that lie about themselves": Case(
        16,
        True,
        {"wrong_type", "exception"},
        [
            body("return A()", head="class A(int):\n    def __eq__(self, other): return True\n"),
            body("return A(3)", head="class A(float):\n    def __eq__(self, other): return True\n"),
            body("return A('x')", head="class A(str):\n    def __eq__(self, other): return True\n"),
            using("ctypes", "ctypes.pythonapi.Py_IncRef(None)", "return 1"),
        ],
    ),
    "other built-ins": Case(
        16, True, {"ok"}, [using("builtins", "builtins.round = builtins.abs = lambda *_: 12", "return 5")]
    ),
    "searching for the gold answer": Case(
        17,
        True,
        {"ok", "exception", "output_limit"},
        [
            using("gc", "return 'gold' if 'GOLD-ANSWER' in str(gc.get_objects())[:10**7] else 'none'"),
            using(
                "sys",
                "frame = sys._getframe()",
                "while frame.f_back: frame = frame.f_back",
                "return ' '.join(frame.f_globals)[:150]",
            ),
            using("inspect", "return str(inspect.stack())"),
            using("__main__", "return ' '.join(vars(__main__))[:150]"),
            using("os", "return open(f'/proc/{os.getppid()}/cmdline').read()"),
        ],
    ),
    "a forged record": Case(
        18,
        True,
        {"killed:no record"},
        [
            using("os", "os.write(3, b'\\0\\0\\0\\2{}')", "os._exit(0)"),
            using("os", "os.write(3, b'\\xff\\xff\\xff\\xff' + b'x' * 1000)", "os._exit(0)"),
            using("os", "os.write(3, b'\\0\\0\\0\\2{}')", "return 12"),
        ],
    ),
    "no record": Case(18, True, {"exception"}, [using("os", "os.close(3)", "os._exit(0)")]),
    "a record without end": Case(18, True, {"output_limit"}, [using("os", "while True: os.write(3, b'x' * 4096)")]),
    "letters that look like others": Case(
        19,
        True,
        {"ok", "exception", "syntax"},
        [
            body("return \uff45val('6 * 7')"),
            body("r\u0435sult = 1", "return result"),
            body("x = '\u202e1'", "return 1"),
            "\ufeff" + NEXT,
            "# -*- coding: utf-7 -*-\n" + NEXT,
            NEXT + "\0",
            body("return '\ud800'"),
        ],
    ),
    "walks to the interpreter": Case(
        20,
        True,
        {"ok", "exception", "output_limit", "wrong_type", "syntax"},
        [
            body("return str(().__class__.__bases__[0].__subclasses__())"),
            body("return '{0.__class__.__base__}'.format(1)"),
            body("f = '{0.__class__}'.format", "return f(1)"),
            body("return f'{(1).__class__}'"),
            body("g = (x for x in [1])", "return str(g.gi_frame.f_builtins)"),
            body("return str(list(fractions.sys.modules))", head="import fractions\n"),
            body("return str(datetime.sys.path)", head="import datetime\n"),
            body("return str(collections._sys)", head="import collections\n"),
            body(
                "try:",
                "    raise ExceptionGroup('g', [ValueError()])",
                "except* ValueError as e:",
                "    x = e.__traceback__",
                "return 1",
            ),
            body("m = math", "return 1", head="import math\n"),
            body("match 1:", "    case int(__class__=c): return str(c.__base__)"),
            body("return type('A', (int,), {})(3)"),
        ],
    ),
    "crashing the interpreter": Case(
        21,
        True,
        {"killed", "exception"},
        [
            using("os", "os.abort()"),
            using("ctypes", "return ctypes.string_at(0)"),
            using("_ctypes", "return _ctypes.dlopen('x', 0)"),
            body(
                "f = lambda: 1",
                "f.__code__ = f.__code__.replace(co_code=b'\\x00' * 2 + b'\\xff' * 40, co_stacksize=1)",
                "return f()",
            ),
        ],
    ),
    "slow algorithms": Case(
        22,
        False,
        {"timeout_cpu"},
        [
            body("return sum(range(10**13))"),
            body("x = Fraction(1, 3)", "while True: x = x * x + 1", head="from fractions import Fraction\n"),
        ],
        slow=True,
    ),
    "slow algorithms of other modules": Case(
        22, True, {"timeout_cpu"}, [using("re", "return str(re.match('(a+)+$', 'a' * 40 + 'b'))")], slow=True
    ),
    "late effects": Case(
        23,
        True,
        {"ok", "exception", "killed"},
        [
            using("atexit", "atexit.register(print, 5)", "return 12"),
            using("sys", "sys.settrace(lambda *a: None)", "return 12"),
            using("faulthandler", "faulthandler.dump_traceback_later(1, exit=True)", "return 12"),
            using("_signal", "_signal.alarm(1)", "return 12"),
            body("keep = A()", "return 12", head="class A:\n    def __del__(self): print(5)\n"),
        ],
    ),
    "values of other types": Case(
        24,
        False,
        {"wrong_type"},
        [
            body(f"return {value}")
            for value in ("True", "[12]", "(12,)", "3j", "None", "(x for x in [1])", "{12}", "len")
        ],
    ),
    "numpy": Case(24, True, FAILS, [using("numpy", "return numpy.float64(12)")]),
    "no function without arguments": Case(
        25,
        True,
        {"ok", "exception", "wrong_type", "syntax"},
        [
            NEXT + "\n" + NEXT,
            "def solution(x):\n    return x",
            "class solution: pass",
            "solution = lambda: 12",
            "x = 12",
            "",
        ],
    ),
}
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
