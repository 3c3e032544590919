"""Ray: the options of `cluster run --ray`, and the commands of compose.yaml's cluster."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cluster import placement
from cluster.commands import checked
from cluster.commands.devices import DeviceKind, SlotDir, wanted_devices
from cluster.commands.shared import LogJson, Words, configure_logging
from cluster.placement import SLOT_DIRECTORY
from cluster.program import Program

CpusPerTrial = Annotated[
    float | None,
    typer.Option(
        callback=checked.count,
        envvar="CLUSTER_CPUS_PER_TRIAL",
        min=0.01,
        help="Cores of a trial on Ray.  [default: an equal part]",
    ),
]
GpusPerTrial = Annotated[
    float | None,
    typer.Option(
        callback=checked.count,
        envvar="CLUSTER_GPUS_PER_TRIAL",
        min=0.0,
        help="GPUs of a trial on Ray, or a part of one.  [default: one]",
    ),
]
RayStorage = Annotated[
    str | None,
    typer.Option(
        callback=checked.text,
        envvar="CLUSTER_RAY_STORAGE",
        help="Where Ray keeps what trials save.  [default: with the results]",
    ),
]
RayScheduler = Annotated[
    str,
    typer.Option(
        envvar="CLUSTER_RAY_SCHEDULER", help="What stops trials early on Ray: asha or median.  [default: none]"
    ),
]
RaySearch = Annotated[
    str,
    typer.Option(
        envvar="CLUSTER_RAY_SEARCH",
        help="Which of Ray Tune's searchers proposes trials, such as optuna.  [default: the program's oracle]",
    ),
]


def ray_head(words: Words = None, log_json: LogJson = False) -> None:
    """Of compose.yaml: start the head of a Ray cluster, and run the program on it."""
    from cluster.ray_backend import node

    configure_logging(log_json)
    Program.parse(words or [])  # what makes no sense is said before Ray starts
    node.lead(words or [])


def ray_worker(
    head: Annotated[str, typer.Option(callback=checked.head_address, help="The head's HOST:PORT.")],
    ray_cpus: Annotated[
        int,
        typer.Option(
            "--cpus", callback=checked.count, envvar="CLUSTER_RAY_CPUS", min=1, help="How many cores to offer."
        ),
    ] = 1,
    device: DeviceKind = "auto",
    slot_dir: SlotDir = SLOT_DIRECTORY,
    log_json: LogJson = False,
) -> None:
    """Of compose.yaml: offer cores and a GPU to a Ray cluster, for as long as its head is there."""
    from cluster.ray_backend import node

    configure_logging(log_json)
    devices = placement.find(wanted_devices(device, 1, False, slot_dir), os.environ)
    raise typer.Exit(node.follow(head, ray_cpus, devices))
