"""Drawn images: the same every time, learnable, and not trivial."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion.generated import CHUNK, CLASSES, draw

Pair = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="module")
def train() -> Pair:
    return draw(4_000, seed=1)


@pytest.fixture(scope="module")
def test() -> Pair:
    return draw(2_000, seed=3)


def test_the_same_seed_draws_the_same_images(train: Pair) -> None:
    again = draw(4_000, seed=1)
    np.testing.assert_array_equal(again[0], train[0])
    np.testing.assert_array_equal(again[1], train[1])


def test_another_seed_draws_others(train: Pair, test: Pair) -> None:
    assert not np.array_equal(train[0][:2_000], test[0])


@pytest.mark.parametrize("count", [0, 1, 7, CHUNK, CHUNK + 1])
def test_a_shorter_draw_is_the_beginning_of_a_longer_one(train: Pair, count: int) -> None:
    images, labels = draw(count, seed=1)
    np.testing.assert_array_equal(images, train[0][:count])
    np.testing.assert_array_equal(labels, train[1][:count])


def test_classes_have_equal_shares(train: Pair) -> None:
    assert np.bincount(train[1]).tolist() == [400] * CLASSES


def test_nearest_centroid_learns_something_but_not_everything(train: Pair, test: Pair) -> None:
    images, labels = train
    centroids = np.stack([images[labels == label].mean(axis=0).ravel() for label in range(CLASSES)])
    unknown = test[0].reshape(len(test[0]), -1)
    # Squared distance without the term that is the same for all centroids.
    distances = (centroids**2).sum(axis=1) - 2 * unknown @ centroids.T
    accuracy = float((distances.argmin(axis=1) == test[1]).mean())
    assert 0.6 < accuracy < 0.9
