"""Write what follows from pyproject.toml: the conda files of the rules, and the lock of the CPU environment.

    python envs/generate.py          envs/inference.yaml, envs/training.yaml, envs/analysis.yaml
    python envs/generate.py --lock   envs/lock.txt from the packages installed beside this interpreter, then the above

Run the second after a change of pins, in an environment in which the tests have passed. A conda file names the direct
dependencies of its rules at their locked versions; what these need in turn is left to pip, because a GPU machine needs
other builds than the CPU machine on which the lock was written.
"""

import argparse
import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENVS = Path(__file__).resolve().parent
PROJECT = "reasoning-distillery"
FAMILIES = {
    "inference": ("inference-gpu", "api", "programs"),
    "training": ("training",),
    "analysis": ("analysis", "programs"),
}
"""Environment -> the extras of pyproject.toml that its rules need beside the core."""

NOT_IN_RULES = {"snakemake", "packaging", "typer", "rich"}
"""Core packages of the one who runs the workflow, not of its jobs."""

LOCKED_EXTRAS = ("training", "inference-cpu", "programs", "api", "analysis", "s3", "test")
"""The extras that the CPU environment holds."""

MISFITS = {"torchvision", "torchaudio", "torchcodec"}
"""vLLM asks for them (images and sound); their registry builds do not match the CPU torch and break imports."""


def project() -> dict:
    """The `[project]` table of pyproject.toml."""
    return tomllib.loads((ENVS.parent / "pyproject.toml").read_text())["project"]


def requirements(table: dict, extras: tuple[str, ...] = ()) -> list[Requirement]:
    """The core dependencies and those of `extras`, with references from one extra to another followed."""
    found = [Requirement(line) for line in table["dependencies"]]
    queue = list(extras)
    for extra in queue:
        for requirement in map(Requirement, table["optional-dependencies"][extra]):
            if requirement.name == PROJECT:
                queue.extend(sorted(requirement.extras - set(queue)))
            else:
                found.append(requirement)
    return found


def locked() -> dict[str, str]:
    """Package -> version of envs/lock.txt, by canonical name."""
    lines = (ENVS / "lock.txt").read_text().splitlines()
    pairs = (re.split("==", line) for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def conda_file(family: str) -> str:
    """The text of `envs/<family>.yaml`."""
    versions = locked()
    pins = []
    for requirement in requirements(project(), FAMILIES[family]):
        name = canonicalize_name(requirement.name)
        if name in NOT_IN_RULES:
            continue
        # "2.13.0+cpu" is the build of the lock's machine; a rule's environment takes the build that its machine needs.
        pin = f"=={versions[name].split('+')[0]}" if name in versions else str(requirement.specifier)
        pins.append(f"{requirement.name}{pin}")
    content = {"channels": ["conda-forge", "nodefaults"], "dependencies": ["python=3.11", "pip", {"pip": sorted(pins)}]}
    head = "# Generated from pyproject.toml and envs/lock.txt by `python envs/generate.py`; edit those.\n"
    return head + yaml.safe_dump(content, sort_keys=False)


def closure() -> dict[str, str]:
    """Package -> installed version of all that the locked extras need, directly or not, without the misfits."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [*requirements(project(), LOCKED_EXTRAS), Requirement("setuptools")]  # the editable install builds with it
    for requirement in queue:
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in MISFITS or (name, extras) in seen:
            continue
        seen.add((name, extras))
        distribution = metadata.distribution(name)
        found[name] = distribution.version
        for needed in map(Requirement, distribution.requires or []):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                queue.append(needed)
    return dict(sorted(found.items()))


def lock_file() -> str:
    """The text of `envs/lock.txt` for the environment of this interpreter."""
    head = (
        "# The CPU environment on Linux x86_64 with Python 3.11: every package, exactly. Installed with --no-deps by\n"
        "# envs/setup_environment.py. Written by `python envs/generate.py --lock`; pyproject.toml has the reasons.\n"
    )
    return head + "".join(f"{name}=={version}\n" for name, version in closure().items())


def main() -> None:
    """Write the files that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lock", action="store_true", help="write envs/lock.txt from the installed packages first")
    if parser.parse_args().lock:
        (ENVS / "lock.txt").write_text(lock_file())
    for family in FAMILIES:
        (ENVS / f"{family}.yaml").write_text(conda_file(family))


if __name__ == "__main__":
    main()
