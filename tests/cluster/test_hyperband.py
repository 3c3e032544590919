"""Hyperband with trials that fail, and without: beside stock KerasTuner's."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import seams
from cluster.policy import Policy
from cluster.search import Answer, Grant
from tests.cluster.conftest import OwnerRole, finish, open_search


def stock_methods() -> Any:
    """A HyperbandOracle whose methods stay KerasTuner's own when the seams go in."""
    from keras_tuner.oracles import HyperbandOracle

    names = ("populate_space", "_remove_completed_brackets")
    return type("HyperbandOracle", (HyperbandOracle,), {name: getattr(HyperbandOracle, name) for name in names})


def hyperband(kind: Any = None, **options: Any) -> Any:
    """An oracle over a space that has no end; `x` is its own score, the smallest the best."""
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Float("x", 0.0, 1.0)
    return (kind or keras_tuner.oracles.HyperbandOracle)(
        **{
            "objective": keras_tuner.Objective("score", "min"),
            "hyperparameters": space,
            "max_epochs": 9,
            "factor": 3,
            "seed": 4,
            **options,
        }
    )


def rounds_of(trials: list[Any]) -> dict[tuple[int, int], list[Any]]:
    """The trials of each (bracket, round)."""
    found: dict[tuple[int, int], list[Any]] = {}
    for trial in trials:
        values = trial.hyperparameters.values
        found.setdefault((values["tuner/bracket"], values["tuner/round"]), []).append(trial)
    return found


def run(directory: Path, oracle: Any, failing: Any, workers: int = 1, seed: int = 0) -> list[Any]:
    """Runs a search to its end with workers that come to theirs in any order; returns its trials."""
    dice = random.Random(seed)
    with seams.installed(OwnerRole()), open_search(directory, oracle=oracle, policy=Policy(max_failures=999)) as search:
        running: dict[str, Grant] = {}
        for _ in range(10_000):
            worker = f"w{dice.randrange(workers)}"
            if worker in running:
                grant = running.pop(worker)
                finish(search, grant, status="FAILED" if failing(grant.trial) else "COMPLETED")
                continue
            answer = search.next_trial(worker, worker)
            if answer is Answer.OVER:
                assert not running
                return list(oracle.trials.values())
            if isinstance(answer, Grant):
                running[worker] = answer
            else:
                assert running, "nothing runs, and yet there is nothing to run"
        raise AssertionError("the search does not end")


def check_rounds(oracle: Any, trials: list[Any]) -> None:
    """Each round is as full as the round before allows, and has its best."""
    rounds = rounds_of(trials)
    number_of_brackets = oracle._get_num_brackets()
    for bracket in range(number_of_brackets):
        for index in range(oracle._get_num_rounds(bracket)):
            here = rounds.get((bracket, index), [])
            size = oracle._get_size(bracket, index)
            if index == 0:
                assert len(here) == size
                continue
            before = [t for t in rounds.get((bracket, index - 1), []) if t.status == "COMPLETED"]
            assert len(here) == min(size, len(before)), (bracket, index)
            parents = [t.hyperparameters.values["tuner/trial_id"] for t in here]
            assert len(set(parents)) == len(parents)
            best = sorted(before, key=lambda t: t.score)[: len(here)]
            assert set(parents) == {t.trial_id for t in best}


def test_stock_rounds_stay_short_and_ours_are_filled(tmp_path: Path) -> None:
    """Three of nine trials fail in the first bracket's first round."""

    def failing(trial: Any) -> bool:
        return int(trial.trial_id) in (1, 3, 5)

    stock = rounds_of(run(tmp_path / "stock", hyperband(stock_methods()), failing))
    assert len(stock[2, 0]) == 9
    assert (2, 1) not in stock, "not one of the six that completed is promoted"
    oracle = hyperband()
    trials = run(tmp_path / "ours", oracle, failing)
    check_rounds(oracle, trials)
    ours = rounds_of(trials)
    assert [len(ours[2, index]) for index in range(3)] == [9, 3, 1]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("options", [{}, {"max_epochs": 8, "factor": 2, "hyperband_iterations": 2}])
def test_without_failures_the_proposals_are_kerastuners(tmp_path: Path, workers: int, options: dict[str, Any]) -> None:
    found = []
    for name, kind in {"stock": stock_methods(), "ours": None}.items():
        trials = run(tmp_path / name, hyperband(kind, **options), lambda trial: False, workers, seed=1)
        found.append([(t.trial_id, {**t.hyperparameters.values, "tuner/bracket": 0}, t.score) for t in trials])
    assert len(found[0]) > 15
    assert found[0] == found[1]


