"""The Gaussian process and the search of its bound: the same model as scikit-learn's, and what is found in it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cluster.bayes import gaussian as gp
from cluster.bayes.cube import Axis, Condition, Cube, among
from cluster.bayes.descent import descend
from cluster.bayes.propose import EACH, GROWTH, Model, Question, chosen_with, propose

Array = NDArray[np.float64]
ALPHA, BETA = 1e-4, 2.6


def data(number: int, axes: int, seed: int = 0) -> tuple[Array, Array]:
    points = np.random.default_rng(seed).random((number, axes))
    return points, ((points - 0.3) ** 2).sum(axis=1) + 0.3 * np.sin(9 * points).sum(axis=1)


def floats(axes: int) -> Cube:
    return Cube(tuple(Axis((), 0.0) for _ in range(axes)))


def sklearn_of(points: Array, targets: Array, alpha: float = ALPHA, restarts: int = 20) -> Any:
    """The regressor that KerasTuner makes, fitted."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    made = GaussianProcessRegressor(Matern(nu=2.5), alpha=alpha, n_restarts_optimizer=restarts, normalize_y=True)
    made.random_state = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made.fit(points, targets)


def posterior_of(points: Array, targets: Array, alpha: float = ALPHA) -> gp.Posterior:
    return Model().posterior(points, targets, alpha)


def question(points: Array, targets: Array, pending: Array | None = None, **about: Any) -> Question:
    pending = np.zeros((0, points.shape[1])) if pending is None else pending
    known = np.concatenate([points, pending])
    cube = about.pop("cube", None) or floats(points.shape[1])
    return Question(cube, points, targets, pending, known, ALPHA, BETA, about.pop("seed", (1, len(known))))


