"""The NVIDIA GPUs of this machine as their driver lists them: NVML, read through NVIDIA's own binding.

NVML numbers GPUs as nvidia-smi does. The numbers of the device files, and those that CUDA gives to what a container or
a job sees, are others: between processes a GPU is called by its UUID alone.
"""

import contextlib
import ctypes
import functools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillery.errors import UserError

logger = logging.getLogger(__name__)

WSL_FOLDER = Path("/usr/lib/wsl/lib")
"""Where Windows puts the driver's libraries for Linux; containers in WSL may not search it."""

DEVICES = Path("/dev")
PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"  # vendor and class of PCI devices


@dataclass(frozen=True)
class Gpu:
    """A whole GPU, or an instance of one that is split (MIG).

    Args:
        uuid: `GPU-...` or `MIG-...`, as CUDA_VISIBLE_DEVICES takes it.
        number: Of the GPU, as nvidia-smi counts those that this process may use; of an instance, that of its GPU.
        model: Name of the product.
        used: Bytes in use, by whomever; with `total` 0 where the driver does not say.
        total: Bytes of memory.
        parent: UUID of the GPU that this is an instance of; None for a whole GPU.
        former_name: Name of an instance with drivers before R470.
    """

    uuid: str
    number: int | None = None
    model: str = "GPU"
    used: int = 0
    total: int = 0
    parent: str | None = None
    former_name: str | None = None


class NoNvml(Exception):
    """The driver's library is not installed: no NVIDIA driver, or a container without it."""


def list_gpus() -> list[Gpu]:
    """Every GPU that this process may use, in the order of nvidia-smi; of a split GPU its instances.

    An empty list means that the machine has the driver's library and no GPU.

    Raises:
        NoNvml: There is no such library.
        UserError: There are GPUs, and their driver does not work, or none of them may be used.
    """
    import pynvml

    found: list[Gpu] = []
    faults: list[str] = []
    with _nvml() as ready:
        if not ready:
            return []
        try:
            installed = range(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            raise _broken(error) from error
        seen = 0
        for index in installed:
            try:
                here = _gpus_at(index, seen)
                if not here:
                    faults.append(f"GPU {index} is split and has no instance")
                found += here
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_NO_PERMISSION:  # a scheduler gave it to another job
                    faults.append(f"GPU {index} is not given to this process")
                    continue
                _warn_once(f"GPU {index} is left out: {error}")
                faults.append(f"GPU {index}: {str(error).rstrip('.')}")
            seen += 1
    if faults and not found:
        raise _broken("; ".join(faults))
    return found


def has_device_files() -> bool:
    """Whether the NVIDIA driver has made device files for GPUs."""
    return any(re.fullmatch(r"nvidia[0-9]+", path.name) for path in DEVICES.glob("nvidia*"))


@contextlib.contextmanager
def _nvml() -> Iterator[bool]:
    """NVML, ready to be asked; False where its driver has nothing to drive."""
    import pynvml

    with contextlib.suppress(OSError):  # found by its name from now on, as a library that is loaded already
        if (WSL_FOLDER / "libnvidia-ml.so.1").exists():
            ctypes.CDLL(str(WSL_FOLDER / "libnvidia-ml.so.1"))
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            raise NoNvml from error
        if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED and not (has_device_files() or _on_the_bus()):
            yield False  # the library alone, as on the login node of a cluster
            return
        raise _broken(error) from error
    try:
        yield True
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _gpus_at(index: int, number: int) -> list[Gpu]:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    uuid, model = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
    if not _is_split(handle):
        return [Gpu(uuid, number, model, *_memory(handle))]
    return list(_instances(handle, number, model, uuid))


def _instances(handle: Any, number: int, model: str, uuid: str) -> Iterator[Gpu]:
    import pynvml

    for place in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
            name = pynvml.nvmlDeviceGetUUID(instance)
        except pynvml.NVMLError:  # no instance at this place, or one of others
            continue
        former = None
        with contextlib.suppress(pynvml.NVMLError):
            ids = pynvml.nvmlDeviceGetGpuInstanceId(instance), pynvml.nvmlDeviceGetComputeInstanceId(instance)
            former = f"MIG-{uuid}/{ids[0]}/{ids[1]}"
        yield Gpu(name, number, f"{model} instance", *_memory(instance), parent=uuid, former_name=former)


def _is_split(handle: Any) -> bool:
    import pynvml

    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:  # a GPU or a driver that cannot split
        return False
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def _memory(handle: Any) -> tuple[int, int]:
    import pynvml

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:  # GPUs that share the machine's memory do not say
        return 0, 0
    return int(memory.used), int(memory.total)


@functools.cache
def _warn_once(text: str) -> None:
    """A job that waits for a GPU lists them every few seconds."""
    logger.warning("%s", text)


def _on_the_bus() -> bool:
    for device in PCI.glob("*"):
        with contextlib.suppress(OSError):
            kind = (device / "vendor").read_text().strip(), (device / "class").read_text().strip()
            if kind[0] == NVIDIA and kind[1].startswith(DISPLAY):
                return True
    return False


def _broken(fault: object) -> UserError:
    return UserError(
        f"the NVIDIA driver does not work: {str(fault).rstrip('.')}",
        remedy="See that nvidia-smi works (after an update of the driver: restart the machine), "
        "or set DISTILLERY_DEVICE=cpu to compute without a GPU",
    )
