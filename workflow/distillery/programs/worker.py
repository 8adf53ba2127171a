"""Inside the sandbox: a process that forks once per program, so that starting Python is paid for once.

Runs as `python -s -P -S -c <this file>` in an empty environment and imports nothing but the standard library. It holds
no gold answer, no other program and no secret. Frames on its standard input and output are a length (4 bytes,
big-endian) and as many bytes:

    in    first: JSON settings; then: the text of one program, UTF-8
    out   first: JSON {"landlock": ABI version or 0}; then: how one program ended (`HEAD`), and what it sent

Each program gets a forked process of its own, in this order: own session, dies with its parent, resource limits, all
descriptors but the result pipe closed, no new privileges, and last the system-call filter. Only then is the program
compiled and executed. Modules that programs may use are imported here, because a filtered process opens no file.

What it does not do: watch the wall clock. Whoever started it does, and kills it with all that it started.
"""

import _strptime  # type: ignore[import-not-found]
import collections
import ctypes
import datetime
import fractions
import gc
import itertools
import json
import math
import os
import resource
import signal
import struct
import sys
import time
import unicodedata
from encodings import ascii, latin_1
from typing import Any

# Also what programs import late (`strptime`, "\N{...}", odd encodings): later there is no file to import from.
LOADED = (collections, datetime, fractions, itertools, math, _strptime, unicodedata, ascii, latin_1)

HEAD = struct.Struct("!iid?")
"""Signal that ended the program or 0, exit code, wall seconds, whether it was killed for sending too much."""

RESULT_FD = 3
"""Where a program's record goes; the system-call filter permits `write` on this descriptor only."""

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
NOBODY = 65_534

libc = ctypes.CDLL(None, use_errno=True)


class Filter(ctypes.Structure):
    """`struct sock_fprog`: a compiled system-call filter, eight bytes an instruction."""

    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


class Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`: what is forbidden unless a rule permits it. There are no rules here."""

    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


def landlock() -> int:
    """Forbid this process and its children all access to files, TCP and outside processes; return the ABI version."""
    abi = libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return 0
    files = (1 << (13 if abi == 1 else 14 if abi == 2 else 15 if abi < 5 else 16)) - 1
    rules = Ruleset(files, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    handle = libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if handle < 0:
        return 0
    refused = libc.syscall(LANDLOCK_RESTRICT_SELF, handle, 0)
    os.close(handle)
    return 0 if refused else abi


class Printed:
    """Standard output of a program: counted, its only line kept, cut off at a cap."""

    def __init__(self, most, over):
        self.most, self.over = most, over
        self.size, self.breaks, self.head, self.open = 0, 0, "", False

    def write(self, text):
        if type(text) is not str:
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.size += len(text)
        if self.size > self.most:
            self.over(self)
        self.breaks += text.count("\n")
        if len(self.head) <= 200:
            self.head += text[:201]
        if text:
            self.open = text[-1] != "\n"
        return len(text)

    def flush(self):
        pass

    def lines(self):
        count = self.breaks + self.open
        return count, self.head.split("\n")[0][:200] if count == 1 else None


def send(status, printed, kind=None, value=None, error=None, message="", *, write=os.write, leave=os._exit):
    """Write the record and end the process: nothing that the program left behind runs afterwards."""
    lines, only = printed.lines()
    record = {"status": status, "kind": kind, "value": value, "error": error, "message": message[:500]}
    data = json.dumps({**record, "stdout_lines": lines, "last_stdout": only}).encode()
    write(RESULT_FD, len(data).to_bytes(4, "big") + data)
    leave(0)


def typed(value):
    """Kind and text of a value by its exact type: a subclass may lie about everything, so it is `other`."""
    exact = type(value)
    if exact is int:
        return "int", str(value)
    if exact is float:
        return "float", repr(value)
    if exact is str:
        return "str", value
    if exact is bool:
        return "bool", repr(value)
    if value is None:
        return "none", "None"
    return "other", type.__repr__(exact)[:200]


def execute(source, most):
    """Run one program in this process, send its record and end the process."""
    printed = Printed(most, lambda so_far: send("output_limit", so_far))
    sys.stdout, sys.stdin, sys.stderr = printed, None, None
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        try:
            code = compile(source, "<program>", "exec", dont_inherit=True)
        except MemoryError:  # the parser's own limit on nesting, too
            send("syntax", printed, error="MemoryError", message="too complex to parse")
        except BaseException as error:
            message = error.msg if isinstance(error, SyntaxError) else str(error)
            send("syntax", printed, error=type(error).__name__, message=str(message))
        exec(code, names)
        if "solution" not in names:
            send("error", printed, error="NameError", message="name 'solution' is not defined")
        value = names["solution"]()
        kind, text = typed(value)
        print(value)  # noqa: T201 - as the released code does; goes to `printed`
        if len(text) > 200:
            send("output_limit", printed)
        send("value", printed, kind, text)
    except MemoryError:
        value = text = code = None
        names.clear()
        send("memory", printed, error="MemoryError")
    except BaseException as error:
        try:
            message = str(error)
        except BaseException:
            message = "<no message: str() of the exception failed>"
        send("error", printed, error=type(error).__name__[:100], message=message)


def child(source, result, settings, program_filter, zygote):
    """Shut the forked process in, step by step, then run the program."""
    os.setsid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != zygote:
        os._exit(1)
    os.dup2(result, RESULT_FD)
    os.closerange(0, RESULT_FD)
    os.closerange(RESULT_FD + 1, 256)
    for limit, soft, hard in settings["limits"]:
        resource.setrlimit(limit, (soft, hard))
    sys.set_int_max_str_digits(1000)
    sys.setrecursionlimit(500)
    if program_filter is not None:
        refused = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        refused |= libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program_filter), 0, 0)
        if refused:
            os._exit(1)
    execute(source, settings["most"])


def warm_up():
    """Run what a child will run, so that the interpreter has adapted it: else every child does so, on copied pages."""
    for _ in range(20):
        printed = Printed(1000, lambda so_far: None)
        names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        exec(compile("def solution():\n    a = 3\n    result = a * 4\n    return result", "<program>", "exec"), names)
        kind, text = typed(names["solution"]())
        printed.write(text)
        send("value", printed, kind, text, write=lambda *_: None, leave=lambda _: None)


def run(source, settings, program_filter):
    """Fork, wait, and return how the program ended and what it sent, as one reply."""
    most, zygote = settings["most"], os.getpid()
    begin = time.monotonic()
    out, result = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(source, result, settings, program_filter, zygote)
        finally:
            os._exit(1)
    os.close(result)
    data = bytearray()
    while len(data) <= most:
        more = os.read(out, 65_536)
        if not more:
            break
        data += more
    over = len(data) > most
    if over:
        os.kill(pid, signal.SIGKILL)
    os.close(out)
    status = os.waitpid(pid, 0)[1]
    seconds = time.monotonic() - begin
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
    return HEAD.pack(ended_by, code, seconds, over) + data[:most]


def frames(stream):
    """The frames of a binary stream, until it ends."""
    while len(head := stream.read(4)) == 4:
        yield stream.read(int.from_bytes(head, "big"))


def reply(data):
    """Write one frame to standard output."""
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(1, data) :]


def main():
    """Read the settings, shut this process in, then run programs until the input ends."""
    requests = frames(sys.stdin.buffer)
    settings = json.loads(next(requests))
    os.chdir("/")
    if settings["drop_root"] and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    program_filter, version = None, 0
    if settings["filter"]:
        code = bytes.fromhex(settings["filter"])
        program_filter = Filter(len(code) // 8, code)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        version = landlock()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # last: a change of user clears it
    for module in ("ctypes", "_ctypes"):
        sys.modules.pop(module, None)
    warm_up()
    gc.collect()
    gc.freeze()  # a collection in a child touches, and so copies, no page of this process
    reply(json.dumps({"landlock": version}).encode())
    for source in requests:
        reply(run(source.decode("utf-8", "surrogatepass"), settings, program_filter))


if __name__ == "__main__":
    main()