class TestModel:
    @pytest.mark.parametrize(("number", "axes"), [(5, 1), (30, 3), (80, 10)])
    def test_is_scikit_learns(self, number: int, axes: int) -> None:
        points, targets = data(number, axes)
        theirs, ours = sklearn_of(points, targets), posterior_of(points, targets)
        length = theirs.kernel_.length_scale
        assert ours.gaussian.length == pytest.approx(length, rel=2e-3)
        same = gp.Posterior.of(gp.Gaussian(points, length, ALPHA), targets)
        others = np.concatenate([data(50, axes, seed=1)[0], points])
        for got, wanted in zip(same.predict(others), theirs.predict(others, return_std=True), strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-6)

    def test_has_scikit_learns_likelihood(self) -> None:
        points, targets = data(40, 4)
        values = gp.standardised(targets)[0]
        theirs = sklearn_of(points, targets, restarts=0)
        for length in (0.05, 0.4, 3.0):
            mine = gp.log_likelihood(gp.distances(points, points), values, ALPHA, length)
            assert mine == pytest.approx(theirs.log_marginal_likelihood([np.log(length)]), abs=1e-6)

    def test_finds_the_greater_of_two_hills_of_the_likelihood(self) -> None:
        """A wave under noise: a long and a short length scale both explain it."""
        points = np.linspace(0, 1, 40)[:, None]
        targets = np.sin(2 * points[:, 0]) + 0.3 * np.sin(70 * points[:, 0])
        distance, values = gp.distances(points, points), gp.standardised(targets)[0]
        length = gp.most_likely_length(points, values, ALPHA)
        fine = max(gp.log_likelihood(distance, values, ALPHA, x) for x in np.geomspace(1e-3, 1e3, 400))
        assert gp.log_likelihood(distance, values, ALPHA, length) >= fine - 1e-3

    def test_a_length_scale_is_chosen_with_all_points_where_the_first_mislead(self) -> None:
        flat = np.random.default_rng(0).random((gp.FIRST, 1))
        points = np.concatenate([flat, np.random.default_rng(1).random((200, 1))])
        targets = np.concatenate([np.zeros(gp.FIRST), np.sin(300 * points[gp.FIRST :, 0])])
        values = gp.standardised(targets)[0]
        distance = gp.distances(points, points)
        found = gp.log_likelihood(distance, values, ALPHA, gp.most_likely_length(points, values, ALPHA))
        tried = [gp.log_likelihood(distance, values, ALPHA, np.exp(length)) for length in gp.LENGTHS]
        assert found >= max(tried) - 1e-6

    @pytest.mark.parametrize("targets", [np.ones(6), np.array([1e150, 0, 0, 0, 0, 0.0])])
    def test_takes_any_finite_targets(self, targets: Array) -> None:
        posterior = posterior_of(data(6, 2)[0], targets)
        assert np.isfinite(posterior.bound(data(9, 2, seed=3)[0], BETA)).all()

    def test_takes_equal_points_without_noise(self) -> None:
        points = np.full((5, 2), 0.5)
        posterior = posterior_of(points, np.arange(5.0), alpha=0.0)
        assert np.isfinite(posterior.bound(points, BETA)).all()

    def test_grows_by_a_point_as_if_it_had_been_there(self) -> None:
        points, _ = data(60, 3)
        whole = gp.Gaussian(points, 0.4, ALPHA)
        grown = gp.Gaussian(points[:50], 0.4, ALPHA)
        for number in range(50, 60):
            grown = grown.extended(points[number : number + 1])
        np.testing.assert_allclose(grown.factor, whole.factor, atol=1e-9)
        at_once = gp.Gaussian(points[:50], 0.4, ALPHA).extended(points[50:])
        np.testing.assert_allclose(at_once.factor, whole.factor, atol=1e-9)
        assert np.array_equal(grown.points, points)

    def test_is_the_same_to_the_last_digit_whatever_it_has_seen_before(self) -> None:
        points, targets = data(EACH + 30, 4)
        grown = Model()
        for number in range(EACH - 3, len(points) + 1):
            grown.posterior(points[:number], targets[:number], ALPHA)
        mine, fresh = (m.posterior(points, targets, ALPHA) for m in (grown, Model()))
        assert mine.gaussian.length == fresh.gaussian.length
        assert np.array_equal(mine.gaussian.factor, fresh.gaussian.factor)

    def test_begins_anew_where_what_it_has_seen_is_not_so_any_more(self) -> None:
        points, targets = data(EACH + 5, 2)
        model = Model()
        model.posterior(points, targets, ALPHA)
        points[EACH + 1] = 0.25  # after those that the length scale was chosen with
        changed = model.posterior(points, targets, ALPHA)
        assert np.array_equal(changed.gaussian.points, points)
        np.testing.assert_allclose(changed.gaussian.factor, posterior_of(points, targets).gaussian.factor)

    def test_its_length_scale_is_chosen_at_numbers_that_do_not_depend_on_the_way(self) -> None:
        assert [chosen_with(n) for n in (1, EACH, EACH + 1)] == [1, EACH, EACH]
        chosen = [chosen_with(n) for n in range(1, 2000)]
        assert chosen == sorted(chosen)
        assert all(number / GROWTH <= at <= number for number, at in enumerate(chosen, 1))


class TestBound:
    @pytest.mark.parametrize("axes", [1, 3, 8])
    def test_is_scikit_learns_mean_less_the_deviations(self, axes: int) -> None:
        points, targets = data(30, axes)
        theirs, posterior = sklearn_of(points, targets), posterior_of(points, targets)
        others = data(20, axes, seed=2)[0]
        mean, deviation = theirs.predict(others, return_std=True)
        got = posterior.bound(others, BETA) * posterior.scale + posterior.mean
        np.testing.assert_allclose(got, mean - BETA * deviation, atol=2e-2 * posterior.scale)

    @pytest.mark.parametrize("axes", [1, 3, 8])
    def test_has_the_gradient_that_differences_show(self, axes: int) -> None:
        posterior = posterior_of(*data(30, axes)).with_pending(data(2, axes, seed=5)[0])
        others = data(6, axes, seed=2)[0]
        values, gradients = posterior.bound_and_gradient(others, BETA)
        np.testing.assert_allclose(values, posterior.bound(others, BETA), atol=1e-12)
        for axis in range(axes):
            step = np.zeros(axes)
            step[axis] = 1e-5
            difference = posterior.bound(others + step, BETA) - posterior.bound(others - step, BETA)
            np.testing.assert_allclose(gradients[:, axis], difference / 2e-5, rtol=1e-4, atol=1e-5)


