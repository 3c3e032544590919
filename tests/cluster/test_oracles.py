"""This package's own oracles: what they propose, over which spaces, after which trials, and once they are made anew."""

from __future__ import annotations

import importlib.util
import math
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import keras_tuner
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.errors import MissingDependency
from cluster.oracles.latent import coordinates, count, place_of, value_of
from tests.cluster.test_latent import is_a_value, spaces

optuna: Any = pytest.importorskip("optuna", reason="the extra `optuna` is not installed")
pytest.importorskip("cmaes", reason="the extra `optuna` is not installed")
import cluster.oracles  # noqa: E402
from cluster.oracles.cmaes import Evolution  # noqa: E402
from cluster.oracles.study import Study, quiet  # noqa: E402

WITH_TORCH = importlib.util.find_spec("torch") is not None
KINDS = ["TPEOracle", "CmaEsOracle", "QMCOracle", *(["GPOracle"] if WITH_TORCH else [])]
every_kind = pytest.mark.parametrize("kind", KINDS)

Score = Callable[[dict[str, Any]], float | None]


def make(kind: str, space: Any, *, trials: int = 12, seed: int = 5, **options: Any) -> Any:
    """An oracle whose model is asked from its fourth trial on."""
    if kind in ("TPEOracle", "GPOracle"):
        options = {"num_initial_points": 3, **options}
    oracle = getattr(cluster.oracles, kind, None) or getattr(keras_tuner.oracles, kind)
    made = oracle(
        **{
            "objective": keras_tuner.Objective("score", "min"),
            "max_trials": trials,
            "hyperparameters": space,
            "seed": seed,
            **options,
        }
    )
    made.verbose = 0
    return made


def in_memory(oracle: Any) -> Any:
    """An oracle that writes no files."""
    oracle.save = oracle._save_trial = lambda *_: None
    return oracle


def end(oracle: Any, trial: Any, score: float | None) -> None:
    """A trial ends; without a score it has failed."""
    if score is not None:
        oracle.update_trial(trial.trial_id, {"score": score})
    trial.status = "FAILED" if score is None else "COMPLETED"
    oracle.end_trial(trial)


def search(oracle: Any, score: Score, workers: int = 1) -> list[dict[str, Any]]:
    """Runs a search to its end; of the trials that run, the first ends first. Returns the values of all."""
    running: list[Any] = []
    while True:
        while len(running) < workers:
            trial = oracle.create_trial(f"w{len(oracle.start_order)}")
            if trial.status != "RUNNING":
                break
            running.append(trial)
        if not running:
            return [oracle.trials[x].hyperparameters.values for x in oracle.start_order]
        trial = running.pop(0)
        end(oracle, trial, score(trial.hyperparameters.values))


def network() -> Any:
    """A space as they are: scales, steps, choices of both kinds, and a condition."""
    space = keras_tuner.HyperParameters()
    space.Float("rate", 1e-5, 1e-1, sampling="log")
    space.Int("units", 8, 256, step=8)
    space.Float("dropout", 0.0, 0.6)
    space.Choice("batch", [16, 32, 64, 128])
    space.Choice("optimizer", ["adam", "sgd"])
    with space.conditional_scope("optimizer", ["sgd"]):
        space.Float("momentum", 0.0, 0.99)
    return space


def loss(values: dict[str, Any]) -> float:
    """The least is 0, with sgd."""
    total = (math.log10(values["rate"]) + 2.7) ** 2 + ((values["units"] - 150) / 60) ** 2
    total += 10 * (values["dropout"] - 0.2) ** 2 + 0.3 * abs(math.log2(values["batch"] / 64))
    return float(total + (0.5 if values["optimizer"] == "adam" else (values["momentum"] - 0.9) ** 2))


# --- what is proposed


