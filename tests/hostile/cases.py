"""The hostile programs, by what they try, and what the sandbox must make of each when the gate is off."""

from pathlib import Path
from typing import NamedTuple

NEXT = "def solution():\n    return 6 * 7"
"""A harmless program: it is judged right after every other."""


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