class TestPending:
    def test_is_taken_for_a_deviation_worse_than_its_mean(self) -> None:
        """As KerasTuner does: the same as if its result had been this."""
        points, targets = data(20, 2)
        before = posterior_of(points, targets)
        pending = np.array([[0.9, 0.1]])
        mean, deviation = before.predict(pending)
        after = before.with_pending(pending)
        told = gp.Gaussian(np.concatenate([points, pending]), before.gaussian.length, ALPHA)
        value = (mean + deviation - before.mean) / before.scale
        residuals = np.linalg.solve(told.factor, np.concatenate([gp.standardised(targets)[0], value]))
        wanted = gp.Posterior(told, residuals, before.mean, before.scale)
        others = data(15, 2, seed=4)[0]
        for got, want in zip(after.predict(others), wanted.predict(others), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-8)

    def test_each_knows_of_those_before_it(self) -> None:
        points, targets = data(20, 2)
        two = np.array([[0.9, 0.1], [0.1, 0.9]])
        at_once = posterior_of(points, targets).with_pending(two)
        one_by_one = posterior_of(points, targets).with_pending(two[:1]).with_pending(two[1:])
        others = data(15, 2, seed=4)[0]
        for got, want in zip(at_once.predict(others), one_by_one.predict(others), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-8)

    def test_drives_the_next_proposal_away(self) -> None:
        points, targets = data(30, 2)
        first = propose(question(points, targets), Model())[0]
        second = propose(question(points, targets, first[None]), Model())[0]
        assert np.linalg.norm(first - second) > 0.02
        at_once = propose(question(points, targets), Model())[1]
        assert np.linalg.norm(first - second) > np.linalg.norm(first - at_once)

    def test_of_one_place_may_be_many(self) -> None:
        points, targets = data(30, 2)
        assert np.isfinite(propose(question(points, targets, np.full((40, 2), 0.5)), Model())).all()


class TestDescent:
    def test_ends_at_the_least_of_a_bowl_and_at_the_edge_where_that_is_beyond(self) -> None:
        middle = np.array([0.3, 1.4, -0.2, 0.6])
        weights = np.array([1.0, 30.0, 5.0, 0.2])

        def bowl(points: Array) -> tuple[Array, Array]:
            return (weights * (points - middle) ** 2).sum(axis=1), 2 * weights * (points - middle)

        found = descend(bowl, np.random.default_rng(0).random((7, 4)), np.ones(4, dtype=bool), 60)
        np.testing.assert_allclose(found, np.tile([0.3, 1.0, 0.0, 0.6], (7, 1)), atol=1e-2)

    def test_moves_only_what_is_free_and_never_up(self) -> None:
        posterior = posterior_of(*data(40, 5))

        def bound(points: Array) -> tuple[Array, Array]:
            return posterior.bound_and_gradient(points, BETA)

        begun = np.random.default_rng(1).random((9, 5))
        free = np.array([True, False, True, False, True])
        found = descend(bound, begun, free, 20)
        assert (bound(found)[0] <= bound(begun)[0]).all()
        assert np.array_equal(found[:, ~free], begun[:, ~free])
        assert ((found >= 0) & (found <= 1)).all()


class TestCube:
    def test_settles_on_values_and_on_defaults_where_nothing_is_active(self) -> None:
        kind = Axis((0.25, 0.75), 0.25)
        child = Axis((), 0.9, (Condition(((0, frozenset({1})),)),))
        grandchild = Axis((0.1, 0.5, 0.7), 0.5, (Condition(((0, frozenset({1})),)), Condition(((0, frozenset({1})),))))
        got = Cube((kind, child, grandchild)).settle(np.array([[0.4, 0.2, 0.2], [0.6, 0.2, 0.2], [2.0, -1.0, 0.65]]))
        assert got.tolist() == [[0.25, 0.9, 0.5], [0.75, 0.2, 0.1], [0.75, 0.0, 0.7]]

    def test_what_depends_on_an_inactive_parent_is_inactive(self) -> None:
        kind = Axis((0.25, 0.75), 0.25)
        flag = Axis((0.25, 0.75), 0.75, (Condition(((0, frozenset({1})),)),))
        rate = Axis((), 0.5, (Condition(((1, frozenset({1})),)),))
        got = Cube((kind, flag, rate)).settle(np.array([[0.25, 0.75, 0.1], [0.75, 0.75, 0.1], [0.75, 0.25, 0.1]]))
        assert got[:, 2].tolist() == [0.5, 0.1, 0.5]

    def test_lists_its_points_once_where_they_are_few(self) -> None:
        kind = Axis((0.25, 0.75), 0.25)
        child = Axis((1 / 6, 0.5, 5 / 6), 0.5, (Condition(((0, frozenset({1})),)),))
        points = Cube((kind, child)).points
        assert points is not None
        assert len(points) == 4
        assert Cube((kind, Axis((), 0.5))).points is None

    @given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=1, max_size=8))
    def test_points_are_among_themselves(self, rows: list[list[float]]) -> None:
        points = np.array(rows)
        assert among(points, points).all()
        assert not among(points, points + 2).any()


