"""The search space as a unit cube: one axis for each hyperparameter, in the order of the space."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_POINTS = 16_384  # of a space whose points are all listed


@dataclass(frozen=True)
class Condition:
    """What activates an axis: that one of the axes before it is active and has one of these values.

    Attributes:
        parents: For each axis of the parent's name, its index, and the indexes of its values that count.
    """

    parents: tuple[tuple[int, frozenset[int]], ...]


@dataclass(frozen=True)
class Axis:
    """One hyperparameter.

    Attributes:
        places: Where its values lie, in ascending order, within [0, 1]; empty where every number is a value.
        default: Where it lies while it is not active.
        conditions: All that must hold for it to be active.
    """

    places: tuple[float, ...]
    default: float
    conditions: tuple[Condition, ...] = ()


class Cube:
    """A space of axes.

    Args:
        axes: The axes; a parent comes before what depends on it.
    """

    def __init__(self, axes: tuple[Axis, ...]) -> None:
        self.axes = axes
        self._places = [np.array(axis.places) for axis in axes]
        self._between = [(places[1:] + places[:-1]) / 2 for places in self._places]

    def __len__(self) -> int:
        return len(self.axes)

    def choices(self, axis: int) -> int:
        """How many values an axis has; 0 where they are not counted."""
        return len(self.axes[axis].places)

    def settle(self, points: Array) -> Array:
        """Moves points to where a trial with their values lies.

        Args:
            points: Any points, of shape (points, axes).

        Returns:
            Points of the cube, of the same shape: each on values, and on the default where an axis is not active.
        """
        settled = np.clip(points, 0.0, 1.0)
        indexes: list[NDArray[np.intp] | None] = []
        active = np.ones(settled.shape, dtype=bool)
        for number, axis in enumerate(self.axes):
            index = None
            if axis.places:
                index = np.searchsorted(self._between[number], settled[:, number], side="right")
                settled[:, number] = self._places[number][index]
            indexes.append(index)
            for condition in axis.conditions:
                met = np.zeros(len(settled), dtype=bool)
                for parent, values in condition.parents:
                    at = indexes[parent]
                    if at is not None:
                        met |= active[:, parent] & np.isin(at, list(values))
                active[:, number] &= met
            settled[~active[:, number], number] = axis.default
        return settled

    @functools.cached_property
    def points(self) -> Array | None:
        """All points, each once, of shape (points, axes); None where there are too many to be listed."""
        if math.prod(self.choices(number) or MOST_POINTS + 1 for number in range(len(self))) > MOST_POINTS:
            return None
        listed = np.array(list(itertools.product(*(axis.places for axis in self.axes))), dtype=float)
        return np.unique(self.settle(listed.reshape(-1, len(self))), axis=0)


def among(points: Array, others: Array) -> NDArray[np.bool_]:
    """Which points, by row, are among others, as far as it can be told from the ninth digit on."""
    known = {row.tobytes() for row in _rounded(others)}
    return np.array([row.tobytes() in known for row in _rounded(points)], dtype=bool)


def _rounded(points: Array) -> Array:
    return np.ascontiguousarray(np.round(points, 9) + 0.0)
