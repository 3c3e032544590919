"""What the tests of the cluster share: a clock that they move, and searches over KerasTuner's own oracles."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import seams
from cluster.policy import Policy
from cluster.seams.journal import bring_up_to_date
from cluster.search import Grant, Search
from cluster.state import EventLog


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class OwnerRole:
    """The seams of a process that owns its project, without a search."""

    tuner_id = seams.TUNER_ID
    owns_files = True

    def prepare(self, project: Path, overwrite: bool) -> None:
        project.mkdir(parents=True, exist_ok=True)

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        raise AssertionError("no search here")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def owned() -> Iterator[None]:
    """KerasTuner under the seams of an owner."""
    with seams.installed(OwnerRole()):
        import keras_tuner  # noqa: F401

        yield


def make_oracle(kind: str = "RandomSearchOracle", *, trials: int | None = 3, **kwargs: Any) -> Any:
    """An oracle over `x` in {0, 1, …, 9}, which a score of `x` minimises."""
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Int("x", 0, 9)
    options = {"objective": keras_tuner.Objective("score", "min"), "hyperparameters": space, "seed": 5, **kwargs}
    if kind != "HyperbandOracle":
        options["max_trials"] = trials
    return getattr(keras_tuner.oracles, kind)(**options)


def make_tuner(directory: Path, oracle: Any, project_name: str = "project") -> Any:
    """A tuner without a hypermodel."""
    import keras_tuner

    return keras_tuner.engine.base_tuner.BaseTuner(oracle=oracle, directory=str(directory), project_name=project_name)


@contextlib.contextmanager
def open_search(
    directory: Path,
    clock: Callable[[], float] = time.monotonic,
    oracle: Any = None,
    policy: Policy | None = None,
    after_crash: bool = False,
) -> Iterator[Search]:
    """A search as a chief would hold it; opened again over the same directory, it is the chief's restart."""
    tuner = make_tuner(directory, oracle or make_oracle())
    owner = seams.OwnedOracle(tuner.oracle)
    tuner.save()
    search = Search(owner, Path(tuner.project_dir), policy or Policy(), clock, after_crash=after_crash)
    search.begin(role="test", oracle=type(tuner.oracle).__name__)
    try:
        yield search
    finally:
        search.close()


def take(search: Search, worker: str = "w", trainer: str | None = None) -> Grant:
    """A trial for a worker; the test fails where there is none."""
    grant = search.next_trial(worker, trainer or f"trainer of {worker}")
    assert isinstance(grant, Grant)
    return grant


def finish(search: Search, grant: Grant, score: float | None = None, status: str = "COMPLETED") -> None:
    """Ends a trial as KerasTuner's loop does: metrics, then the end."""
    value = float(grant.trial.hyperparameters["x"]) if score is None else score
    if status == "COMPLETED":
        search.update_trial(grant.trial.trial_id, grant.attempt, {"score": value}, 0)
    grant.trial.status = status
    search.end_trial(grant.trial, grant.attempt)


def on_disk(project: Path) -> dict[str, Any]:
    """The oracle's state as the files tell it: what was saved whole, and what has changed since."""
    saved: dict[str, Any] = json.loads((project / "oracle.json").read_text())
    bring_up_to_date(saved, EventLog(project).read())
    return saved
