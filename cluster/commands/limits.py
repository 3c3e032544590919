"""Options that say how a search goes: its limits, what is kept of it, what stops trials early.

Owns the words of the command line; what they mean is in `policy.py` and `prune.py`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer

from cluster.commands import checked
from cluster.errors import UsageError
from cluster.policy import Policy
from cluster.prune import RULES

Fresh = Annotated[
    bool, typer.Option("--fresh", envvar="CLUSTER_FRESH", help="Start every search anew; delete what is there.")
]
LeaseSeconds = Annotated[
    float,
    typer.Option(
        callback=checked.seconds,
        envvar="CLUSTER_LEASE_SECONDS",
        min=1.0,
        help="How long a worker may be silent before its trial runs elsewhere.",
    ),
]
MaxAttempts = Annotated[
    int,
    typer.Option(
        callback=checked.count,
        envvar="CLUSTER_MAX_ATTEMPTS",
        min=1,
        help="How often a trial may lose its worker before it counts as failed.",
    ),
]
TrialTimeout = Annotated[
    float | None,
    typer.Option(
        callback=checked.seconds,
        envvar="CLUSTER_TRIAL_TIMEOUT",
        min=0.001,
        help="How long one attempt at a trial may take, in s.",
    ),
]
StallSeconds = Annotated[
    float | None,
    typer.Option(
        callback=checked.seconds,
        envvar="CLUSTER_STALL_SECONDS",
        min=0.001,
        help="How long a trial may get nowhere, in s.",
    ),
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(
        callback=checked.minutes,
        envvar="CLUSTER_MAX_MINUTES",
        min=0.0,
        help="After so many minutes, begin no further trial.",
    ),
]
StopAt = Annotated[
    float | None,
    typer.Option(
        callback=checked.finite,
        envvar="CLUSTER_STOP_AT",
        help="Once the objective has reached this, begin no further trial.",
    ),
]
MaxFailures = Annotated[
    int | None,
    typer.Option(
        callback=checked.count,
        envvar="CLUSTER_MAX_FAILURES",
        min=1,
        help="How many failed trials in a row end the search.  [default: the program's own, 3 in KerasTuner]",
    ),
]
KeepCheckpoints = Annotated[
    int | None,
    typer.Option(
        callback=checked.count,
        envvar="CLUSTER_KEEP_CHECKPOINTS",
        min=1,
        help="How many of the best trials keep their checkpoint.  [default: all]",
    ),
]
Prune = Annotated[
    str | None,
    typer.Option(
        envvar="CLUSTER_PRUNE", help="By which rule to stop bad trials early: asha or median.  [default: none]"
    ),
]
PruneMinEpochs = Annotated[
    int,
    typer.Option(
        callback=checked.count,
        envvar="CLUSTER_PRUNE_MIN_EPOCHS",
        min=1,
        help="After how many epochs a trial is judged for the first time.",
    ),
]
PruneFactor = Annotated[
    int,
    typer.Option(
        callback=checked.count,
        envvar="CLUSTER_PRUNE_FACTOR",
        min=2,
        help="Of how many trials one goes on, each time that asha judges; the next time is after so many times the "
        "epochs.",
    ),
]
UploadGb = Annotated[
    float,
    typer.Option(
        callback=checked.gigabytes,
        envvar="CLUSTER_UPLOAD_GB",
        min=0.001,
        help="How many GB a worker elsewhere may send of one trial's files.",
    ),
]
FreeGb = Annotated[
    float,
    typer.Option(
        callback=checked.gigabytes, envvar="CLUSTER_FREE_GB", min=0.0, help="How many GB of the disk they leave free."
    ),
]


def policy_of(context: typer.Context) -> Policy:
    """The options of a command that are a search's policy.

    Raises:
        UsageError: there is no such rule to stop trials by.
    """
    rule = context.params["prune"]
    if rule is not None and rule not in RULES:
        raise UsageError(f"--prune {rule!r} is none of {', '.join(RULES)}")
    return Policy(**{x.name: context.params[x.name] for x in fields(Policy) if x.name in context.params})