@every_kind
@pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning")  # KerasTuner's, of a score that is none
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_proposal_lies_in_the_space(kind: str, data: st.DataObject) -> None:
    space = data.draw(spaces())
    scores = st.none() | st.floats(-10.0, 10.0) | st.sampled_from([math.inf, -math.inf, math.nan])
    oracle = in_memory(make(kind, space.copy(), max_consecutive_failed_trials=99))
    found = search(oracle, lambda _: data.draw(scores), workers=data.draw(st.integers(1, 3)))
    assert found
    trial = space.copy()
    for values in found:
        trial.values = values
        assert set(values) == {hp.name for hp in trial.space if trial.is_active(hp)}
        for hp in trial.space:
            assert not trial.is_active(hp) or is_a_value(hp, values[hp.name]), (hp.get_config(), values[hp.name])


@every_kind
def test_the_same_seed_proposes_the_same_and_another_others(kind: str) -> None:
    first, again, other = (search(in_memory(make(kind, network(), seed=x)), loss) for x in (5, 5, 6))
    assert first == again
    assert first != other


@every_kind
def test_no_values_come_twice_and_a_space_that_is_exhausted_ends_the_search(kind: str) -> None:
    space = keras_tuner.HyperParameters()
    space.Int("x", 0, 4)
    space.Boolean("y")
    with space.conditional_scope("y", [True]):
        space.Choice("z", ["a", "b"])
    found = search(in_memory(make(kind, space, trials=999)), lambda values: float(values["x"]))
    assert len({tuple(sorted(x.items())) for x in found}) == len(found)
    assert 10 <= len(found) <= 15


@pytest.mark.parametrize("kind", [x for x in KINDS if x != "QMCOracle"])
def test_it_finds_better_trials_than_chance(kind: str) -> None:
    seeds = [1000, 2000, 3000] if kind == "GPOracle" else [1000, 2000, 3000, 4000, 5000]
    number = 25 if kind == "GPOracle" else 60

    def best(kind: str, **options: Any) -> float:
        return sum(
            min(map(loss, search(in_memory(make(kind, network(), trials=number, seed=x, **options)), loss)))
            for x in seeds
        )

    assert best(kind) < 0.6 * best("RandomSearchOracle")


@every_kind
def test_a_score_to_be_maximised_is_maximised(kind: str) -> None:
    """The same trials as those of its negative, to be minimised."""
    up = in_memory(make(kind, network(), objective=keras_tuner.Objective("score", "max")))
    assert search(up, lambda x: -loss(x)) == search(in_memory(make(kind, network())), loss)


@every_kind
def test_hyperparameters_that_appear_during_the_search_are_tuned(kind: str) -> None:
    space = keras_tuner.HyperParameters()
    space.Float("x", 0.0, 1.0)
    oracle = in_memory(make(kind, space, trials=12))
    for number in range(12):
        trial = oracle.create_trial("w")
        if number >= 5:
            trial.hyperparameters.Float("late", 1.0, 9.0, default=4.0)
            with trial.hyperparameters.conditional_scope("late", [4.0]):
                trial.hyperparameters.Boolean("later")
        end(oracle, trial, trial.hyperparameters.values["x"])
    late = [oracle.trials[x].hyperparameters.values.get("late") for x in oracle.start_order]
    assert late[:6] == [None] * 5 + [4.0], "the first that comes upon it has its default"
    assert len(set(late[6:])) == 6


def test_a_conditional_hyperparameter_is_learnt_from_the_trials_that_had_it() -> None:
    found = search(in_memory(make("TPEOracle", network(), trials=80)), loss)
    momenta = [x["momentum"] for x in found if x["optimizer"] == "sgd"]
    assert all("momentum" not in x for x in found if x["optimizer"] == "adam")
    assert sum(momenta[-15:]) / 15 > 0.75, "0.9 is the best"


def test_a_single_value_beside_others_asks_for_none_of_them_again() -> None:
    """Else a condition could be met that was not when its children were asked for, and they would be random."""
    space = keras_tuner.HyperParameters()
    space.Choice("optimizer", ["adam", "sgd"])
    with space.conditional_scope("optimizer", ["sgd"]):
        space.Float("momentum", 0.0, 1.0)
    space.Fixed("epochs", 5)
    oracle = in_memory(make("TPEOracle", space))
    asked: list[str] = []

    def ask(names: list[str]) -> dict[str, float]:
        asked.extend(names)
        return dict.fromkeys(names, 1.0)

    oracle._descend(Study(oracle, conditional=True), oracle.random_point(random.Random(1)), ask)
    assert len(asked) == len(set(asked)) == 2


