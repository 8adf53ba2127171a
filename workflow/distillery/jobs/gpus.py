"""Which GPU a job takes: Snakemake counts GPUs, but does not say which of them a job may use.

    usable_gpus    what the driver lists, and of that what CUDA_VISIBLE_DEVICES leaves
    claimed_gpus   the job claims the emptiest of them that no other job holds, waits if none is free, and sees it alone
    torch_device   where torch computes: a job that was given a GPU never computes on the CPU instead

A machine without an NVIDIA GPU computes on the CPU, and so does a job whose user says so: `DISTILLERY_DEVICE=cpu`, or
an empty CUDA_VISIBLE_DEVICES. What this module does not do: keep GPUs from programs that are not jobs of a workflow.
Their memory is reported, and a GPU that they fill is taken last.
"""

import logging
import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

from distillery.errors import UserError
from distillery.jobs.claims import Claim, holder
from distillery.jobs.nvml import Gpu, NoNvml, has_device_files, list_gpus

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICE = "DISTILLERY_DEVICE"
CLAIMED = "DISTILLERY_CLAIMED_GPUS"
"""Set beside CUDA_VISIBLE_DEVICES by a job that holds these GPUs, for the processes that it starts."""

POLL_SECONDS = 2.0
BUSY = 0.1
"""Share of a GPU's memory in use before the job begins, from which on it is worth a warning."""
ON_THE_CPU = f"set {DEVICE}=cpu to compute without a GPU"


@contextmanager
def claimed_gpus(wanted: int) -> Iterator[list[str]]:
    """Claim that many GPUs, wait until they are free, and show them alone to this process and its children.

    Args:
        wanted: Number of GPUs that the job was given; 0 claims none.

    Yields:
        Their UUIDs; none where the job computes on the CPU.

    Raises:
        UserError: There are fewer GPUs, the driver does not work, or CUDA_VISIBLE_DEVICES names what is not there.
    """
    if wanted == 0:
        yield []
    elif _wish() == "cpu":
        with _shown([]):
            yield []
    elif (inherited := os.environ.get(CLAIMED)) and inherited == os.environ.get(VISIBLE):
        yield inherited.split(",")
    elif _wish() == "auto" and not usable_gpus():
        logger.info("no NVIDIA GPU is here or visible (%s): this job computes on the CPU", _visible_in_words())
        yield []
    else:
        with ExitStack() as held:
            gpus = _wait(wanted, held)
            with _shown([gpu.uuid for gpu in gpus]):
                yield [gpu.uuid for gpu in gpus]


def usable_gpus() -> list[Gpu]:
    """The GPUs that a job may claim; none where there is none, or where CUDA_VISIBLE_DEVICES hides all.

    Raises:
        UserError: The driver does not work, or CUDA_VISIBLE_DEVICES names what is not there.
    """
    names = visible_names(os.environ.get(VISIBLE))
    if names == []:
        return []
    try:
        gpus = list_gpus()
    except NoNvml:
        if names is not None:  # torch will find them, or say that they are not there
            return [Gpu(name) for name in names]
        if has_device_files():
            raise UserError(
                "there are NVIDIA GPUs, and NVML, the driver's library that lists them (libnvidia-ml.so.1), is missing",
                remedy="Start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility, "
                f"name the GPUs in {VISIBLE}, or {ON_THE_CPU}",
            ) from None
        return []
    return gpus if names is None else _named(names, gpus)


def gpu_is_here() -> bool:
    """Whether jobs of this machine would compute on a GPU, as far as its driver says."""
    try:
        return _wish() != "cpu" and bool(usable_gpus())
    except UserError:  # jobs will say it
        return False


def visible_names(value: str | None) -> list[str] | None:
    """The names in CUDA_VISIBLE_DEVICES, as CUDA reads it: up to the first that is empty or negative.

    Returns:
        None if the variable is not set: all GPUs are visible. An empty list hides all.

    Source: CUDA programming guide, environment variables.
    """
    if value is None:
        return None
    names: list[str] = []
    for name in map(str.strip, value.split(",")):
        if not name or name.startswith("-"):
            break
        names.append(name)
    return names


def torch_device() -> Literal["cuda", "cpu"]:
    """Where torch computes in this job.

    Raises:
        UserError: The job was given GPUs, and torch does not see them.
    """
    import torch

    given = visible_names(os.environ.get(VISIBLE)) or []
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < len(given) or (_wish() == "gpu" and not seen):
        raise UserError(
            f"torch sees {seen} GPUs: {_reason() if not seen else 'the others cannot be used together'}",
            key=VISIBLE,
            value=os.environ.get(VISIBLE),
            remedy=f"Run `make environment` on this machine, see that nvidia-smi works, or {ON_THE_CPU}",
        )
    return "cuda" if seen else "cpu"


def _wish() -> str:
    wish = os.environ.get(DEVICE) or "auto"
    if wish not in {"auto", "gpu", "cpu"}:
        raise UserError("no such device", key=DEVICE, value=wish, remedy="Use auto, gpu or cpu")
    return wish


