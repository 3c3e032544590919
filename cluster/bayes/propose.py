"""From trials to the next one: the point of the cube where the lower confidence bound is least, and that is new.

KerasTuner's acquisition, and its model. What differs is how the least bound is found (many points at once, with exact
gradients, where it goes down from each of fifty with numerical ones) and that the bound is read where a trial would
lie, not between two of its values.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from cluster.bayes.cube import Array, Cube, among
from cluster.bayes.descent import descend
from cluster.bayes.gaussian import Gaussian, Posterior, most_likely_length, standardised

EACH = 128  # up to so many observations the length scale is chosen anew with each
GROWTH = 1.1  # and from then on whenever they have grown by this factor
MOST, LEAST = 2048, 256  # points that are looked at first: the more, the fewer the observations
WORK = 8e7  # about the square of the observations times the points
BESTS = 5  # observations in whose neighbourhood one looks
FEW = 16  # an axis with more values than this is gone down as if it had all of them
STEPS = 24
ROUNDS = 2
RANKED = 32  # proposals, should the first be one that was there before
NEAR = 1e-3  # what is nearer to a trial, in every coordinate, tells nothing new

_alone = threading.Lock()  # the number of BLAS's threads is the process's


@dataclass(frozen=True)
class Question:
    """All that a proposal depends on.

    Attributes:
        cube: The space.
        points: Where the observations lie, in the order in which they came, of shape (observations, axes).
        targets: What they have shown, to be minimised, of shape (observations,).
        pending: Where trials run whose result is not known, in the order of their beginning.
        known: Where any trial lies or has lain.
        alpha: The variance of the noise.
        beta: How many standard deviations are hoped for.
        seed: What the random numbers come from.
    """

    cube: Cube
    points: Array
    targets: Array
    pending: Array
    known: Array
    alpha: float
    beta: float
    seed: tuple[int, ...]

    @functools.cached_property
    def key(self) -> str:
        """The same for two questions if, and only if, they are."""
        made = hashlib.sha256(repr((self.cube.axes, self.alpha, self.beta, self.seed)).encode())
        for array in (self.points, self.targets, self.pending, self.known):
            made.update(repr(array.shape).encode())
            made.update(np.ascontiguousarray(array).tobytes())
        return made.hexdigest()

    @property
    def turn(self) -> tuple[int, int]:
        """The same for two questions about the same trial: none has begun in between."""
        return len(self.known), len(self.cube)


class Model:
    """The Gaussian process of a search, which keeps what the next one can go on from. One thread at a time."""

    def __init__(self) -> None:
        self._chosen: tuple[Array, Array, float] | None = None  # with what the length scale was chosen
        self._gaussian: Gaussian | None = None

    def posterior(self, points: Array, targets: Array, alpha: float) -> Posterior:
        """What observations tell, in the order in which they came.

        It is the same, to the last digit, whether the model has seen the first of them before or not: the length scale
        is chosen with the first of them (how many, their number tells), and each further one extends the factor.
        """
        first = chosen_with(len(points))
        gaussian = self._gaussian
        if self._chosen is None or gaussian is None or not self._same(points[:first], targets[:first], alpha):
            length = most_likely_length(points[:first], standardised(targets[:first])[0], alpha)
            gaussian = Gaussian(points[:first], length, alpha)
            self._chosen = points[:first], targets[:first], alpha
        elif not np.array_equal(gaussian.points, points[: len(gaussian.points)]):
            gaussian = Gaussian(points[:first], gaussian.length, alpha)
        for number in range(len(gaussian.points), len(points)):
            gaussian = gaussian.extended(points[number : number + 1])
        self._gaussian = gaussian
        return Posterior.of(gaussian, targets)

    def _same(self, points: Array, targets: Array, alpha: float) -> bool:
        assert self._chosen is not None
        return (
            np.array_equal(self._chosen[0], points)
            and np.array_equal(self._chosen[1], targets)
            and self._chosen[2] == alpha
        )


def chosen_with(observations: int) -> int:
    """With how many observations the length scale is chosen, when there are so many."""
    if observations <= EACH:
        return observations
    number = EACH
    while (following := int(np.ceil(number * GROWTH))) <= observations:
        number = following
    return number


def propose(question: Question, model: Model, check: Callable[[], None] = lambda: None) -> Array:
    """The points to try next, the best first, of shape (points, axes); none where nothing new was found.

    Args:
        question: What is known.
        model: What earlier questions of the same search have left.
        check: Called now and then; it may raise, to end the thought.
    """
    # With one thread the last digits do not depend on how many cores there are, and training keeps the others.
    with _alone, _blas().limit(limits=1, user_api="blas"):
        check()
        posterior = model.posterior(question.points, question.targets, question.alpha)
        check()
        return _Search(question, posterior.with_pending(question.pending), check).ranked()


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


class _Search:
    """The search for the least bound."""

    def __init__(self, question: Question, posterior: Posterior, check: Callable[[], None]) -> None:
        self._cube = question.cube
        self._question = question
        self._posterior = posterior
        self._check = check
        self._random = np.random.default_rng(question.seed)
        counts = np.array([self._cube.choices(axis) for axis in range(len(self._cube))])
        self._smooth = (counts == 0) | (counts > FEW)  # gone down; the others are changed one by one
        self._number = int(np.clip(WORK / (1 + len(posterior.gaussian.points)) ** 2, LEAST, MOST))
        self._found: list[tuple[Array, Array]] = []  # points and their bounds

    def ranked(self) -> Array:
        everywhere = self._look(self._everywhere())
        near = self._look(self._near())
        starts = max(2, min(8, self._number // 64))
        best = np.concatenate([_least(*everywhere, starts), _least(*near, starts)])
        for _ in range(ROUNDS):
            if self._smooth.any() and len(best):
                self._check()
                self._look(descend(self._function, best, self._smooth, STEPS))
            if self._smooth.all():
                break
            best = _least(*self._look(self._changed(self._ranked()[:starts])), starts)
        ranked = self._ranked()[: 8 * RANKED]
        apart = np.abs(ranked[:, None, :] - self._question.known).max(axis=2).min(axis=1) > 0.99 * NEAR
        return (ranked[apart] if apart.any() else ranked)[:RANKED]

    def _function(self, points: Array) -> tuple[Array, Array]:
        return self._posterior.bound_and_gradient(points, self._question.beta)

    def _look(self, points: Array) -> tuple[Array, Array]:
        """Reads the bound where trials with these values would lie; those that were there before are left out."""
        points = self._cube.settle(points)
        points = points[~among(points, self._question.known)]
        bounds = self._posterior.bound(points, self._question.beta) if len(points) else np.zeros(0)
        self._found.append((points, bounds))
        return points, bounds

    def _ranked(self) -> Array:
        points = np.concatenate([points for points, _ in self._found])
        bounds = np.concatenate([bounds for _, bounds in self._found])
        points = points[np.argsort(bounds, kind="stable")]
        _, first = np.unique(np.round(points, 9), axis=0, return_index=True)
        return points[np.sort(first)]

    def _everywhere(self) -> Array:
        """Points from all of the cube; all of them where they are few."""
        listed = self._cube.points
        if listed is None:
            return self._random.random((self._number, len(self._cube)))
        left = listed[~among(listed, self._question.known)]
        if len(left) <= self._number:
            return left
        return left[self._random.choice(len(left), self._number, replace=False)]

    def _near(self) -> Array:
        """Points in the neighbourhood of the best observations."""
        observed, targets = self._question.points, self._question.targets
        best = observed[np.argsort(targets, kind="stable")[:BESTS]]
        number, axes = self._number // 2, len(self._cube)
        middle = best[self._random.integers(len(best), size=number)]
        radius = 10.0 ** self._random.uniform(-2.5, -0.5, size=(number, 1))
        moved = middle + radius * self._random.standard_normal((number, axes))
        drawn = self._random.random((number, axes))
        keep = self._random.random((number, axes)) < 0.75
        return np.where(self._smooth, moved, np.where(keep, middle, drawn))

    def _changed(self, points: Array) -> Array:
        """Points with another value on one of the axes that have few."""
        made = []
        for axis in np.flatnonzero(~self._smooth):
            for place in self._cube.axes[axis].places:
                other = points.copy()
                other[:, axis] = place
                made.append(other)
        every = np.concatenate(made)
        if len(every) <= self._number:
            return every
        return every[self._random.choice(len(every), self._number, replace=False)]


def _least(points: Array, bounds: NDArray[np.float64], number: int) -> Array:
    return points[np.argsort(bounds, kind="stable")[:number]]
