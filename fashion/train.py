"""Trains the baseline once: the network with its default hyperparameters.

Owns: that one training and its summary. Does not own: the network (`model.py`) or any search (`tune.py`).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import keras
import keras_tuner

from fashion import data
from fashion.data import Dataset, Pair
from fashion.model import FashionHyperModel
from fashion.role import is_chief
from fashion.settings import Settings
from fashion.table import aligned, duration, percent


@dataclass(frozen=True)
class Baseline:
    """What the baseline reached: accuracies in [0, 1], the mean cross-entropy on the test set, seconds of wall time."""

    val_accuracy: float
    test_accuracy: float
    test_loss: float
    train_seconds: float
    run_seconds: float


def run(settings: Settings) -> None:
    """Runs `python -m fashion train`."""
    if not is_chief():
        return  # no search, so nothing that a worker could share
    dataset = data.load(settings.data, settings.train_samples)
    baseline = train(settings, dataset)
    rows = [
        ("data", f"{dataset.title}; {len(dataset.train[0]):,} images for training"),
        ("epochs", str(settings.epochs)),
        ("validation accuracy", percent(baseline.val_accuracy)),
        ("test accuracy", percent(baseline.test_accuracy)),
        ("test loss", f"{baseline.test_loss:.4f}"),
        ("time", f"{duration(baseline.run_seconds)} ({duration(baseline.train_seconds)} for training)"),
    ]
    print(f"\nBaseline\n{aligned(rows)}")


def train(settings: Settings, dataset: Dataset) -> Baseline:
    """Builds, trains and tests the baseline; the last epoch counts, as nothing is chosen here."""
    start = time.perf_counter()
    hypermodel = FashionHyperModel(settings)
    hyperparameters = keras_tuner.HyperParameters()
    model = hypermodel.build(hyperparameters)
    (x_train, y_train), validation, test = dataset
    history = hypermodel.fit(
        hyperparameters,
        model,
        x_train,
        y_train,
        validation_data=validation,
        epochs=settings.epochs,
        verbose=verbosity(),
    )
    trained = time.perf_counter()
    loss, accuracy = evaluate(model, test)
    return Baseline(
        val_accuracy=float(history.history["val_accuracy"][-1]),
        test_accuracy=accuracy,
        test_loss=loss,
        train_seconds=trained - start,
        run_seconds=time.perf_counter() - start,
    )


def evaluate(model: keras.Model, test: Pair) -> tuple[float, float]:
    """Returns the loss (mean cross-entropy) and the accuracy in [0, 1] on a part of the data."""
    metrics = model.evaluate(*test, batch_size=250, verbose=0, return_dict=True)
    return float(metrics["loss"]), float(metrics["accuracy"])


def verbosity() -> int:
    """Returns Keras's `verbose`: a moving bar for a terminal, one line an epoch for a log."""
    return 1 if sys.stdout.isatty() else 2
