"""Options that say what trainers run on.

Owns the words of the command line; what they mean is in `placement.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster import placement
from cluster.commands import checked
from cluster.errors import UsageError
from cluster.placement import Wanted


def _kind(value: str) -> str:
    if value not in placement.KINDS:
        raise UsageError(f"--device {value!r} is none of {', '.join(placement.KINDS)}")
    return value


DeviceKind = Annotated[
    str,
    typer.Option(
        callback=_kind,
        envvar="CLUSTER_DEVICE",
        help="What trainers run on: gpu, cpu, or auto for GPUs where there are any to use.",
    ),
]
SlotsPerGpu = Annotated[
    int,
    typer.Option(
        callback=checked.count,
        envvar="CLUSTER_SLOTS_PER_GPU",
        min=1,
        help="How many trainers share a GPU and its memory.",
    ),
]
AllowCpu = Annotated[
    bool,
    typer.Option("--allow-cpu", envvar="CLUSTER_ALLOW_CPU", help="Run on the CPU where no GPU is free or works."),
]
SlotDir = Annotated[
    Path,
    typer.Option(
        parser=checked.path,
        metavar=checked.PATH,
        envvar="CLUSTER_SLOT_DIR",
        help="Where this host's workers see which GPUs are taken; never a network disk.",
    ),
]


def wanted_devices(device: str, slots_per_gpu: int, allow_cpu: bool, slot_dir: Path) -> Wanted:
    """What the options ask for."""
    return Wanted(device, slots_per_gpu, allow_cpu, slot_dir)
