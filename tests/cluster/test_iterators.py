"""Iterators of `tf.data` under the launcher: made without the thread that tunes them, unless the program has chosen."""

from __future__ import annotations

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


def chosen(value: bool) -> tf.data.Options:
    options = tf.data.Options()
    options.autotune.enabled = value
    return options


def test_iterators_are_not_tuned(made: list[Any]) -> None:
    dataset = tf.data.Dataset.range(5).map(lambda x: 2 * x, num_parallel_calls=tf.data.AUTOTUNE)
    with untuned(tf.data.Dataset):
        assert [int(x) for x in dataset] == [0, 2, 4, 6, 8]
    assert made[0].options().autotune.enabled is False
    assert dataset.options().autotune.enabled is None


@pytest.mark.parametrize("choice", [True, False])
def test_a_programs_own_choice_stands(made: list[Any], choice: bool) -> None:
    with untuned(tf.data.Dataset):
        list(tf.data.Dataset.range(2).with_options(chosen(choice)))
    assert made[0].options().autotune.enabled is choice


def test_other_options_of_the_program_stay(made: list[Any]) -> None:
    options = tf.data.Options()
    options.deterministic = False
    options.threading.private_threadpool_size = 1
    with untuned(tf.data.Dataset):
        list(tf.data.Dataset.range(2).with_options(options))
    assert made[0].options().deterministic is False
    assert made[0].options().threading.private_threadpool_size == 1
    assert made[0].options().autotune.enabled is False


def test_it_is_taken_away_again(made: list[Any]) -> None:
    with pytest.raises(RuntimeError), untuned(tf.data.Dataset):
        raise RuntimeError
    list(tf.data.Dataset.range(2))
    assert made[0].options().autotune.enabled is None


def test_a_function_may_iterate(made: list[Any]) -> None:
    @tf.function  # type: ignore[untyped-decorator]
    def total(dataset: tf.data.Dataset) -> tf.Tensor:
        result = tf.constant(0, tf.int64)
        for x in dataset:
            result += x
        return result

    with untuned(tf.data.Dataset):
        assert int(total(tf.data.Dataset.range(5))) == 10


def test_keras_fits_with_it(made: list[Any]) -> None:
    import keras
    import numpy as np

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with untuned(tf.data.Dataset):
        model.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=2, verbose=0)
    assert [x.options().autotune.enabled for x in made] == [False] * len(made)
    assert made
