"""Iterators of Keras's own pipelines under the launcher have no thread that tunes, unless the program has chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from cluster.iterators import untuned


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The datasets that TensorFlow has made iterators of."""
    seen: list[Any] = []
    original = tf.data.Dataset.__iter__

    def spying(self: Any) -> Any:
        seen.append(self)
        return original(self)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", spying)
    return seen


def plain(dataset: tf.data.Dataset, tuned: bool | None = None) -> tf.data.Dataset:
    """Without TensorFlow's default optimizations, as Keras makes them of arrays."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    if tuned is not None:
        options.autotune.enabled = tuned
    return dataset.with_options(options)


def test_iterators_are_not_tuned(made: list[Any]) -> None:
    dataset = plain(tf.data.Dataset.range(5).map(lambda x: 2 * x, num_parallel_calls=tf.data.AUTOTUNE))
    with untuned(tf.data.Dataset):
        assert [int(x) for x in dataset] == [0, 2, 4, 6, 8]
    assert made[0].options().autotune.enabled is False
    assert dataset.options().autotune.enabled is None


@pytest.mark.parametrize("choice", [True, False])
def test_a_programs_own_choice_stands(made: list[Any], choice: bool) -> None:
    with untuned(tf.data.Dataset):
        list(plain(tf.data.Dataset.range(2), choice))
    assert made[0].options().autotune.enabled is choice


def test_other_options_of_the_program_stay(made: list[Any]) -> None:
    options = tf.data.Options()
    options.deterministic = False
    options.threading.private_threadpool_size = 1
    with untuned(tf.data.Dataset):
        list(plain(tf.data.Dataset.range(2).with_options(options)))
    assert made[0].options().deterministic is False
    assert made[0].options().threading.private_threadpool_size == 1
    assert made[0].options().autotune.enabled is False


def test_it_is_taken_away_again(made: list[Any]) -> None:
    with pytest.raises(RuntimeError), untuned(tf.data.Dataset):
        raise RuntimeError
    list(plain(tf.data.Dataset.range(2)))
    assert made[0].options().autotune.enabled is None


def test_a_pipeline_of_the_programs_own_is_left_alone(made: list[Any]) -> None:
    """TensorFlow makes its maps parallel, and prefetches, only where it may tune them."""
    with untuned(tf.data.Dataset):
        list(tf.data.Dataset.range(4).map(lambda x: 2 * x).batch(2))
    assert made[0].options().autotune.enabled is None


@pytest.mark.parametrize("make", [lambda x: x, plain], ids=["own", "plain"])
def test_a_function_may_iterate(make: Callable[[tf.data.Dataset], tf.data.Dataset]) -> None:
    @tf.function  # type: ignore[untyped-decorator]
    def total(dataset: tf.data.Dataset) -> tf.Tensor:
        result = tf.constant(0, tf.int64)
        for x in dataset:
            result += x
        return result

    with untuned(tf.data.Dataset):
        assert int(total(make(tf.data.Dataset.range(5)))) == 10


def test_keras_fits_with_it(made: list[Any]) -> None:
    import keras
    import numpy as np

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with untuned(tf.data.Dataset):
        model.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=2, verbose=0)
    assert [x.options().autotune.enabled for x in made] == [False] * len(made)
    assert made