class TestProposal:
    @pytest.mark.parametrize(("number", "axes"), [(20, 2), (60, 6), (150, 10)])
    def test_is_no_worse_than_what_kerastuners_way_finds(self, number: int, axes: int) -> None:
        """The bound at the proposal, beside fifty descents of SciPy's from random points, with exact gradients."""
        from scipy.optimize import minimize

        points, targets = data(number, axes)
        posterior = posterior_of(points, targets)

        def bound(x: Array) -> tuple[float, Array]:
            values, gradients = posterior.bound_and_gradient(x[None], BETA)
            return float(values[0]), gradients[0]

        starts = np.random.default_rng(7).random((50, axes))
        box = [(0.0, 1.0)] * axes
        theirs = min(minimize(bound, x, jac=True, bounds=box, method="L-BFGS-B").fun for x in starts)
        ours = posterior.bound(propose(question(points, targets), Model())[:1], BETA)[0]
        assert ours <= theirs + 0.02

    def test_is_read_at_values(self) -> None:
        """Of all points of the space that are new, the first has the least bound."""
        cube = Cube((Axis((0.1, 0.5, 0.9), 0.1), Axis((1 / 8, 3 / 8, 5 / 8, 7 / 8), 1 / 8)))
        assert cube.points is not None
        tried = cube.points[::2]
        asked = question(tried, data(len(tried), 2)[1], cube=cube)
        ranked = propose(asked, Model())
        left = cube.points[1::2]
        bounds = posterior_of(tried, asked.targets).bound(left, BETA)
        assert np.array_equal(ranked, left[np.argsort(bounds, kind="stable")])

    def test_is_none_where_nothing_is_new(self) -> None:
        cube = Cube((Axis((0.1, 0.5, 0.9), 0.1), Axis((0.25, 0.75), 0.25)))
        assert cube.points is not None
        assert len(propose(question(cube.points, np.arange(6.0), cube=cube), Model())) == 0

    def test_knows_the_questions_answer_from_the_question_alone(self) -> None:
        points, targets = data(40, 3)
        asked = question(points, targets, points[:2] + 0.01)
        used = Model()
        propose(question(points[:30], targets[:30]), used)
        assert np.array_equal(propose(asked, used), propose(asked, Model()))

    def test_differs_with_the_seed_and_the_key_with_all_else(self) -> None:
        points, targets = data(30, 3)
        one = question(points, targets, seed=(1, 30))
        assert one.key == question(points.copy(), targets.copy(), seed=(1, 30)).key
        others = [
            question(points, targets, seed=(2, 30)),
            question(points, targets + 1e-12, seed=(1, 30)),
            question(points, targets, points[:1], seed=(1, 30)),
            question(points, targets, seed=(1, 30), cube=Cube(tuple(Axis((), 0.5) for _ in range(3)))),
        ]
        assert len({one.key, *(other.key for other in others)}) == 5

    def test_a_check_that_raises_ends_it(self) -> None:
        points, targets = data(30, 3)
        calls = iter([None, None, KeyError("enough")])

        def check() -> None:
            raised = next(calls)
            if raised is not None:
                raise raised

        with pytest.raises(KeyError, match="enough"):
            propose(question(points, targets), Model(), check)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 2**32))
    def test_lies_on_values_and_is_new_in_any_space(self, counts: list[int], seed: int) -> None:
        cube = Cube(tuple(Axis(tuple((i + 0.5) / count for i in range(count)), 0.0 if not count else 0.5 / count)
                          for count in counts))  # fmt: skip
        random = np.random.default_rng(seed)
        points = cube.settle(random.random((12, len(cube))))
        asked = question(points, random.random(12), cube=cube)
        ranked = propose(asked, Model())
        assert np.array_equal(cube.settle(ranked), ranked)
        assert not among(ranked, points).any()
        assert len(np.unique(ranked, axis=0)) == len(ranked)
