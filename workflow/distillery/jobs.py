"""Running one job of a stage: what it read, what it made, how, and where its progress lies.

A script ends with `run_script(<stage>, main, globals())`; the rule's named inputs, outputs and params become keyword
arguments of its `main`. The same script runs by hand from any provenance record:
`python workflow/scripts/verify.py results/.../provenance.json`.

    key = stage + input digests + parameters + code digest + library versions

names everything that can change the result. Progress (training checkpoints) lies in `work/<stage>/<key>/`, so that
exactly the job that it belongs to resumes it. Inputs are hashed before the job and after it.
"""

import getpass
import hashlib
import inspect
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from distillery.devices import claimed_gpus, installed_gpus
from distillery.errors import UserError
from distillery.files import read_json, sha256_file, write_json
from distillery.logs import log_to
from distillery.records import canonical_json

logger = logging.getLogger("distillery.jobs")

Paths = Path | list[Path]

ORDER_ONLY = "checked"
"""An input of this name makes a job wait for a check; it is no part of what the job computes from."""


@dataclass(frozen=True)
class Job:
    """One job: a stage with named inputs, outputs and parameters.

    Args:
        params: Plain values. `code` and `libraries` name what runs; the rest reaches the script's `main`.
    """

    stage: str
    inputs: Mapping[str, Paths]
    outputs: Mapping[str, Path]
    params: Mapping[str, Any]
    threads: int = 1
    gpus: int = 0
    log: Path | None = None

    @cached_property
    def input_digests(self) -> dict[str, list[str]]:
        """SHA-256 of every input file, by input name, as the job found them."""
        return self.hash_inputs()

    def hash_inputs(self) -> dict[str, list[str]]:
        return {name: [sha256_file(path) for path in _listed(paths)] for name, paths in sorted(self.inputs.items())}

    @cached_property
    def key(self) -> str:
        """Hex digest, 32 digits, of everything that can change the result."""
        parts = {"stage": self.stage, "inputs": self.input_digests, "params": dict(self.params)}
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:32]

    @property
    def progress(self) -> Path:
        """Where unfinished work of this very job lies; removed when the job is done."""
        return Path(os.environ.get("DISTILLERY_WORK", "work")) / self.stage / self.key


def run_script(stage: str, main: Callable[..., object], namespace: Mapping[str, Any]) -> None:
    """Run `main` for Snakemake (`namespace` holds its object) or by hand (the command line names a provenance record).

    Imported, as in tests, a script runs nothing.
    """
    if "snakemake" in namespace:
        job = _job_of(namespace["snakemake"], stage)
    elif namespace.get("__name__") == "__main__":
        if len(sys.argv) != 2:
            sys.exit(f"usage: {Path(sys.argv[0]).name} <provenance.json of a job of this stage>")
        job = job_of_record(Path(sys.argv[1]))
    else:
        return
    log_to(job.log)
    try:
        run(job, main)
    except UserError as error:
        logger.error("%s", error)
        sys.exit(1)


def _job_of(snakemake: Any, stage: str) -> Job:
    def paths(files: Any) -> dict[str, Paths]:
        return {name: [Path(f) for f in value] if _is_list(value) else Path(value) for name, value in files.items()}

    return Job(
        stage=stage,
        inputs={name: value for name, value in paths(snakemake.input).items() if name != ORDER_ONLY},
        outputs=paths(snakemake.output),  # type: ignore[arg-type]
        params=dict(snakemake.params.items()),
        threads=snakemake.threads,
        gpus=int(snakemake.resources.get("gpu", 0)),
        log=Path(snakemake.log[0]) if snakemake.log else None,
    )


def job_of_record(path: Path) -> Job:
    """The job that a provenance record tells of, ready to run again."""
    record = read_json(path)
    return Job(
        stage=record["stage"],
        inputs={
            name: [Path(f) for f in files] if record["many"].get(name) else Path(files[0])
            for name, files in record["inputs"].items()
        },
        outputs={name: Path(file) for name, file in record["outputs"].items()},
        params=record["params"],
        threads=record["threads"],
        gpus=record["gpus"],
    )


def run(job: Job, main: Callable[..., object]) -> None:
    """Run `main`, check that its inputs stayed as they were, and write the provenance record.

    Raises:
        UserError: An input changed while the job ran; its outputs belong to no version of it.
    """
    set_threads(job.threads)
    started = datetime.now(UTC)
    key = job.key
    extra = {"progress": job.progress} if "progress" in inspect.signature(main).parameters else {}
    params = {name: value for name, value in job.params.items() if name not in {"code", "libraries"}}
    outputs = {name: path for name, path in job.outputs.items() if name != "provenance"}
    given = {name: paths for name, paths in job.inputs.items() if paths != [] or not _optional(main, name)}
    with claimed_gpus(job.gpus, installed_gpus()):
        main(**given, **outputs, **params, **extra)
    changed = [name for name, digests in job.hash_inputs().items() if digests != job.input_digests[name]]
    if changed:
        raise UserError(
            "changed while the job ran, so that its result belongs to no version of it",
            file=", ".join(str(path) for name in changed for path in _listed(job.inputs[name])),
            remedy="Run the workflow again",
        )
    finished = datetime.now(UTC)
    if "provenance" in job.outputs:
        write_json(job.outputs["provenance"], provenance(job, key, started, finished))
    shutil.rmtree(job.progress, ignore_errors=True)
    logger.info("%s finished in %.1f s", job.stage, (finished - started).total_seconds())


def _optional(main: Callable[..., object], name: str) -> bool:
    """Is this input one that a rule may leave empty?"""
    return inspect.signature(main).parameters[name].default is None


def provenance(job: Job, key: str, started: datetime, finished: datetime) -> dict[str, Any]:
    """Everything that says where an output comes from, as plain values."""
    return {
        "stage": job.stage,
        "key": key,
        "inputs": {name: [str(path) for path in _listed(paths)] for name, paths in job.inputs.items()},
        "many": {name: isinstance(paths, list) for name, paths in job.inputs.items()},
        "input_digests": job.input_digests,
        "outputs": {name: str(path) for name, path in job.outputs.items()},
        "output_digests": {
            name: sha256_file(path)
            for name, path in job.outputs.items()
            if name != "provenance" and Path(path).is_file()
        },
        "params": dict(job.params),
        "threads": job.threads,
        "gpus": job.gpus,
        "commit": _commit(),
        "python": platform.python_version(),
        "libraries": _loaded_libraries(),
        "host": platform.node(),
        "user": getpass.getuser(),
        "started": started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round((finished - started).total_seconds(), 2),
    }


def set_threads(threads: int) -> None:
    """Tell numeric libraries, before they are imported, how many cores this job has."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    # Threads that spin while they wait gain 5 % on an idle machine and lose a factor of eight on a busy one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _commit() -> str | None:
    """Commit of the working tree, marked when files differ from it; None outside a repository."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()


def _loaded_libraries() -> dict[str, str]:
    """Versions of the libraries that the job really loaded."""
    names = ("torch", "transformers", "trl", "peft", "vllm", "datasets", "pandas", "pyarrow", "altair")
    return {name: str(sys.modules[name].__version__) for name in names if name in sys.modules}


def _listed(paths: Paths) -> list[Path]:
    return paths if isinstance(paths, list) else [paths]


def _is_list(value: object) -> bool:
    return not isinstance(value, str | os.PathLike)
