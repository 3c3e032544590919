"""The network and its space: the defaults are the baseline, every oracle can use the space, trials are repeatable."""

from __future__ import annotations

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from fashion import generated, model
from fashion.model import FashionHyperModel
from fashion.settings import Settings

BASELINE_PARAMETERS = 225_034


def build(settings: Settings, **values: Any) -> tuple[keras.Model, keras_tuner.HyperParameters]:
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)
    return FashionHyperModel(settings).build(hp), hp


def space_of(hypermodel: FashionHyperModel) -> dict[str, Any]:
    """Returns the whole space as an oracle would know it, with conditional entries."""
    oracle = keras_tuner.oracles.RandomSearchOracle(objective="val_accuracy", max_trials=1, seed=1)
    hp = oracle.get_space()
    for third_block in (False, True):
        hp.values["third_block"] = third_block
        hypermodel.build(hp)
    return {entry.name: entry for entry in hp.space}


@pytest.mark.parametrize("space", ["default", "wide"])
def test_the_defaults_are_the_baseline(space: Any) -> None:
    network, hp = build(Settings(space=space))
    names = [type(layer).__name__ for layer in network.layers]
    assert names == ["Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Flatten", "Dense", "Dense"]
    first, _, second, _, _, dense, _ = network.layers
    assert (first.filters, first.kernel_size, first.activation.__name__) == (32, (3, 3), "relu")
    assert (second.filters, second.kernel_size, second.activation.__name__) == (64, (3, 3), "relu")
    assert (dense.units, dense.activation.__name__) == (128, "relu")
    assert network.input_shape == (None, 28, 28, 1)
    assert network.output_shape == (None, 10)
    assert network.count_params() == BASELINE_PARAMETERS
    assert isinstance(network.optimizer, keras.optimizers.Adam)
    assert float(network.optimizer.learning_rate) == pytest.approx(1e-3)
    assert network.loss == "sparse_categorical_crossentropy"
    assert hp.get("epochs") == 5


def test_the_default_space() -> None:
    space = space_of(FashionHyperModel(Settings()))
    assert list(space) == ["epochs", "units", "learning_rate"]
    assert list(space["epochs"].values) == [3, 4, 5]
    assert space["learning_rate"].sampling == "log"
    assert space["learning_rate"].step is None


@pytest.mark.parametrize(("epochs", "values", "default"), [(1, [1], 1), (2, [2], 2), (7, [3, 4, 5, 6, 7], 5)])
def test_epochs_go_up_to_the_limit(epochs: int, values: list[int], default: int) -> None:
    entry = space_of(FashionHyperModel(Settings(epochs=epochs)))["epochs"]
    assert list(entry.values) == values
    assert entry.default == default


def test_the_grid_is_small_and_holds_the_defaults() -> None:
    space = space_of(FashionHyperModel(Settings(), stepped=True))
    assert list(space["learning_rate"].values) == [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3]
    points = 1
    for entry in space.values():
        assert entry.default in list(entry.values)
        points *= len(list(entry.values))
    assert points == 60


def test_hyperband_has_no_epochs_to_tune() -> None:
    assert "epochs" not in space_of(FashionHyperModel(Settings(), tune_epochs=False))


def test_the_wide_space_has_a_block_that_is_conditional() -> None:
    space = space_of(FashionHyperModel(Settings(space="wide", batch_size=50)))
    wide = {"kernel_size", "batch_norm", "flip", "third_block", "third_filters", "dropout", "batch_size"}
    assert set(space) == wide | {"epochs", "units", "learning_rate"}
    (condition,) = space["third_filters"].conditions
    assert (condition.name, condition.values) == ("third_block", [True])
    assert all(not entry.conditions for name, entry in space.items() if name != "third_filters")
    assert list(space["batch_size"].values) == [32, 50, 64, 128]
    assert space["batch_size"].default == 50


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_the_widest_network_can_be_built(kernel_size: int) -> None:
    network, hp = build(
        Settings(space="wide"), kernel_size=kernel_size, batch_norm=True, flip=True, third_block=True, dropout=0.5
    )
    names = [type(layer).__name__ for layer in network.layers]
    assert names.count("Conv2D") == names.count("BatchNormalization") == 3
    assert names[0] == "RandomFlip"
    assert "Dropout" in names
    assert hp.get("third_filters") == 128


def test_half_precision_is_for_the_arithmetic_alone() -> None:
    network, _ = build(Settings(precision="mixed_bfloat16"))
    assert network.layers[0].compute_dtype == "bfloat16"
    assert network.layers[-1].compute_dtype == "float32"
    assert {weight.dtype for weight in network.weights} == {"float32"}
    again, _ = build(Settings())
    assert {layer.compute_dtype for layer in again.layers} == {"float32"}


class Recorder:
    """Stands in for a Keras model whose `fit` tells what it was called with."""

    def fit(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return kwargs


@pytest.mark.parametrize(
    ("settings", "tune_epochs", "given", "expected"),
    [
        (Settings(epochs=7), True, {}, {"epochs": 4, "batch_size": 32}),
        (Settings(epochs=7), False, {}, {"epochs": 7, "batch_size": 32}),
        (Settings(epochs=7), False, {"epochs": 3, "initial_epoch": 1}, {"epochs": 3, "initial_epoch": 1}),
        (Settings(space="wide"), True, {}, {"epochs": 4, "batch_size": 128}),
    ],
)
def test_fit_takes_what_the_oracle_sets(
    settings: Settings, tune_epochs: bool, given: dict[str, int], expected: dict[str, int]
) -> None:
    hp = keras_tuner.HyperParameters()
    hp.values.update({"epochs": 4, "batch_size": 128})
    called = FashionHyperModel(settings, tune_epochs=tune_epochs).fit(hp, Recorder(), **given)
    assert expected.items() <= called.items()


def test_a_trial_gives_the_same_whatever_ran_before_and_however_many_steps_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, labels = generated.draw(200, seed=1)
    settings = Settings()

    def weights() -> list[Any]:
        network, hp = build(settings)
        FashionHyperModel(settings).fit(hp, network, images, labels, epochs=1, verbose=0)
        return list(network.get_weights())

    first = weights()
    keras.utils.set_random_seed(99)
    monkeypatch.setattr(model, "STEPS_PER_EXECUTION", 1)
    for one, other in zip(first, weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_on_pytorch_each_batch_is_a_call_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras refuses more there, with the first `fit`."""
    assert build(Settings())[0].steps_per_execution == model.STEPS_PER_EXECUTION
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert build(Settings())[0].steps_per_execution == 1
