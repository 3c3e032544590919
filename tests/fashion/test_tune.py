"""One small search from end to end, and what each process may write."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from fashion import data, tune
from fashion.__main__ import main
from fashion.data import Dataset
from fashion.errors import SearchError
from fashion.model import FashionHyperModel
from fashion.settings import Settings
from fashion.train import evaluate

SMALL = ["--data", "generated", "--train-samples", "200", "--epochs", "1", "--max-trials", "2", "--oracle", "random"]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return data.load("generated", 200)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which a search of two trials has been made."""
    directory = tmp_path_factory.mktemp("results")
    assert main(["tune", *SMALL, "--directory", str(directory)]) == 0
    return directory


@pytest.fixture
def settings(searched: Path) -> Settings:
    return Settings(data="generated", train_samples=200, epochs=1, max_trials=2, oracle="random", directory=searched)


def test_the_best_trial_is_kept(searched: Path) -> None:
    project = searched / "fashion-random"
    best = json.loads((project / "best" / "hyperparameters.json").read_text())
    trials = [json.loads((project / f"trial_{number}" / "trial.json").read_text()) for number in range(2)]
    winner = max(trials, key=lambda trial: trial["score"])
    assert best["trial_id"] == winner["trial_id"]
    assert best["hyperparameters"] == winner["hyperparameters"]["values"]
    assert best["val_accuracy"] == winner["score"]
    assert 0 < best["test_accuracy"] <= 1
    assert best["test_loss"] > 0
    assert best["trials"] == 2
    assert best["search_seconds"] > 0
    assert best["data"] == "generated"
    assert (best["oracle"], best["train_samples"], best["seed"]) == ("random", 200, 1)
    assert sorted(path.name for path in (project / "best").iterdir()) == ["hyperparameters.json", "model.keras"]


def test_the_kept_model_is_the_one_that_was_tested(searched: Path, dataset: Dataset) -> None:
    folder = searched / "fashion-random" / "best"
    loss, accuracy = evaluate(keras.models.load_model(folder / "model.keras"), dataset.test)
    best = json.loads((folder / "hyperparameters.json").read_text())
    assert accuracy == pytest.approx(best["test_accuracy"])
    assert loss == pytest.approx(best["test_loss"])


def test_stock_kerastuner_reloads_the_project(settings: Settings, dataset: Dataset) -> None:
    tuner = keras_tuner.RandomSearch(
        FashionHyperModel(settings),
        objective="val_accuracy",
        max_trials=2,
        directory=str(settings.directory),
        project_name=settings.project_name,
    )
    assert [trial.status for trial in tuner.oracle.trials.values()] == ["COMPLETED"] * 2
    images = dataset.test[0][:20]
    kept = keras.models.load_model(settings.project_dir / "best" / "model.keras")
    reloaded = tuner.get_best_models()[0]
    np.testing.assert_allclose(reloaded.predict(images, verbose=0), kept.predict(images, verbose=0), rtol=1e-5)
    # Adam's state came back as well: 200 images are 7 steps of 32.
    assert int(reloaded.optimizer.iterations) == 7


def test_the_same_command_again_trains_nothing(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = {path: path.stat().st_mtime_ns for path in searched.glob("*/trial_*/*.h5")}
    assert main(["tune", *SMALL, "--directory", str(searched)]) == 0
    assert {path: path.stat().st_mtime_ns for path in searched.glob("*/trial_*/*.h5")} == checkpoints
    printed = capsys.readouterr().out
    assert "Best of 2 trials with random search" in printed
    assert "generated data, NOT Fashion-MNIST; 200 images" in printed


def test_other_settings_do_not_mix_with_the_search(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", *SMALL, "--seed", "2", "--directory", str(searched)]) == 2
    assert "was begun with seed 1 (now 2)" in capsys.readouterr().err


def test_a_worker_writes_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune, "is_chief", lambda: False)
    searches: list[Any] = []

    class Tuner:
        def search(self, *args: Any, **kwargs: Any) -> None:
            searches.append(kwargs)

    monkeypatch.setattr(tune, "make_tuner", lambda settings: Tuner())
    assert main(["tune", *SMALL, "--directory", str(tmp_path / "results")]) == 0
    assert len(searches) == 1
    assert not (tmp_path / "results").exists()
    assert capsys.readouterr().out == ""


def test_a_search_without_a_completed_trial_is_told(settings: Settings, dataset: Dataset) -> None:
    tuner = SimpleNamespace(oracle=SimpleNamespace(trials={}))
    with pytest.raises(SearchError, match=r"no trial was completed; why is in .*trial_\*/trial\.json"):
        tune.evaluate_best(tuner, settings, dataset)


@pytest.mark.parametrize(
    ("oracle", "kind"),
    [
        ("random", keras_tuner.RandomSearch),
        ("grid", keras_tuner.GridSearch),
        ("bayesian", keras_tuner.BayesianOptimization),
        ("hyperband", keras_tuner.Hyperband),
    ],
)
def test_every_oracle_has_its_tuner(oracle: Any, kind: Any, tmp_path: Path) -> None:
    tuner = tune.make_tuner(Settings(oracle=oracle, directory=tmp_path, seed=7))
    assert type(tuner) is kind
    assert tuner.oracle.seed == 7
    assert tuner.oracle.objective.name == "val_accuracy"
    names = [entry.name for entry in tuner.oracle.get_space().space]
    assert ("epochs" in names) == (oracle != "hyperband")
    assert {"units", "learning_rate"} <= set(names)
    assert tuner.project_dir == str(tmp_path / f"fashion-{oracle}")


def test_eight_trials_leave_half_to_the_bayesian_model(tmp_path: Path) -> None:
    assert tune.make_tuner(Settings(oracle="bayesian", directory=tmp_path)).oracle.num_initial_points == 4


def test_the_first_trial_of_a_grid_is_the_baseline(tmp_path: Path) -> None:
    oracle = tune.make_tuner(Settings(oracle="grid", directory=tmp_path)).oracle
    values = []
    for _ in range(6):
        trial = oracle.create_trial("tuner0")
        values.append(trial.hyperparameters.values)
        oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert values[0] == {"epochs": 5, "units": 128, "learning_rate": 1e-3}
    assert [value["learning_rate"] for value in values[:5]] == [1e-3, 2.5e-4, 5e-4, 2e-3, 4e-3]
    assert values[5]["units"] == 64


def test_another_precision_is_another_search_and_the_default_is_no_news() -> None:
    default = Settings().search("real")
    assert "precision" not in default
    assert Settings(precision="mixed_bfloat16").search("real") == default | {"precision": "mixed_bfloat16"}
