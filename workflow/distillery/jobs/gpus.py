"""Which GPU a job takes: Snakemake counts GPUs, but does not say which one a job may use.

A job claims a free device by a file lock, held as long as it runs, and sees that device alone (CUDA_VISIBLE_DEVICES). A
variable that is set already, as SLURM sets it, is respected; a machine without NVIDIA devices has nothing to claim.
"""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


def installed_gpus() -> list[str]:
    """Numbers of the NVIDIA devices of this machine."""
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


@contextmanager
def claimed_gpus(wanted: int, devices: Sequence[str], locks: Path | None = None) -> Iterator[list[str]]:
    """Claim `wanted` of `devices`, waiting until so many are free, and show the process these alone.

    Args:
        wanted: How many GPUs the job was given; 0 claims none.
        locks: Folder of the lock files; the machine's temporary folder by default, as GPUs belong to a machine.
    """
    if wanted == 0 or not devices or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield []
        return
    wanted = min(wanted, len(devices))
    folder = locks or Path(tempfile.gettempdir())
    while True:
        with ExitStack() as held:
            mine: list[str] = []
            for device in devices:
                lock = held.enter_context(open(folder / f"distillery-gpu-{device}.lock", "a", encoding="utf-8"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                mine.append(device)
                if len(mine) == wanted:
                    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
                    logger.info("GPU %s", ", ".join(mine))
                    try:
                        yield mine
                    finally:
                        del os.environ["CUDA_VISIBLE_DEVICES"]
                    return
        time.sleep(2)
