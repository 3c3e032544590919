"""How much each hyperparameter matters: what does, what does not, and when nothing can be said."""

from __future__ import annotations

import random

import pytest

from cluster.record import Parameter, Record, Trial
from cluster.report.axes import Axis
from cluster.report.importance import FEWEST, importance


def searched(trials: int, seed: int = 0) -> Record:
    """A search in which `rate` matters most, `kind` somewhat, and `noise` not at all."""
    draw = random.Random(seed)
    record = Record("d", "d", objective="score", direction="max")
    record.space = [
        Parameter("noise", "int", low=0, high=100),
        Parameter("kind", "choice", values=("a", "b", "c")),
        Parameter("rate", "float", log=True, low=1e-5, high=1.0),
        Parameter("fixed", "fixed"),
    ]
    for n in range(trials):
        trial = record.trial(str(n))
        exponent = draw.uniform(-5, 0)
        trial.values = {
            "noise": draw.randrange(101),
            "kind": draw.choice("abc"),
            "rate": 10**exponent,
            "fixed": 1,
            **({"depth": draw.randrange(5)} if n % 2 else {}),
        }
        trial.score = -abs(exponent + 3) + 0.8 * (trial.values["kind"] == "b")
        trial.status = "completed"
    return record


def test_what_matters_comes_first() -> None:
    found = importance(searched(80))
    assert found is not None
    assert list(found)[:2] == ["rate", "kind"]
    assert found["rate"] > 0.5 > found["kind"] > 0.05
    assert found["noise"] < 0.05
    assert sum(found.values()) == pytest.approx(1)
    assert "fixed" not in found


def test_the_same_trials_give_the_same_shares() -> None:
    assert importance(searched(30)) == importance(searched(30))


def test_a_diverged_trial_does_not_outweigh_the_others() -> None:
    record = searched(80)
    record.trials["5"].score = -1e30
    found = importance(record)
    assert found is not None
    assert list(found)[:2] == ["rate", "kind"]


def test_many_trials_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Trial]] = []

    def shuffled(inputs: list[Axis], trials: list[Trial], scores: list[float]) -> list[float]:
        seen.append(trials)
        return [1.0] * len(inputs)

    monkeypatch.setattr("cluster.report.importance._shuffled", shuffled)
    importance(searched(2000))
    assert [len(x) for x in seen] == [500]
    assert {int(x.id) // 1000 for x in seen[0]} == {0, 1}


def test_with_too_little_nothing_is_said() -> None:
    assert importance(searched(FEWEST - 1)) is None
    assert importance(searched(0)) is None
    same = searched(20)
    for trial in same.trials.values():
        trial.score = 1.0
    assert importance(same) is None
    unvaried = searched(20)
    for trial in unvaried.trials.values():
        trial.values = {"rate": 0.1}
    assert importance(unvaried) is None


def test_one_hyperparameter_is_all_there_is() -> None:
    record = searched(20)
    for trial in record.trials.values():
        trial.values = {"rate": trial.values["rate"]}
    assert importance(record) == {"rate": 1.0}
