"""The Gaussian process of KerasTuner's Bayesian optimisation, with what a fast search of its bound needs.

The model is the one that KerasTuner makes of scikit-learn's: a Matérn kernel of order 5/2, one length scale for all
axes, unit variance, noise `alpha`, and targets that are brought to mean 0 and variance 1. The length scale is the one
of greatest likelihood. As it is the only parameter, a search along one line finds it.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]

ROOT5 = np.sqrt(5.0)
# Logarithms of the length scales that are tried first. KerasTuner's bounds are 1e-5 and 1e5; beyond the inner ones the
# points of a cube are all but independent, or all but one.
LENGTHS = np.log(10.0) * np.array([-5.0, -4.0, -3.0, *np.linspace(-2.0, 2.0, 13), 3.0, 4.0, 5.0])
FIRST = 256  # so many points tell where the likelihood has its greatest hill
CLOSE = 1e-3  # how close to the best length scale its logarithm comes
LEAST_PIVOT = 1e-10


def distances(these: Array, those: Array) -> Array:
    """Euclidean distances between the rows of two arrays."""
    squares = these @ those.T
    squares *= -2.0
    squares += np.einsum("ij,ij->i", these, these)[:, None]
    squares += np.einsum("ij,ij->i", those, those)
    np.maximum(squares, 0.0, out=squares)
    return np.asarray(np.sqrt(squares, out=squares))


def matern(distance: Array, length: float) -> Array:
    """The kernel at some distances."""
    scaled = distance * (ROOT5 / length)
    rest = np.exp(-scaled)
    scaled *= scaled / 3.0 + 1.0
    scaled += 1.0
    scaled *= rest
    return np.asarray(scaled)


def standardised(targets: Array) -> tuple[Array, float, float]:
    """Targets with mean 0 and variance 1; their mean and standard deviation before (1 where they are all equal)."""
    mean, scale = float(np.mean(targets)), float(np.std(targets))
    if scale < 10 * np.finfo(float).eps:
        scale = 1.0
    return (targets - mean) / scale, mean, scale


def log_likelihood(distance: Array, targets: Array, alpha: float, length: float) -> float:
    """The logarithm of the marginal likelihood; minus infinity where the kernel's matrix has no factor.

    Args:
        distance: Distances between the points, of shape (points, points).
        targets: Standardised targets, of shape (points,).
        alpha: The variance of the noise.
        length: The length scale.
    """
    covariance = matern(distance, length)
    covariance[np.diag_indices_from(covariance)] += alpha
    try:
        factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return -np.inf
    fitted = targets @ cho_solve((factor, True), targets, check_finite=False)
    return float(-0.5 * fitted - np.log(np.diag(factor)).sum() - 0.5 * len(targets) * np.log(2 * np.pi))


def most_likely_length(points: Array, targets: Array, alpha: float) -> float:
    """The length scale of greatest likelihood, for points of shape (points, axes) and their standardised targets.

    The greatest hill is looked for with the first points, climbed with all, and its top found by Brent's method.
    """
    distance = distances(points, points)
    few = distance[:FIRST, :FIRST]
    hills = [log_likelihood(few, targets[:FIRST], alpha, np.exp(length)) for length in LENGTHS]
    best, last = int(np.argmax(hills)), len(LENGTHS) - 1

    @functools.cache
    def height(index: int) -> float:
        return log_likelihood(distance, targets, alpha, np.exp(LENGTHS[index]))

    if len(points) > FIRST:
        while (up := max((max(best - 1, 0), best, min(best + 1, last)), key=height)) != best and height(up) > height(
            best
        ):
            best = up
    found = minimize_scalar(
        lambda length: -log_likelihood(distance, targets, alpha, np.exp(length)),
        bounds=(LENGTHS[max(best - 1, 0)], LENGTHS[min(best + 1, last)]),
        method="bounded",
        options={"xatol": CLOSE},
    )
    top = height(best) if len(points) > FIRST else hills[best]
    return float(np.exp(found.x if -found.fun > top else LENGTHS[best]))


class Gaussian:
    """The covariance of some points, in a form that one more is added to in quadratic time.

    Attributes:
        points: The points, of shape (points, axes).
        length: The length scale.
        alpha: The variance of the noise.
        factor: The lower Cholesky factor of the kernel's matrix with the noise.
    """

    def __init__(self, points: Array, length: float, alpha: float, factor: Array | None = None) -> None:
        self.points = points
        self.length = length
        self.alpha = alpha
        self.factor = self._whole() if factor is None else factor

    def _whole(self) -> Array:
        covariance = matern(distances(self.points, self.points), self.length)
        noise = self.alpha
        while True:
            covariance[np.diag_indices_from(covariance)] = 1.0 + noise
            try:
                return np.asarray(cholesky(covariance, lower=True, check_finite=False))
            except LinAlgError:
                noise = max(10 * noise, LEAST_PIVOT)  # points that are all but equal, and noise that is all but none

    def towards(self, points: Array) -> Array:
        """The inverse factor times the covariance with other points, of shape (own points, other points)."""
        covariance = matern(distances(self.points, points), self.length)
        return np.asarray(solve_triangular(self.factor, covariance, lower=True, check_finite=False, overwrite_b=True))

    def joint(self, points: Array, towards: Array) -> Array:
        """The lower factor of the covariance, with noise, that other points have once these are known."""
        rest = matern(distances(points, points), self.length) - towards.T @ towards
        factor = np.zeros_like(rest)
        for row in range(len(rest)):  # by hand: what is known for certain has a pivot of rounding errors
            for column in range(row):
                dot = factor[row, :column] @ factor[column, :column]
                factor[row, column] = (rest[row, column] - dot) / factor[column, column]
            pivot = rest[row, row] + self.alpha - factor[row, :row] @ factor[row, :row]
            factor[row, row] = np.sqrt(max(pivot, LEAST_PIVOT))
        return factor

    def extended(self, points: Array, towards: Array | None = None, joint: Array | None = None) -> Gaussian:
        """With further points, of shape (further points, axes)."""
        towards = self.towards(points) if towards is None else towards
        joint = self.joint(points, towards) if joint is None else joint
        known, size = len(self.points), len(self.points) + len(points)
        factor = np.zeros((size, size), order="F")
        factor[:known, :known] = self.factor
        factor[known:, :known] = towards.T
        factor[known:, known:] = joint
        return Gaussian(np.concatenate([self.points, points]), self.length, self.alpha, factor)


class Posterior:
    """What targets at some points tell of every other point.

    Args:
        gaussian: The points.
        residuals: The inverse factor times the standardised targets.
        mean: What was taken from the targets to standardise them.
        scale: What they were divided by.
    """

    def __init__(self, gaussian: Gaussian, residuals: Array, mean: float, scale: float) -> None:
        self.gaussian = gaussian
        self.mean = mean
        self.scale = scale
        self._residuals = residuals
        self._weights = solve_triangular(gaussian.factor, residuals, lower=True, trans="T", check_finite=False)

    @classmethod
    def of(cls, gaussian: Gaussian, targets: Array) -> Posterior:
        """The posterior of targets, of shape (points,)."""
        values, mean, scale = standardised(targets)
        return cls(gaussian, solve_triangular(gaussian.factor, values, lower=True, check_finite=False), mean, scale)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """The mean and the standard deviation at points of shape (points, axes), without noise."""
        towards = self.gaussian.towards(points)
        variance = 1.0 - np.einsum("ij,ij->j", towards, towards)
        mean = self._residuals @ towards
        return mean * self.scale + self.mean, np.sqrt(np.maximum(variance, 0.0)) * self.scale

    def with_pending(self, points: Array) -> Posterior:
        """With points whose targets are not known yet, each taken for one standard deviation worse than its mean.

        It is KerasTuner's own pessimism, from the model of now; and each point knows of those before it, so that two
        that are close to each other are not taken for two disappointments.
        """
        if not len(points):
            return self
        towards = self.gaussian.towards(points)
        joint = self.gaussian.joint(points, towards)
        pivots = np.diag(joint)
        # A target at its mean, given those before it, has the residual 0; the deviation is what it adds.
        residuals = np.sqrt(np.maximum(pivots**2 - self.gaussian.alpha, 0.0)) / pivots
        extended = self.gaussian.extended(points, towards, joint)
        return Posterior(extended, np.concatenate([self._residuals, residuals]), self.mean, self.scale)

    def bound(self, points: Array, beta: float) -> Array:
        """The lower confidence bound, mean minus `beta` standard deviations, standardised; of shape (points,)."""
        towards = self.gaussian.towards(points)
        variance = 1.0 - np.einsum("ij,ij->j", towards, towards)
        return np.asarray(self._residuals @ towards - beta * np.sqrt(np.maximum(variance, LEAST_PIVOT)))

    def bound_and_gradient(self, points: Array, beta: float) -> tuple[Array, Array]:
        """As `bound`, with its gradients of shape (points, axes)."""
        gaussian = self.gaussian
        distance = distances(gaussian.points, points)
        towards = solve_triangular(
            gaussian.factor, matern(distance, gaussian.length), lower=True, check_finite=False, overwrite_b=True
        )
        variance = np.maximum(1.0 - np.einsum("ij,ij->j", towards, towards), LEAST_PIVOT)
        deviation = np.sqrt(variance)
        values = self._residuals @ towards - beta * deviation
        inner = solve_triangular(gaussian.factor, towards, lower=True, trans="T", check_finite=False, overwrite_b=True)
        # d bound / d kernel, of shape (own points, points); then the kernel's own gradient by the chain rule.
        slope = self._weights[:, None] + beta * inner / deviation
        scaled = distance * (ROOT5 / gaussian.length)
        slope *= (-5.0 / (3.0 * gaussian.length**2)) * (1.0 + scaled) * np.exp(-scaled)
        gradients = slope.sum(axis=0)[:, None] * points - slope.T @ gaussian.points
        return values, gradients