def _candidates(wanted: int) -> list[Gpu]:
    """GPUs to choose from, at least as many as wanted."""
    gpus = usable_gpus()
    # CUDA shows a process one instance of a split GPU at most, and none beside whole GPUs.
    fit = gpus if wanted == 1 else [gpu for gpu in gpus if gpu.parent is None]
    if len(fit) < wanted:
        instances = len(gpus) - len(fit)
        raise UserError(
            f"this job needs {wanted} GPUs and may use {len(fit)} ({_visible_in_words()})"
            + (f"; {instances} instances of split GPUs cannot be used together" if instances else ""),
            key="resources.gpu",
            value=wanted,
            remedy=f"Give it fewer (`--set-resources <rule>:gpu={len(fit) or 1}`), make more GPUs visible, "
            f"or {ON_THE_CPU}",
        )
    return fit


def _wait(wanted: int, held: ExitStack) -> list[Gpu]:
    """Claim the emptiest free GPUs; their claims are given back when `held` is closed."""
    waiting = False
    while True:
        gpus = sorted(_candidates(wanted), key=lambda gpu: gpu.used - gpu.total)
        with ExitStack() as tried:
            claimed: list[Gpu] = []
            taken: list[Gpu] = []
            for gpu in gpus:
                (claimed if _claim(gpu, tried) else taken).append(gpu)
                if len(claimed) == wanted:
                    held.push(tried.pop_all())
                    _report(claimed)
                    return claimed
        if not waiting:
            holders = "; ".join(f"{gpu.uuid} is held by {holder(_claim_name(gpu))}" for gpu in taken)
            logger.info("waiting for %d of %d GPUs: %s", wanted, len(gpus), holders)
            waiting = True
        # Jobs that want several GPUs and hold one each do not meet again at the same moment.
        time.sleep(POLL_SECONDS * random.SystemRandom().uniform(0.5, 1.5))


def _claim(gpu: Gpu, held: ExitStack) -> bool:
    """Whether the GPU is this job's: claimed, or free to be used since no claim can be made here."""
    try:
        claim = Claim.take(_claim_name(gpu))
    except OSError as error:
        logger.warning("no claim can be made here (%s): another job may use %s too", error, gpu.uuid)
        return True
    if claim is None:
        return False
    held.callback(claim.release)
    return True


def _claim_name(gpu: Gpu) -> str:
    return f"distillery-gpu-{gpu.uuid}"


def _report(gpus: Sequence[Gpu]) -> None:
    for gpu in gpus:
        used = f"{gpu.used / 2**30:.1f} of {gpu.total / 2**30:.1f} GiB are in use" if gpu.total else "taken"
        if gpu.used > BUSY * gpu.total:
            logger.warning("%s (%s): %s by programs that are not jobs of a workflow", gpu.uuid, gpu.model, used)
        else:
            logger.info("%s (%s): %s", gpu.uuid, gpu.model, used)


@contextmanager
def _shown(uuids: Sequence[str]) -> Iterator[None]:
    """Within, this process and those that it starts see these GPUs alone."""
    before = {name: os.environ.get(name) for name in (VISIBLE, CLAIMED)}
    os.environ[VISIBLE] = os.environ[CLAIMED] = ",".join(uuids)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _named(names: Sequence[str], gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES names: by number, UUID or the first letters of it."""
    found: list[Gpu] = []
    here = ", ".join(f"{gpu.number}: {gpu.uuid}" for gpu in gpus)
    for name in names:
        meant = _meant(name, gpus)
        problem = None
        if not meant:
            problem = f"no GPU {name!r} may be used here"
        elif len({gpu.number for gpu in meant}) > 1 or (name.startswith("MIG-") and len(meant) > 1):
            problem = f"{name!r} may mean {' or '.join(gpu.uuid for gpu in meant)}"
        elif any(gpu in found for gpu in meant):
            problem = f"{name!r} is named twice, so that CUDA sees no GPU at all"
        if problem:
            raise UserError(
                problem,
                key=VISIBLE,
                value=os.environ.get(VISIBLE),
                remedy=f"Name GPUs of this machine ({here or 'there are none'}), or {ON_THE_CPU}",
            )
        found += meant
    return found


def _meant(name: str, gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPU of that name; of a split GPU, its instances."""
    if re.fullmatch(r"\+?0*[0-9]{1,9}", name):
        return [gpu for gpu in gpus if gpu.number == int(name)]
    exact = [gpu for gpu in gpus if name in (gpu.uuid, gpu.parent, gpu.former_name)]
    if exact:
        return exact
    if not name.startswith(("GPU-", "MIG-")):
        return []
    return [gpu for gpu in gpus if gpu.uuid.startswith(name) or (gpu.parent or "").startswith(name)]


def _visible_in_words() -> str:
    value = os.environ.get(VISIBLE)
    return f"{VISIBLE} is not set" if value is None else f"{VISIBLE}={value}"


def _reason() -> str:
    """Why torch sees no GPU, in its words."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built for CPUs"
    try:
        torch.cuda.current_device()
    except Exception as error:  # it has a dozen kinds for one matter
        return str(error).splitlines()[0]
    return "it does not say why"
