"""Which GPU a job takes: Snakemake counts GPUs, but does not say which one a job may use.

A job claims a free GPU by a file lock, held as long as it runs, and sees that GPU alone (CUDA_VISIBLE_DEVICES). A
variable that is set already, as SLURM sets it, is respected; a machine without NVIDIA GPUs has nothing to claim.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from distillery.jobs.locks import FileLock

logger = logging.getLogger(__name__)

VARIABLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 2.0


def installed_gpus() -> list[str]:
    """Numbers of the NVIDIA GPUs of this machine."""
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


@contextmanager
def claimed_gpus(wanted: int, gpus: Sequence[str], folders: Sequence[Path] | None = None) -> Iterator[list[str]]:
    """Claim `wanted` of `gpus`, waiting until that many are free, and show the process these alone.

    Args:
        wanted: Number of GPUs that the job was given; 0 claims none.
        folders: Folders for the lock files, the first that can be used; by default those of `lock_folders`.
    """
    if wanted == 0 or not gpus or VARIABLE in os.environ:
        yield []
        return
    wanted = min(wanted, len(gpus))
    while True:
        with ExitStack() as held:
            claimed: list[str] = []
            for gpu in gpus:
                lock = FileLock(*(folder / f"distillery-gpu-{gpu}.lock" for folder in folders or lock_folders()))
                if not lock.acquire():
                    continue
                held.callback(lock.release)
                claimed.append(gpu)
                if len(claimed) == wanted:
                    os.environ[VARIABLE] = ",".join(claimed)
                    logger.info("GPU %s", ", ".join(claimed))
                    try:
                        yield claimed
                    finally:
                        del os.environ[VARIABLE]
                    return
        time.sleep(POLL_SECONDS)


def lock_folders() -> list[Path]:
    """The machine's temporary folder, as GPUs belong to a machine and its users share them; else one of this user."""
    return [Path(tempfile.gettempdir()), Path.home() / ".cache" / "distillery"]
