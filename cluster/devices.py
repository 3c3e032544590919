"""Which GPUs this process may use, and which of Keras's backends can.

Owns what NVML and the variables of CUDA and of the container runtime say. Who gets which GPU is `slots.py`'s and
`placement.py`'s. Loads no Keras backend: what is installed is read from the packages' own records.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cluster.errors import DeviceError, UsageError

NO_GPU = ("none", "void", "nodevfiles")  # the words for no GPU, of NVIDIA's container runtime and of Slurm


@dataclass(frozen=True)
class Gpu:
    """A GPU, or an instance of one that is partitioned (MIG).

    Attributes:
        id: By which its runtime knows it: NVIDIA's UUID (`GPU-…`, `MIG-…`), or an index of AMD's.
        index: Its place as `nvidia-smi` counts, such as `0`, or `0:1` for the second instance of the first GPU.
        name: What it is called.
        memory: Its memory in bytes; 0 where unknown.
        parent: The UUID of the GPU that an instance is part of; empty for a whole one.
        variable: The variable by which a process is given this GPU alone.
    """

    id: str
    index: str
    name: str
    memory: int
    parent: str = ""
    variable: str = "CUDA_VISIBLE_DEVICES"

    @property
    def label(self) -> str:
        """Short, for logs and tables: its index, and the beginning of its UUID."""
        return f"gpu {self.index}" + (f" {self.id[:12]}" if "-" in self.id else "")

    @property
    def key(self) -> str:
        """Its name among all GPUs of the host."""
        return self.id if "-" in self.id else f"{self.variable}-{self.id}"


@dataclass(frozen=True)
class Gpus:
    """What was found.

    Attributes:
        usable: The GPUs that this process may use.
        found: How many there are, those included that it may not use.
        driver: The version of NVIDIA's driver; empty without one.
    """

    usable: tuple[Gpu, ...] = ()
    found: int = 0
    driver: str = ""


def find_gpus(environ: Mapping[str, str], nvml: Callable[[], ModuleType] | None = None) -> Gpus:
    """Finds the GPUs that a process with these variables may use.

    `CUDA_VISIBLE_DEVICES` means what it means to CUDA, with the indices of `nvidia-smi`; `NVIDIA_VISIBLE_DEVICES` is
    what NVIDIA's container runtime was told. AMD's GPUs are those named in `HIP_VISIBLE_DEVICES` or
    `ROCR_VISIBLE_DEVICES`.

    Args:
        environ: The variables.
        nvml: Returns the module `pynvml`.

    Raises:
        DeviceError: NVIDIA's driver is there, and does not work.
        UsageError: a variable names a GPU that is not there.
    """
    for variable in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if environ.get(variable):
            names = dict.fromkeys(_listed(environ[variable]))
            amd = tuple(Gpu(name, str(place), "AMD GPU", 0, variable=variable) for place, name in enumerate(names))
            if amd:
                return Gpus(amd, len(amd))
            break  # AMD's are hidden, which says nothing about NVIDIA's
    with _session(nvml or _pynvml) as session:
        if session is None:
            return Gpus()
        found = list(_nvidia(session))
        usable = _told_to_container(found, environ.get("NVIDIA_VISIBLE_DEVICES"))
        usable = _visible_to_cuda(usable, environ.get("CUDA_VISIBLE_DEVICES"))
        return Gpus(tuple(usable), len(found), str(session.nvmlSystemGetDriverVersion()))


def _pynvml() -> ModuleType:
    import pynvml

    return pynvml  # type: ignore[no-any-return]


@contextlib.contextmanager
def _session(load: Callable[[], ModuleType]) -> Iterator[Any]:
    """NVML, initialised; None where there is no NVIDIA driver."""
    nvml: Any = load()
    try:
        try:
            nvml.nvmlInit()
        except nvml.NVMLError_LibraryNotFound:
            yield None
            return
        try:
            yield nvml
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        why = str(error).rstrip(".")
        raise DeviceError(
            f"NVIDIA's driver is installed, but does not work: {why}. See what nvidia-smi says; to run on the CPU "
            "meanwhile, give --allow-cpu"
        ) from error


def _nvidia(nvml: Any) -> Iterator[Gpu]:
    for number in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        uuid, name = str(nvml.nvmlDeviceGetUUID(handle)), str(nvml.nvmlDeviceGetName(handle))
        try:
            partitioned = nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
            partitioned = False
        if not partitioned:
            yield Gpu(uuid, str(number), name, _memory(nvml, handle))
            continue
        for part in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, part)
            except nvml.NVMLError_NotFound:
                continue
            own = str(nvml.nvmlDeviceGetUUID(instance))
            yield Gpu(own, f"{number}:{part}", str(nvml.nvmlDeviceGetName(instance)), _memory(nvml, instance), uuid)


def _memory(nvml: Any, handle: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError_NotSupported:  # it has none of its own, but the processor's
        return 0


def _told_to_container(gpus: list[Gpu], value: str | None) -> list[Gpu]:
    """What `NVIDIA_VISIBLE_DEVICES` leaves. Mostly the runtime has left just that already, and numbered it anew."""
    names = [x.strip() for x in (value or "").split(",") if x.strip()]
    if names == ["none"]:
        return []
    # What names none was not for the runtime: `all`, `void` beside CDI, a path in Kubernetes.
    if not names or not all(re.fullmatch(r"\d+(:\d+)?|(GPU|MIG)-.+", name) for name in names):
        return gpus
    here = {gpu.id if ":" in "".join(names) else gpu.parent or gpu.id for gpu in gpus}
    if names[0][0].isdigit() and len(here) <= len(names):
        return gpus
    return _named(gpus, names, "NVIDIA_VISIBLE_DEVICES")


def _visible_to_cuda(gpus: list[Gpu], value: str | None) -> list[Gpu]:
    if value is None:
        return gpus
    return _named(gpus, _listed(value), "CUDA_VISIBLE_DEVICES")


def _listed(value: str) -> list[str]:
    """The names in a list of CUDA's or HIP's, up to the first that is none: nothing is seen from there on."""
    names = [x.strip() for x in value.split(",")]
    return list(itertools.takewhile(lambda x: x and not x.startswith("-") and x.lower() not in NO_GPU, names))


def _named(gpus: list[Gpu], names: Iterable[str], variable: str) -> list[Gpu]:
    """The GPUs that are named, by index or by the beginning of a UUID; a partitioned GPU stands for its instances."""
    chosen: dict[str, Gpu] = {}
    for name in names:
        if name[0].isdigit():
            matches = [gpu for gpu in gpus if name in (gpu.index, gpu.index.partition(":")[0])]
            called = {name for _ in matches}
        else:
            matches = [gpu for gpu in gpus if gpu.id.startswith(name) or gpu.parent.startswith(name)]
            called = {gpu.id if gpu.id.startswith(name) else gpu.parent for gpu in matches}
        if len(called) != 1:
            here = ", ".join(f"{gpu.index} = {gpu.id}" for gpu in gpus) or "none"
            what = "no GPU" if not matches else "more than one GPU"
            raise UsageError(f"{variable} asks for {name!r}, and {what} here is called so. There are: {here}")
        chosen |= {gpu.id: gpu for gpu in matches}
    return list(chosen.values())


def backends_with_gpu() -> list[str]:
    """Which installed backends of Keras were built for GPUs; whether such a build finds a GPU is another matter."""
    packages = {re.sub(r"[-_.]+", "-", name).lower() for name in _distributions()}
    found = []
    if packages & {"tensorflow", "tensorflow-rocm", "tf-nightly"}:
        found.append("tensorflow")
    if any(re.fullmatch(r"jax-(cuda|rocm)\d*-p(lugin|jrt)", name) for name in packages):
        found.append("jax")
    if "torch" in packages and _torch_is_built_for_gpus():
        found.append("torch")
    return found


def _distributions() -> Iterator[str]:
    for distribution in importlib.metadata.distributions():
        if "Name" in distribution.metadata:
            yield distribution.metadata["Name"]


def _torch_is_built_for_gpus() -> bool:
    """PyTorch writes down what it was built for, in a file that can be read without loading it."""
    with contextlib.suppress(OSError, importlib.metadata.PackageNotFoundError):
        text = Path(str(importlib.metadata.distribution("torch").locate_file("torch/version.py"))).read_text()
        return bool(re.search(r"^(cuda|hip)\b[^=]*= *'", text, re.MULTILINE))
    return True