def test_a_trial_bears_its_own_brackets_number(tmp_path: Path) -> None:
    """With one worker waiting for the slowest trial of a bracket, others begin the next."""
    wrong = []
    for name, kind in {"stock": stock_methods(), "ours": None}.items():
        oracle = hyperband(kind)
        trials = run(tmp_path / name, oracle, lambda trial: False, workers=4, seed=2)
        by_id = {t.trial_id: t.hyperparameters.values for t in trials}
        promoted = [v for v in by_id.values() if "tuner/trial_id" in v]
        wrong.append([v for v in promoted if v["tuner/bracket"] != by_id[v["tuner/trial_id"]]["tuner/bracket"]])
    assert wrong[0]
    assert not wrong[1]


@pytest.mark.parametrize("iterations", [1, 2])
def test_no_worker_waits_while_a_bracket_can_be_begun(tmp_path: Path, iterations: int) -> None:
    """While the first round of a bracket runs, workers beyond it get trials of the next brackets and iterations."""
    oracle = hyperband(hyperband_iterations=iterations)
    first_rounds = [9, 5, 3] * iterations  # brackets 2, 1 and 0
    with seams.installed(OwnerRole()), open_search(tmp_path, oracle=oracle, policy=Policy()) as search:
        grants = [search.next_trial(f"w{n}", f"w{n}") for n in range(sum(first_rounds))]
        assert all(isinstance(x, Grant) for x in grants)
        begun = [x.trial.hyperparameters.values["tuner/bracket"] for x in grants if isinstance(x, Grant)]
        assert begun == [2 - n % 3 for n, size in enumerate(first_rounds) for _ in range(size)]
        assert search.next_trial("late", "late") is Answer.WAIT, "the oracle has no further bracket"

        for ended, grant in enumerate(grants[:9], 1):
            assert isinstance(grant, Grant)
            finish(search, grant)
            answer = search.next_trial(f"idle{ended}", f"idle{ended}")
            # Of nine, six are thrown out: a better one than those is known as soon as a seventh has ended.
            assert isinstance(answer, Grant) is (ended > 6), ended
            if isinstance(answer, Grant):
                assert answer.trial.hyperparameters.values["tuner/round"] == 1


def test_a_worker_that_waits_for_a_round_gets_its_next_trial_with_the_end(tmp_path: Path) -> None:
    """It waits in its call, and no clock has to tick."""
    with seams.installed(OwnerRole()), open_search(tmp_path, oracle=hyperband(), policy=Policy()) as search:
        grants = [search.next_trial(f"w{n}", f"w{n}") for n in range(17)]
        for grant in grants[:6]:
            assert isinstance(grant, Grant)
            finish(search, grant)
        assert search.next_trial("asks", "asks") is Answer.WAIT  # so that the oracle is not asked again for a second
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(search.next_trial, "waits", "waits", 60.0)
            assert isinstance(grants[6], Grant)
            finish(search, grants[6])
            answer = waiting.result(30)
        assert isinstance(answer, Grant)
        assert answer.trial.hyperparameters.values["tuner/round"] == 1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    workers=st.integers(1, 5),
    share=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
    factor=st.sampled_from([2, 3]),
    iterations=st.sampled_from([1, 2]),
)
def test_whatever_fails_every_round_is_as_full_as_can_be(
    tmp_path_factory: pytest.TempPathFactory, seed: int, workers: int, share: float, factor: int, iterations: int
) -> None:
    oracle = hyperband(max_epochs=6, factor=factor, seed=seed + 1, hyperband_iterations=iterations)
    dice = random.Random(seed)
    failed: dict[str, bool] = {}

    def failing(trial: Any) -> bool:
        return failed.setdefault(trial.trial_id, dice.random() < share)

    trials = run(tmp_path_factory.mktemp("hyperband"), oracle, failing, workers, seed)
    assert {t.status for t in trials} <= {"COMPLETED", "FAILED"}
    if iterations == 1:
        check_rounds(oracle, trials)
    assert oracle._brackets == [], "no bracket is left open"


def test_a_restart_between_any_two_trials_changes_nothing(tmp_path: Path) -> None:
    def failing(trial: Any) -> bool:
        return int(trial.trial_id) % 4 == 1

    undisturbed = run(tmp_path / "undisturbed", hyperband(), failing)
    with seams.installed(OwnerRole()):
        for _ in range(100):
            oracle = hyperband()
            with open_search(tmp_path, oracle=oracle, policy=Policy(max_failures=999)) as search:
                answer = search.next_trial("w", "w")
                if answer is Answer.OVER:
                    break
                assert isinstance(answer, Grant)
                finish(search, answer, status="FAILED" if failing(answer.trial) else "COMPLETED")
    values = [{t.trial_id: t.hyperparameters.values for t in x} for x in (undisturbed, oracle.trials.values())]
    assert json.loads(json.dumps(values[0])) == values[1]
