"""A search as Optuna's study: read, judged and plotted by Optuna itself."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

optuna = pytest.importorskip("optuna")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402

from cluster.cli import app  # noqa: E402
from cluster.errors import ClusterError, MissingDependency, UsageError  # noqa: E402
from cluster.follow import read  # noqa: E402
from cluster.optuna_export import distributions, export, frozen, shown  # noqa: E402
from cluster.record import Parameter, Record, Trial, parameters  # noqa: E402
from tests.made_up import SPACE, MadeUp, write  # noqa: E402


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["export", *words], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return str(done.output)


def test_a_search_as_optuna_reads_it(tmp_path: Path, storage: str) -> None:
    project = write(tmp_path / "digits", MadeUp(trials=30, max_trials=40, running=2, failed=2, over=False))
    record = read(project)
    said = run("--optuna", storage, str(project))
    assert said == (
        f"study digits in {storage}: 26 completed and 2 failed trials, best val_accuracy="
        f"{record.done[0].score:.5g}; 2 that had not ended left out\n"
    )
    study = optuna.load_study(study_name="digits", storage=storage)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.metric_names == ["val_accuracy"]
    assert study.best_value == record.done[0].score
    assert study.best_trial.user_attrs["trial"] == record.done[0].id
    assert study.user_attrs["oracle"] == "BayesianOptimizationOracle"
    states = [x.state.name for x in study.trials]
    assert (states.count("COMPLETE"), states.count("FAIL"), len(states)) == (26, 2, 28)
    for found, trial in zip(study.trials, record.ordered, strict=False):
        assert found.params == trial.values
        assert found.intermediate_values == {x.number: x.logs["val_accuracy"] for x in trial.epochs}
        ran = trial.ran
        assert ran is not None
        assert found.datetime_start.timestamp() == pytest.approx(trial.attempts[0].began)
        assert found.datetime_complete.timestamp() == pytest.approx(ran.ended)
        assert found.user_attrs["worker"] == ran.worker
        assert found.user_attrs["attempts"] == ran.number
        assert found.user_attrs.get("best_epoch") == trial.best_epoch
        assert ("dropout_rate" in found.params) is trial.values["dropout"]
    [failed, _] = [x for x in study.trials if x.state.name == "FAIL"]
    assert "ValueError: no such layer" in failed.user_attrs["message"]
    assert study.best_trial.distributions == {
        name: x
        for name, x in {
            "rate": FloatDistribution(1e-4, 1e-1, log=True),
            "units": IntDistribution(32, 512, step=32),
            "optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"]),
            "dropout": CategoricalDistribution([False, True]),
            "dropout_rate": FloatDistribution(0.1, 0.5),
        }.items()
        if name in study.best_params
    }


def test_importance_and_plots_work_on_it(tmp_path: Path, storage: str) -> None:
    pytest.importorskip("plotly")
    project = write(tmp_path / "digits", MadeUp(trials=40, max_trials=40))
    export(read(project), storage)
    study = optuna.load_study(study_name="digits", storage=storage)
    importance = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=1)
    )
    assert max(importance, key=importance.__getitem__) == "rate"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's own, about what is experimental
        for name in (
            "optimization_history",
            "intermediate_values",
            "param_importances",
            "parallel_coordinate",
            "slice",
            "contour",
            "rank",
            "edf",
            "timeline",
        ):
            figure = getattr(optuna.visualization, f"plot_{name}")(study)
            assert figure.data, name


def test_a_study_that_is_there_is_not_touched(tmp_path: Path, storage: str) -> None:
    project = write(tmp_path / "digits")
    run("--optuna", storage, str(project))
    with pytest.raises(UsageError, match="has a study 'digits' already"):
        run("--optuna", storage, str(project))
    run("--optuna", storage, str(project), "--name", "other")
    again = write(tmp_path / "again" / "digits", MadeUp(trials=5, max_trials=5, failed=0))
    run("--optuna", storage, str(again), "--overwrite")
    assert len(optuna.load_study(study_name="digits", storage=storage).trials) == 5
    assert len(optuna.load_study(study_name="other", storage=storage).trials) == 12


@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        ("study.db", UsageError, "'study.db' cannot be opened: .*such as sqlite:///study.db"),
        ("sqlite:////no/such/place/x.db", UsageError, "unable to open database file"),
        ("nosuch://u:secret@h/x", UsageError, r"nosuch://u:\*\*\*@h/x cannot be opened"),
        ("mysql+nosuchdriver://u:secret@h/x", ClusterError, r"mysql\+nosuchdriver://u:\*\*\*@h/x"),
    ],
)
def test_a_storage_that_is_none(url: str, error: type[ClusterError], text: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=text) as raised:
        run("--optuna", url, str(write(tmp_path)))
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "secret" not in shown(url)


def test_nothing_to_export(tmp_path: Path, storage: str) -> None:
    with pytest.raises(UsageError, match="give --optuna URL"):
        run(str(write(tmp_path / "a")))
    with pytest.raises(UsageError, match="has ended with a score"):
        run("--optuna", storage, str(write(tmp_path / "b", MadeUp(trials=2, running=2, lost=0, failed=0, over=False))))
    with pytest.raises(UsageError, match="is not there"):
        run("--optuna", storage, str(tmp_path / "c"))


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, storage: str) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "cluster.optuna_export", raising=False)
    monkeypatch.delattr("cluster.optuna_export", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependency, match=r"pip install 'keras-tuning-cluster\[optuna\]'"):
        run("--optuna", storage, str(write(tmp_path)))


# --- distributions


def of(parameter: Parameter | None, *values: Any) -> Any:
    """The distribution of a hyperparameter `x` with these values, each of which it contains."""
    record = Record(".", "p", objective="score", space=[] if parameter is None else [parameter])
    for number, value in enumerate(values):
        record.trials[str(number)] = Trial(str(number), "completed", 1.0, values={"x": value})
    found = frozen(record)  # Optuna checks each value against its distribution
    study = optuna.create_study(storage="sqlite://")
    study.add_trials(found)  # and each distribution against those before
    return distributions(record.space, list(record.trials.values()))["x"]


INT = Parameter("x", "int", low=0, high=10, step=2)
FLOAT = Parameter("x", "float", low=0.0, high=1.0, step=0.1)
LOG = Parameter("x", "float", log=True, low=1e-4, high=1e-1)
CHOICE = Parameter("x", "choice", values=("a", "b"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("parameter", "values", "expected"),
    [
        (INT, [0, 4, 10], IntDistribution(0, 10, step=2)),
        (INT, [0, 5], IntDistribution(0, 10)),
        (INT, [0, 20], IntDistribution(0, 20, step=2)),
        (INT, [-1, 4], IntDistribution(-1, 10)),
        (INT, [2.5], FloatDistribution(0, 10)),
        (INT, ["many", 2], CategoricalDistribution(["many", 2])),
        (Parameter("x", "int", low=1, high=6, step=2), [1, 5], IntDistribution(1, 5, step=2)),
        (Parameter("x", "int", log=True, low=1, high=64, step=2), [1, 32], IntDistribution(1, 64, log=True)),
        (FLOAT, [0.0, 0.3, 0.7000000000000001, 1.0], FloatDistribution(0, 1, step=0.1)),
        (FLOAT, [0.25], FloatDistribution(0, 1)),
        (LOG, [1e-3], FloatDistribution(1e-4, 1e-1, log=True)),
        (LOG, [1e-3, 5.0], FloatDistribution(1e-4, 5.0, log=True)),
        (LOG, [0.0], FloatDistribution(0.0, 1e-1)),
        (
            Parameter("x", "float", log=True, reverse=True, low=1e-4, high=1e-1),
            [1e-3],
            FloatDistribution(1e-4, 1e-1),
        ),
        (CHOICE, ["a"], CategoricalDistribution(["a", "b"])),
        (CHOICE, ["a", "c"], CategoricalDistribution(["a", "b", "c"])),
        (CHOICE, [True, 1, "a"], CategoricalDistribution(["a", "b", "True", "1"])),
        (CHOICE, [["a", 1]], CategoricalDistribution(["a", "b", "['a', 1]"])),
        (Parameter("x", "choice", values=(16, 32)), [16], CategoricalDistribution([16, 32])),
        (Parameter("x", "boolean", values=(False, True)), [True], CategoricalDistribution([False, True])),
        (Parameter("x", "fixed"), [3, 3], CategoricalDistribution([3])),
        (None, [3, 5], IntDistribution(3, 5)),
        (None, [3, 0.5], FloatDistribution(0.5, 3)),
        (None, ["a", None], CategoricalDistribution(["a", None])),
    ],
)
def test_every_value_lies_in_its_distribution(parameter: Parameter | None, values: list[Any], expected: Any) -> None:
    assert of(parameter, *values) == expected


def test_kerastuners_own_configuration(tmp_path: Path) -> None:
    """What KerasTuner writes of a space, with steps and scales of every kind."""
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Int("int", 1, 9, step=2)
    space.Float("log", 1e-4, 1.0, sampling="log")
    space.Float("reverse", 1e-4, 1.0, sampling="reverse_log")
    space.Int("power", 1, 64, step=2, sampling="log")
    space.Fixed("fixed", 3)
    space.Boolean("boolean")
    space.Choice("choice", [1.5, 2.5])
    known = parameters(json.loads(json.dumps(space.get_config())))
    trial = Trial("0", "completed", 1.0, values=dict(space.values))
    assert distributions(known, [trial]) == {
        "int": IntDistribution(1, 9, step=2),
        "log": FloatDistribution(1e-4, 1.0, log=True),
        "reverse": FloatDistribution(1e-4, 1.0),
        "power": IntDistribution(1, 64, log=True),
        "fixed": CategoricalDistribution([3]),
        "boolean": CategoricalDistribution([False, True]),
        "choice": CategoricalDistribution([1.5, 2.5]),
    }


def test_what_hyperband_keeps_is_no_hyperparameter(tmp_path: Path) -> None:
    values = {"x": 1, "tuner/epochs": 3, "tuner/trial_id": "0007"}
    trial = Trial("0", "completed", 1.0, values=values)
    record = Record(".", "p", objective="score", space=parameters({"space": SPACE}), trials={"0": trial})
    [found] = frozen(record)
    assert found.params == {"x": 1}
    assert found.user_attrs == {"trial": "0", "tuner/epochs": 3, "tuner/trial_id": "0007"}


def test_a_completed_trial_without_a_score_has_failed(tmp_path: Path) -> None:
    trials = {"0": Trial("0", "completed", None), "1": Trial("1", "completed", 0.5)}
    found = frozen(Record(".", "p", objective="score", trials=trials))
    assert [x.state.name for x in found] == ["FAIL", "COMPLETE"]
