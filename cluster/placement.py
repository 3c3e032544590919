"""Where a worker's trainer runs: a slot on a GPU or the processor, and the variables by which it is kept there.

Owns the choice. `devices.py` says what there is, `slots.py` what is free, `cores.py` shares the processor.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster import devices
from cluster.devices import Gpu, Gpus
from cluster.errors import DeviceError, UsageError
from cluster.slots import Slot, SlotDirectory, Wish

log = logging.getLogger(__name__)

SLOT_DIRECTORY = Path("/tmp/keras-tuning-cluster")
KINDS = ("auto", "gpu", "cpu")
GIGABYTE = 10**9
# Less than this is no share: the context and the libraries' workspaces take about half of it before the first weight.
LEAST_MEMORY = GIGABYTE
# What the trainers of one GPU may divide among them; the rest is for what their runtimes take beside.
DIVISIBLE = 0.92
LOOKS, LOOK_SECONDS = 5, 0.2  # before a worker that may is content with the processor
HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1", "ROCR_VISIBLE_DEVICES": "-1"}
NO_GPU_FOR_JAX = {"JAX_PLATFORMS": "cpu"}


@dataclass(frozen=True)
class Wanted:
    """What the user decides about devices.

    Attributes:
        kind: `auto` takes GPUs where there are any that an installed backend can use, `gpu` insists on them, `cpu`
            leaves them alone.
        slots_per_gpu: How many trainers share a GPU.
        allow_cpu: Whether a trainer runs on the processor where no GPU is free, or where the driver does not work.
        directory: The slot directory.
    """

    kind: str = "auto"
    slots_per_gpu: int = 1
    allow_cpu: bool = False
    directory: Path = SLOT_DIRECTORY


@dataclass
class Place:
    """Where a trainer runs.

    Attributes:
        device: In words, for logs and tables: `gpu 0 GPU-8932f937`, or `cpu`.
        name: The same with more about it.
        environment: The variables that keep a trainer there.
        slot: The slot that is held; None on the processor.
        gpu: The GPU of that slot.
        memory_share: Which part of the GPU's memory the trainer may use, in (0, 1]; None on the processor.
    """

    device: str = "cpu"
    name: str = "cpu"
    environment: dict[str, str] = field(default_factory=dict)
    slot: Slot | None = None
    gpu: Gpu | None = None
    memory_share: float | None = None

    @property
    def packed(self) -> bool:
        """Whether others may be on the same GPU."""
        return self.slot is not None and self.slot.of > 1

    @property
    def files(self) -> tuple[int, ...]:
        """The descriptors that a trainer has to hold too."""
        return self.slot.files if self.slot is not None else ()

    def release(self) -> None:
        """Lets go of the slot."""
        if self.slot is not None:
            self.slot.release()


NONE = Gpus()
DEFAULTS = Wanted()


class Placement:
    """The devices of this host that a worker may be given.

    Args:
        gpus: What was found; without usable GPUs trainers run on the processor.
        wanted: What the user decides.
        environ: The variables of this process, which win over our own where they are set.
        directory: The slot directory; needed where there are GPUs.
    """

    def __init__(
        self,
        gpus: Gpus = NONE,
        wanted: Wanted = DEFAULTS,
        environ: Mapping[str, str] | None = None,
        directory: SlotDirectory | None = None,
    ) -> None:
        self.gpus = gpus
        self.directory = directory
        self._wanted = wanted
        self._environ = environ or {}

    @property
    def slots(self) -> int | None:
        """How many trainers can run at a time; None where there is no such limit."""
        if not self.gpus.usable or self._wanted.allow_cpu:
            return None
        return len(self.gpus.usable) * self._wanted.slots_per_gpu

    def take(self, holder: str) -> Place | None:
        """Takes a place, without waiting: the emptiest GPU first. None where all slots are held, and the processor is
        not allowed.
        """
        # Who comes or looks holds a lock for a moment. One that waits asks again anyway; the processor is for good.
        for look in range(LOOKS if self._wanted.allow_cpu else 1):
            if look and self.gpus.usable:
                time.sleep(LOOK_SECONDS)
            for gpu in sorted(self.gpus.usable, key=self._crowd):
                for number in range(self._wanted.slots_per_gpu):
                    assert self.directory is not None
                    slot = self.directory.take(gpu.key, number, self._wanted.slots_per_gpu, holder)
                    if slot is not None:
                        return self._place(gpu, slot)
        if self.gpus.usable and not self._wanted.allow_cpu:
            return None
        return self._processor()

    def _crowd(self, gpu: Gpu) -> int:
        """How many are on a GPU, where several may be."""
        if self._wanted.slots_per_gpu == 1 or self.directory is None:
            return 0
        numbers = range(self._wanted.slots_per_gpu)
        return sum(self.directory.holder(gpu.key, number) is not None for number in numbers)

    def wish_alone(self, place: Place) -> Wish | None:
        """Says that the GPU of a place, which was released, is wanted alone; None where another said so before."""
        assert self.directory is not None
        assert place.gpu is not None
        return self.directory.wish_alone(place.gpu.key)

    def take_alone(self, place: Place, wish: Wish, holder: str) -> Place | None:
        """Takes the whole GPU of a place; None while others are on it."""
        assert self.directory is not None
        assert place.gpu is not None
        slot = self.directory.take_alone(wish, holder)
        return self._place(place.gpu, slot) if slot is not None else None

    def should_make_room(self, place: Place) -> bool:
        """Whether another wants the place's GPU alone, and it is shared."""
        if not place.packed:
            return False
        return self.directory is not None and place.gpu is not None and self.directory.is_wished_alone(place.gpu.key)

    def holders(self) -> dict[str, list[str]]:
        """Who holds slots on each GPU, in words, by the GPU's label."""
        if self.directory is None:
            return {}
        numbers = range(self._wanted.slots_per_gpu)
        found = {gpu.label: [self.directory.holder(gpu.key, number) for number in numbers] for gpu in self.gpus.usable}
        return {label: [holder for holder in held if holder is not None] for label, held in found.items()}

    def _place(self, gpu: Gpu, slot: Slot) -> Place:
        of = f" slot {slot.number + 1}/{slot.of}" if slot.of > 1 else ""
        size = f", {gpu.memory / GIGABYTE:.0f} GB" if gpu.memory else ""
        share = 1.0 if slot.of == 1 else DIVISIBLE / slot.of
        environment = {gpu.variable: gpu.id}
        if gpu.variable == "ROCR_VISIBLE_DEVICES":
            environment["HIP_VISIBLE_DEVICES"] = "0"  # it counts among what is left
        defaults = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        if slot.of > 1 and "XLA_CLIENT_MEM_FRACTION" not in self._environ:
            defaults["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{share:.3f}"
        environment |= {name: value for name, value in defaults.items() if name not in self._environ}
        return Place(f"{gpu.label}{of}", f"{gpu.label}{of} ({gpu.name}{size})", environment, slot, gpu, share)

    def _processor(self) -> Place:
        return Place(environment=no_gpu(self._environ) if self.gpus.found else {})


def no_gpu(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process that is to see no GPU: the chief, or a trainer on the processor of a box with GPUs."""
    return HIDDEN | {name: value for name, value in NO_GPU_FOR_JAX.items() if name not in environ}


def find(wanted: Wanted, environ: Mapping[str, str]) -> Placement:
    """Finds the devices of this host, and checks that they can be shared as wanted.

    Raises:
        DeviceError: the driver or the slot directory cannot be used, or there is no GPU where one is wanted.
        UsageError: a variable names a GPU that is not there, or the GPUs have too little memory for so many slots.
    """
    try:
        gpus = devices.find_gpus(environ)
    except UsageError:
        if wanted.kind != "cpu":
            raise
        return Placement(Gpus(found=1), wanted, environ)
    except DeviceError as error:
        if wanted.kind == "gpu" or not (wanted.allow_cpu or wanted.kind == "cpu"):
            raise
        log.warning("%s. Trainers run on the CPU", str(error).split(". See what")[0])
        return Placement(Gpus(found=1), wanted, environ)
    if wanted.kind == "cpu":
        return Placement(Gpus(found=gpus.found), wanted, environ)
    if not gpus.usable:
        if wanted.kind == "gpu":
            among = f" among the {gpus.found} that are here" if gpus.found else ""
            raise DeviceError(f"--device gpu, and this process may use no GPU{among}. See cluster doctor")
        return Placement(gpus, wanted, environ)
    if wanted.kind == "auto" and not devices.backends_with_gpu():
        log.warning(
            "%d GPU%s found, but no installed Keras backend was built for GPUs: trainers run on the CPU. "
            "Install tensorflow[and-cuda], jax[cuda12] or torch (or insist with --device gpu)",
            *(len(gpus.usable), "" if len(gpus.usable) == 1 else "s"),
        )
        return Placement(Gpus(found=gpus.found), wanted, environ)
    _check_memory(gpus.usable, wanted.slots_per_gpu)
    directory = SlotDirectory(wanted.directory)
    if directory.file_system == "overlay":
        log.warning(
            "the slot directory %s is this container's own: workers in other containers do not see which GPUs are "
            "taken. Give them one volume, as compose.yaml does",
            directory.path,
        )
    return Placement(gpus, wanted, environ, directory)


def _check_memory(gpus: tuple[Gpu, ...], slots: int) -> None:
    for gpu in gpus:
        most = max(1, int(gpu.memory * DIVISIBLE) // LEAST_MEMORY)
        if slots > 1 and gpu.memory and slots > most:
            share = gpu.memory * DIVISIBLE / slots / GIGABYTE
            raise UsageError(
                f"--slots-per-gpu {slots} leaves {share:.1f} GB for each trainer on {gpu.label} ({gpu.name}, "
                f"{gpu.memory / GIGABYTE:.0f} GB), and a trainer needs 1 GB at least: {most} at most"
            )
