"""What travels from the program to Ray's processes: the tuner without its oracle, and what `fit` is given.

Owns pickling, and saying which part cannot be.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import UsageError


@dataclass(frozen=True)
class Fit:
    """What the program gave to `tuner.search()`."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Shipment:
    """What every trial of a search needs; sent once.

    Attributes:
        tuner: The tuner without its oracle, pickled.
        fit: What `tuner.search()` was given, pickled.
        objective: The oracle's objective.
        space: The search space, as JSON-like data.
        seed: The oracle's seed.
        max_trials: The oracle's limit.
        project: The project directory, which may not be there where a trial runs.
    """

    tuner: bytes
    fit: bytes
    objective: bytes
    space: dict[str, Any]
    seed: int | None
    max_trials: int | None
    project: str


def pack(tuner: Any, fit: Fit) -> Shipment:
    """Pickles what a trial needs.

    Raises:
        UsageError: a part cannot be pickled; the text names it.
    """
    oracle = tuner.oracle
    bare = copy.copy(tuner)
    bare.oracle = None
    for place, value in enumerate(fit.args):
        _pickled(f"argument {place + 1} of tuner.search()", value)
    for name, value in fit.kwargs.items():
        _pickled(f"the argument {name!r} of tuner.search()", value)
    return Shipment(
        tuner=_pickled(f"the tuner ({type(tuner).__name__}, with its hypermodel)", bare),
        fit=_pickled("the arguments of tuner.search()", fit),
        objective=_pickled("the objective", oracle.objective),
        space=oracle.get_space().get_config(),
        seed=oracle.seed,
        max_trials=oracle.max_trials,
        project=str(Path(tuner.project_dir).resolve()),
    )


def _pickled(what: str, value: Any) -> bytes:
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(value)
    except Exception as error:
        raise UsageError(
            f"{what} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be sent to Ray's processes "
            f"({type(error).__name__}: {error}). Make it where the trial runs: within HyperModel.fit or build"
        ) from error
    return packed
