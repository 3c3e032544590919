"""Hyperband with trials that fail, and its proposals where none does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import seams
from tests.cluster.conftest import OwnerRole, make_oracle, make_tuner

OPTIONS: dict[str, Any] = {"max_epochs": 9, "factor": 3}


def run(directory: Path, fails: Callable[[int], bool] = lambda number: False, **options: Any) -> Any:
    """Runs a search with one worker; returns its oracle."""
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Float("x", 0.0, 1.0)
    oracle = make_oracle("HyperbandOracle", **{**OPTIONS, "hyperparameters": space, **options})
    oracle.max_consecutive_failed_trials = 10**6
    make_tuner(directory, oracle)
    oracle.verbose = 0
    for number in range(500):
        trial = oracle.create_trial("w")
        if trial.status == "STOPPED":
            return oracle
        assert trial.status == "RUNNING", "one worker never has to wait"
        trial.status = "FAILED" if fails(number) else "COMPLETED"
        if trial.status == "COMPLETED":
            oracle.update_trial(trial.trial_id, {"score": trial.hyperparameters["x"]})
        oracle.end_trial(trial)
    raise AssertionError("the search does not end")


def values(oracle: Any) -> list[dict[str, Any]]:
    return [oracle.trials[x].hyperparameters.values for x in oracle.start_order]


def rounds(oracle: Any) -> Counter[tuple[int, int]]:
    """How many trials each (bracket, round) had."""
    return Counter((v["tuner/bracket"], v["tuner/round"]) for v in values(oracle))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_failures_the_proposals_are_kerastuners(tmp_path: Path, seed: int) -> None:
    stock = values(run(tmp_path / "stock", seed=seed))
    with seams.installed(OwnerRole()):
        ours = values(run(tmp_path / "ours", seed=seed))
    bracket = "tuner/bracket"  # in which KerasTuner writes the newest bracket's number
    assert [{k: v for k, v in x.items() if k != bracket} for x in ours] == [
        {k: v for k, v in x.items() if k != bracket} for x in stock
    ]


def test_every_trial_bears_its_brackets_number(tmp_path: Path) -> None:
    with seams.installed(OwnerRole()):
        oracle = run(tmp_path)
    assert rounds(oracle) == {(2, 0): 9, (2, 1): 3, (2, 2): 1, (1, 0): 5, (1, 1): 2, (0, 0): 3}


def test_rounds_are_filled_though_trials_fail(tmp_path: Path) -> None:
    def fails(number: int) -> bool:
        return number % 3 == 0

    stock = rounds(run(tmp_path / "stock", fails))
    with seams.installed(OwnerRole()):
        ours = rounds(run(tmp_path / "ours", fails))
    assert ours[(2, 1)] == 3, "as many as without failures, the best of those that have completed"
    assert ours.total() > stock.total()


def test_it_ends_when_everything_fails(tmp_path: Path) -> None:
    with seams.installed(OwnerRole()):
        oracle = run(tmp_path, lambda number: True)
    assert {number for _, number in rounds(oracle)} == {0}