def test_sobols_points_fill_every_cell_once() -> None:
    space = keras_tuner.HyperParameters()
    space.Float("x", 0.0, 4.0)
    space.Float("y", 0.0, 4.0)
    found = search(in_memory(make("QMCOracle", space, trials=16)), lambda _: 0.0)
    assert len({(int(v["x"]), int(v["y"])) for v in found}) == 16


# --- made anew, it goes on


@every_kind
@pytest.mark.usefixtures("owned")  # KerasTuner alone runs a trial again that had just ended
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_search_that_was_cut_off_proposes_what_would_have_come(
    kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    workers = data.draw(st.integers(1, 3))
    cuts = data.draw(st.sets(st.integers(0, 13)))
    grows = data.draw(st.booleans())
    whole = run_on_disk(tmp_path_factory.mktemp("whole"), kind, workers, set(), grows)
    assert run_on_disk(tmp_path_factory.mktemp("cut"), kind, workers, cuts, grows) == whole


def run_on_disk(directory: Path, kind: str, workers: int, cuts: set[int], grows: bool) -> list[dict[str, Any]]:
    """A search whose oracle is made anew from its files after so many ends; what ran then runs again first."""

    def opened() -> Any:
        oracle = make(kind, network(), trials=14)
        oracle._set_project_dir(str(directory), "project")
        return oracle

    running: dict[str, Any] = {}
    oracle, ended = opened(), 0
    oracle.save()
    while True:
        if ended in cuts:
            oracle = opened()
            oracle.reload()
            again = [oracle.create_trial(f"again {x}") for x in range(len(running))]
            running = {trial.trial_id: trial for trial in again}
            cuts = cuts - {ended}
        while len(running) < workers:
            trial = oracle.create_trial(f"{ended}/{len(oracle.start_order)}")
            if trial.status != "RUNNING":
                break
            running[trial.trial_id] = trial
        if not running:
            return [oracle.trials[x].hyperparameters.values for x in oracle.start_order]
        trial = running.pop(min(running))
        if grows and ended == 6:
            trial.hyperparameters.Int("new", 1, 9)
        end(oracle, trial, None if ended == 4 else loss(trial.hyperparameters.values))
        ended += 1


@every_kind
def test_without_the_launcher_a_trial_that_ended_twice_counts_once(kind: str) -> None:
    oracle = in_memory(make(kind, network()))
    for _ in range(4):
        end(oracle, oracle.create_trial("w"), 1.0)
    oracle.end_order.append(oracle.end_order[-1])
    assert oracle.create_trial("w").status == "RUNNING"


@every_kind
def test_what_kerastuner_saves_is_all_that_is_saved(kind: str) -> None:
    oracle, plain = in_memory(make(kind, network())), in_memory(make("RandomSearchOracle", network()))
    search(oracle, loss)
    search(plain, loss)
    assert set(oracle.get_state()) == set(plain.get_state())


# --- what Optuna is told


def told(oracle: Any, *, conditional: bool = True) -> tuple[Study, list[Any]]:
    study = Study(oracle, conditional=conditional)
    study.follow(oracle)
    return study, study._study.get_trials(deepcopy=False)


def test_optuna_knows_trials_by_their_states_and_what_was_active_in_them() -> None:
    oracle = in_memory(make("TPEOracle", network(), trials=9))
    scores: list[float | None] = [0.5, None, math.inf]
    for score in scores:
        end(oracle, oracle.create_trial("w"), score)
    running = oracle.create_trial("w")
    study, trials = told(oracle)
    assert [x.state.name for x in trials] == ["COMPLETE", "FAIL", "COMPLETE", "RUNNING"]
    assert [x.value for x in trials] == [0.5, None, math.inf, None]
    for trial, own in zip(trials, [*oracle.trials.values()], strict=True):
        assert {x.removeprefix("u:") for x in trial.params} == set(own.hyperparameters.values)
    end(oracle, running, 0.25)
    study.follow(oracle)
    assert study._study.best_trial.number == 3


@pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning")
def test_a_trial_that_runs_again_is_running_to_optuna() -> None:
    oracle = in_memory(make("TPEOracle", network(), max_retries_per_trial=1))
    trial = oracle.create_trial("w")
    end(oracle, trial, math.nan)
    assert oracle.trials[trial.trial_id].status == "INVALID"
    assert [x.state.name for x in told(oracle)[1]] == ["RUNNING"]


def test_trials_before_a_hyperparameter_was_known_have_its_default() -> None:
    oracle = in_memory(make("TPEOracle", network()))
    end(oracle, oracle.create_trial("w"), 1.0)
    oracle.hyperparameters.Int("late", 0, 8, step=2, default=4)
    [trial] = told(oracle)[1]
    assert trial.params["u:late"] == 2, "the third of its five values"


def test_what_optuna_sees_of_each_kind_of_hyperparameter() -> None:
    space = network()
    space.Int("power", 1, 1000, sampling="log")
    space.Float("fall", 1.0, 64.0, step=2, sampling="reverse_log")
    space.Fixed("fixed", 3)
    space.Choice("one", ["only"])
    _, trials = told(in_memory(make("TPEOracle", space)))
    assert trials == []
    oracle = in_memory(make("TPEOracle", space))
    oracle.create_trial("w")
    [trial] = told(oracle)[1]
    kinds = {
        name.removeprefix("u:"): type(x).__name__.removesuffix("Distribution")
        for name, x in trial.distributions.items()
    }
    kinds.pop("momentum", None)
    assert kinds == {
        "rate": "Float",
        "units": "Int",
        "dropout": "Float",
        "batch": "Int",
        "optimizer": "Categorical",
        "power": "Float",
        "fall": "Int",
    }
    assert len(trial.distributions["u:optimizer"].choices) == 2
    assert trial.distributions["u:fall"].high == 6


def test_each_trial_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mock(wraps=optuna.trial.create_trial)
    monkeypatch.setattr(optuna.trial, "create_trial", made)
    search(in_memory(make("TPEOracle", network(), trials=30)), loss, workers=2)
    assert made.call_count == 29, "nobody was asked after the last"


def test_the_gaussian_process_sees_what_is_always_active_and_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sampler is a stand-in, as it needs PyTorch."""
    seen: list[Any] = []

    class Sampler(optuna.samplers.BaseSampler):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            assert options["n_startup_trials"] == 3

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            raise AssertionError("the space is KerasTuner's")

        def sample_independent(self, *about: Any) -> Any:
            raise AssertionError("what is not modelled is random")

        def sample_relative(self, study: Any, trial: Any, space: Any) -> Any:
            states = [x.state.name for x in study.get_trials(deepcopy=False) if x.params]
            seen.append((sorted(space), states))
            return {"u:units": 2, "u:rate": 0.5}

    monkeypatch.setattr(optuna.samplers, "GPSampler", Sampler)
    monkeypatch.setitem(sys.modules, "torch", Mock(get_num_threads=lambda: 2))
    monkeypatch.setattr("cluster.oracles.gp.require", lambda *_: None)
    oracle = in_memory(make("GPOracle", network(), trials=3))
    found = search(oracle, loss, workers=2)
    assert {x["units"] for x in found} == {24}
    assert [x["rate"] for x in found] == [pytest.approx(1e-3)] * 3
    assert len({x["dropout"] for x in found}) == 3
    names = ["u:batch", "u:dropout", "u:optimizer", "u:rate", "u:units"]
    assert seen == [(names, []), (names, ["RUNNING"]), (names, ["COMPLETE", "RUNNING"])]


def test_optuna_is_quiet_and_as_loud_as_before_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    search(in_memory(make("TPEOracle", network())), loss)
    with quiet():
        assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capsys.readouterr().err == ""


# --- the evolution strategy


def test_an_evolution_finds_the_least_of_a_valley() -> None:
    evolution, tried = Evolution(3, random.Random(1)), set()
    for _ in range(400):
        place = next(x for x in evolution.candidates if tuple(x) not in tried)
        tried.add(tuple(place))
        evolution.learn(place, sum(abs(x - y) for x, y in zip(place, (0.9, 0.1, 0.3), strict=True)))
    assert evolution.generation == 400 // 7
    assert all(abs(x - y) < 0.02 for x, y in zip(evolution.candidates[0], (0.9, 0.1, 0.3), strict=True))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1) | st.just(math.inf)), max_size=200))
def test_an_evolution_stays_in_its_cube_whatever_it_is_told(trials: list[tuple[float, float, float]]) -> None:
    evolution = Evolution(2, random.Random(3))
    with quiet():
        for x, y, score in trials:
            evolution.learn([x, y], score)
    assert all(0.0 <= x <= 1.0 for place in evolution.candidates for x in place)


def test_an_evolution_that_has_come_to_its_end_begins_elsewhere() -> None:
    evolution, spreads = Evolution(1, random.Random(1)), []
    for number in range(800):
        place = evolution.candidates[number % 4]
        evolution.learn(place, (place[0] - 0.5) ** 2)
        places = [x for [x] in evolution.candidates]
        spreads.append(max(places) - min(places))
    narrow = next(index for index, x in enumerate(spreads) if x < 1e-5)
    assert max(spreads[narrow:]) > 0.5


# --- tuners, packages, imports


@pytest.mark.parametrize("name", ["TPE", "CmaEs", "QMC", *(["GP"] if WITH_TORCH else [])])
def test_a_tuner_over_each(name: str, tmp_path: Path) -> None:
    class Tuner(getattr(cluster.oracles, name)):  # type: ignore[misc]
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
            return float(trial.hyperparameters.Float("x", 0.0, 1.0))

    options = {"num_initial_points": 2} if name in ("TPE", "GP") else {}
    tuner = Tuner(max_trials=4, seed=1, directory=str(tmp_path), project_name="p", **options)
    tuner.search(verbose=0)
    assert type(tuner.oracle).__name__ == f"{name}Oracle"
    assert len(tuner.oracle.trials) == 4
    assert getattr(tuner.oracle, "num_initial_points", 2) == 2


def test_a_tuner_takes_nothing_that_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_initial_points"):
        cluster.oracles.QMC(lambda hp: None, objective="loss", num_initial_points=2, directory=str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "missing", "words"),
    [
        ("TPEOracle", "optuna", "TPEOracle needs the package optuna: pip install 'keras-tuning-cluster[optuna]'"),
        ("CmaEsOracle", "cmaes", "CmaEsOracle needs the package cmaes: pip install 'keras-tuning-cluster[optuna]'"),
        ("GPOracle", "torch", "GPOracle needs the package torch: pip install torch"),
    ],
)
def test_a_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, missing: str, words: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(MissingDependency) as raised:
        make(kind, network())
    assert str(raised.value).startswith(words)


def test_nothing_is_imported_before_it_is_used() -> None:
    code = """
import sys, cluster, cluster.oracles
print({"keras_tuner", "optuna"} & set(sys.modules))
kind = cluster.oracles.TPEOracle
kind(objective="loss")
print("keras_tuner" in sys.modules, {"optuna", "cmaes"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["set()", "True set()"]
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = cluster.oracles.Nonsense


# --- the cube


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_values_that_have_a_number_share_their_coordinate_evenly(data: st.DataObject) -> None:
    for hp in coordinates(data.draw(spaces()).space).values():
        number = count(hp)
        if number is None:
            continue
        values = [value_of(hp, (index + 0.5) / number) for index in range(number)]
        assert len(set(values)) == number
        assert [int(place_of(hp, value) * number) for value in values] == list(range(number))
