"""One search with a chosen oracle: a plain KerasTuner program.

Owns: the tuner, the call of `search()`, and what is kept of its best trial. Does not own: the network and its space
(`model.py`), or the notes about settings and time (`project.py`).

Every process runs the same lines. `search()` is where they meet: it may serve trials, run some, or run all of them.
What comes after it is for the chief alone. The best model is *reloaded* from the epoch that scored best in its trial,
not trained again: it is the very model that was chosen, and reloading takes a second. Training once more on all
60,000 images might gain a little, but there would be no validation left to tell.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from fashion import data
from fashion.data import Dataset
from fashion.errors import SearchError
from fashion.files import replacing, write_json
from fashion.model import FashionHyperModel
from fashion.project import Project
from fashion.role import is_chief
from fashion.settings import Settings
from fashion.table import aligned, duration, percent, value
from fashion.train import evaluate, verbosity

OBJECTIVE = "val_accuracy"


@dataclass(frozen=True)
class Best:
    """The best trial of a search: accuracies in [0, 1], the mean cross-entropy on the test set."""

    trial_id: str
    hyperparameters: dict[str, Any]
    val_accuracy: float
    test_accuracy: float
    test_loss: float
    trials: int  # that were completed, and among which this is the best


def run(settings: Settings) -> None:
    """Runs `python -m fashion tune`."""
    dataset = data.load(settings.data, settings.train_samples)
    tuner = search(settings, dataset)
    if not is_chief():
        return
    model, best = evaluate_best(tuner, settings, dataset)
    folder = save_best(model, best, settings, dataset)
    print(f"\n{_summary(best, settings, dataset, folder)}")


def search(settings: Settings, dataset: Dataset) -> keras_tuner.Tuner:
    """Runs this process's part of a search, resuming one that was interrupted; returns its tuner.

    Raises:
        SettingsError: The project holds a search with other settings, or cannot be written.
    """
    project = Project(settings.project_dir)
    wanted = settings.search(dataset.kind)
    if is_chief():
        project.claim(wanted)
    else:
        project.check(wanted)  # a worker that fell back to generated data must not join a search on the real
    tuner = make_tuner(settings)
    (x_train, y_train), validation, _ = dataset
    with project.timing() if is_chief() else nullcontext():
        tuner.search(x_train, y_train, validation_data=validation, verbose=verbosity())
    return tuner


def make_tuner(settings: Settings) -> keras_tuner.Tuner:
    """Returns KerasTuner's tuner for the chosen oracle; it reloads the project if there is one."""
    hypermodel = FashionHyperModel(
        settings, tune_epochs=settings.oracle != "hyperband", stepped=settings.oracle == "grid"
    )
    common: dict[str, Any] = {
        "objective": OBJECTIVE,
        "seed": settings.seed,
        "directory": str(settings.directory),
        "project_name": settings.project_name,
    }
    if settings.oracle == "hyperband":
        # It decides itself how many trials its brackets take.
        return keras_tuner.Hyperband(hypermodel, max_epochs=settings.epochs, factor=3, **common)
    common["max_trials"] = settings.max_trials
    if settings.oracle == "random":
        return keras_tuner.RandomSearch(hypermodel, **common)
    if settings.oracle == "grid":
        return keras_tuner.GridSearch(hypermodel, **common)
    # KerasTuner's default is three random points for each dimension, nine here: with eight trials the model would
    # never be asked. Half of the trials, then.
    points = min(max(2, settings.max_trials // 2), 10)
    return keras_tuner.BayesianOptimization(hypermodel, num_initial_points=points, **common)


def evaluate_best(tuner: keras_tuner.Tuner, settings: Settings, dataset: Dataset) -> tuple[keras.Model, Best]:
    """Reloads the best model and tests it, once: the test set has no part in choosing.

    Raises:
        SearchError: No trial was completed.
    """
    completed = [trial for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED"]
    if not completed:
        raise SearchError(f"no trial was completed; why is in {settings.project_dir}/trial_*/trial.json")
    trial = tuner.oracle.get_best_trials(1)[0]
    model = tuner.get_best_models(1)[0]
    loss, accuracy = evaluate(model, dataset.test)
    best = Best(
        trial_id=trial.trial_id,
        hyperparameters=dict(trial.hyperparameters.values),
        val_accuracy=float(trial.score),
        test_accuracy=accuracy,
        test_loss=loss,
        trials=len(completed),
    )
    return model, best


def save_best(model: keras.Model, best: Best, settings: Settings, dataset: Dataset) -> Path:
    """Writes `best/model.keras` and then `best/hyperparameters.json`; returns their folder."""
    folder = settings.project_dir / "best"
    with replacing(folder / "model.keras") as temporary:
        model.save(temporary)
    seconds = round(Project(settings.project_dir).seconds(), 3)
    write_json(
        folder / "hyperparameters.json",
        asdict(best) | {"search_seconds": seconds} | settings.search(dataset.kind),
    )
    return folder


def _summary(best: Best, settings: Settings, dataset: Dataset, folder: Path) -> str:
    rows = [
        ("data", f"{dataset.title}; {len(dataset.train[0]):,} images for training"),
        *((name, value(chosen)) for name, chosen in best.hyperparameters.items()),
        ("validation accuracy", percent(best.val_accuracy)),
        ("test accuracy", percent(best.test_accuracy)),
        ("test loss", f"{best.test_loss:.4f}"),
        ("time for the trials", duration(Project(settings.project_dir).seconds())),
        ("saved in", f"{folder}: model.keras, hyperparameters.json"),
    ]
    title = f"Best of {best.trials} trials with {settings.oracle} search: trial {best.trial_id}"
    return f"{title}\n{aligned(rows)}"
