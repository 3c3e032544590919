"""The way down from many points of the unit cube at once, for a function that costs little more for many than for one.

SciPy's minimisers go down from one point, and ask for one value at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST_STEP = 0.1  # the length of the first step, in edges of the cube
ENOUGH = 1e-4  # the share of the slope that a step must gain (Armijo's condition)
LITTLE = 1e-5  # a step of the first's length from which no more is expected is not made, and no further one
SHORTEST = 1e-4  # the least share of a step that is tried


def descend(
    function: Callable[[Array], tuple[Array, Array]], points: Array, free: NDArray[np.bool_], steps: int
) -> Array:
    """Projected quasi-Newton steps (BFGS), from each point by itself.

    Args:
        function: The values at points, of shape (points,), and the gradients, of shape (points, axes).
        points: Where to begin, of shape (points, axes), within the cube.
        free: The coordinates that may be moved, of shape (axes,).
        steps: How many steps at most; each calls the function once.

    Returns:
        For each point one that is no higher, of the same shape.
    """
    points = points.copy()
    count, axes = points.shape
    value, gradient = function(points)
    inverse = np.zeros((count, axes, axes))
    _restart(inverse, gradient, np.ones(count, dtype=bool))
    share = np.ones(count)  # of the quasi-Newton step
    moving = np.ones(count, dtype=bool)
    for _ in range(steps):
        held = ~free | ((points <= 0.0) & (gradient > 0.0)) | ((points >= 1.0) & (gradient < 0.0))
        slope = np.where(held, 0.0, gradient)
        direction = np.where(held, 0.0, -np.einsum("ijk,ik->ij", inverse, slope))
        moving &= (FIRST_STEP * np.linalg.norm(slope, axis=1) > LITTLE) & (share > SHORTEST)
        if not moving.any():
            break
        lost = moving & (np.einsum("ij,ij->i", direction, slope) > -LITTLE)
        if lost.any():
            _restart(inverse, slope, lost)
            direction[lost] = -slope[lost] * inverse[lost, 0, 0, None]
        tried = np.clip(points + share[:, None] * direction, 0.0, 1.0)
        step = tried - points
        expected = np.einsum("ij,ij->i", slope, step)
        new_value, new_gradient = value.copy(), gradient.copy()
        new_value[moving], new_gradient[moving] = function(tried[moving])
        gained = moving & (new_value <= value + ENOUGH * expected)
        _learn(inverse, step, np.where(free, new_gradient - gradient, 0.0), gained)
        points[gained], value[gained], gradient[gained] = tried[gained], new_value[gained], new_gradient[gained]
        share = np.where(gained, 1.0, share / 4.0)
    return points


def _restart(inverse: Array, gradient: Array, rows: NDArray[np.bool_]) -> None:
    """Begins again with the identity, scaled so that the first step is short."""
    size = np.linalg.norm(gradient[rows], axis=1)
    inverse[rows] = np.eye(inverse.shape[1]) * (FIRST_STEP / np.maximum(size, 1e-12))[:, None, None]


def _learn(inverse: Array, step: Array, change: Array, rows: NDArray[np.bool_]) -> None:
    """The BFGS update of the inverse Hessians, where the curvature along the step is positive."""
    curvature = np.einsum("ij,ij->i", step, change)
    rows = rows & (curvature > 1e-10)
    if not rows.any():
        return
    step, change, curvature = step[rows], change[rows], curvature[rows]
    old = inverse[rows]
    towards = np.einsum("ijk,ik->ij", old, change)
    weight = (curvature + np.einsum("ij,ij->i", change, towards)) / curvature**2
    outer = np.einsum("ij,ik->ijk", towards, step)
    inverse[rows] = (
        old
        + np.einsum("i,ij,ik->ijk", weight, step, step)
        - (outer + outer.transpose(0, 2, 1)) / curvature[:, None, None]
    )
