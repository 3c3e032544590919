"""Options of workers and their trainers: the way to the chief, when a trainer is replaced, where its files are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import checked

ChiefAddress = Annotated[
    str, typer.Option("--chief", callback=checked.address, envvar="CLUSTER_CHIEF", help="The chief's HOST:PORT.")
]
ConnectTimeout = Annotated[
    float,
    typer.Option(
        callback=checked.seconds,
        envvar="CLUSTER_CONNECT_TIMEOUT",
        min=0.0,
        help="How long to wait for the chief at first, in s.",
    ),
]
Patience = Annotated[
    float,
    typer.Option(
        callback=checked.seconds,
        envvar="CLUSTER_PATIENCE",
        min=0.0,
        help="How long to wait for a chief that has gone, in s.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        callback=checked.name, envvar="CLUSTER_NAME", help="The worker's name.  [default: the host's and four digits]"
    ),
]
DrainSeconds = Annotated[
    float,
    typer.Option(
        callback=checked.seconds,
        envvar="CLUSTER_DRAIN_SECONDS",
        min=0.0,
        help="How long a worker told to leave may take to end its epoch, in s.",
    ),
]
RecycleAfter = Annotated[
    int | None,
    typer.Option(
        callback=checked.count, envvar="CLUSTER_RECYCLE_AFTER", min=1, help="Replace a trainer after so many trials."
    ),
]
RecycleGb = Annotated[
    float | None,
    typer.Option(
        callback=checked.gigabytes,
        envvar="CLUSTER_RECYCLE_GB",
        min=0.001,
        help="Replace a trainer, between trials, that holds so many gigabytes.",
    ),
]
Scratch = Annotated[
    Path | None,
    typer.Option(
        parser=checked.directory,
        metavar=checked.PATH,
        envvar="CLUSTER_SCRATCH",
        help="Where to keep files of trials where the chief's directory is not here.  [default: TMPDIR, or /tmp]",
    ),
]
Apart = Annotated[
    bool,
    typer.Option(
        "--apart", envvar="CLUSTER_APART", help="Keep them there, and send them, though the directory is here."
    ),
]
