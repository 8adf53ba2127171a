"""Provenance records: where an output comes from. They suffice to run a job again and to say what has changed since."""

import getpass
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from distillery.files import sha256_file
from distillery.jobs.code_digest import definition_digests
from distillery.jobs.job import Job, as_list


def provenance(job: Job, started: datetime, finished: datetime, work: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where the outputs of a job come from, as plain values.

    Args:
        work: What the job counted of its own work (samples generated, tokens, updates), for later estimates.
    """
    return {
        **known(job, {name: sha256_file(path) for name, path in job.results.items() if Path(path).is_file()}),
        **placed(job),
        "definitions": definition_digests(job.stage),
        "threads": job.threads,
        "gpus": job.gpus,
        "work": dict(work or {}),
        "commit": _commit(),
        "python": platform.python_version(),
        "libraries": _loaded_libraries(),
        "host": platform.node(),
        "user": getpass.getuser(),
        "started": started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round((finished - started).total_seconds(), 2),
    }


def known(job: Job, output_digests: Mapping[str, str]) -> dict[str, Any]:
    """What a job is and has made. The record of a restored result takes this from the job and not from the cache.

    Args:
        output_digests: SHA-256 of each output that is a file.
    """
    return {
        "stage": job.stage,
        "key": job.key,
        "input_digests": job.input_digests,
        "output_digests": dict(output_digests),
        "params": dict(job.params),
    }


def placed(job: Job) -> dict[str, Any]:
    """Where a job reads and writes: this differs between two checkouts that share one cached result."""
    return {
        "inputs": {name: [str(path) for path in as_list(paths)] for name, paths in job.inputs.items()},
        "many": {name: isinstance(paths, list) for name, paths in job.inputs.items()},
        "outputs": {name: str(path) for name, path in job.outputs.items()},
    }


def _commit() -> str | None:
    """Commit of the working tree, marked when files differ from it; None outside a repository."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def _loaded_libraries() -> dict[str, str]:
    """Versions of the libraries that the job loaded."""
    names = ("torch", "transformers", "trl", "peft", "vllm", "datasets", "pandas", "pyarrow", "altair")
    return {name: str(sys.modules[name].__version__) for name in names if name in sys.modules}
