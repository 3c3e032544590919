"""KerasTuner's Bayesian optimisation under the seams: its own model and space, and nothing proposed twice."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster import seams
from cluster.seams import bayesian
from cluster.search import Answer, Grant, Search
from tests.cluster.conftest import OwnerRole, finish, make_oracle, make_tuner, open_search, take

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def every_kind() -> Any:
    """A space with all that KerasTuner has, conditions of conditions among it."""
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Float("x", 0.5, 2.0)
    space.Float("rate", 1e-4, 1e-1, sampling="log")
    space.Float("reversed", 1e-4, 1e-1, sampling="reverse_log")
    space.Float("stepped", 0.0, 1.0, step=0.1)
    space.Float("powers", 1e-3, 1e2, step=10, sampling="log")
    space.Int("units", 3, 17)
    space.Int("even", 2, 20, step=4)
    space.Int("many", 1, 100_000)
    space.Int("logged", 1, 50, sampling="log")
    space.Int("batch", 2, 64, step=2, sampling="log")
    space.Fixed("fixed", 7)
    space.Boolean("flag", default=True)
    space.Choice("kind", ["a", "b", "c"], default="b")
    with space.conditional_scope("kind", ["a", "c"]):
        space.Float("depth", -1.0, 1.0, default=0.25)
        space.Boolean("inner")
        with space.conditional_scope("inner", [True]):
            space.Int("innermost", 0, 5)
    with space.conditional_scope("kind", ["b"]):
        space.Int("depth", 1, 4, default=2)
    return space


def over(space: Any, trials: int = 40, **options: Any) -> Any:
    return make_oracle("BayesianOptimizationOracle", trials=trials, hyperparameters=space, **options)


def x_and_y() -> Any:
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Float("x", 0.0, 1.0)
    space.Float("y", 0.0, 1.0)
    return space


def run(search: Search, score: Any, worker: str = "w", trials: int = 10**9) -> list[dict[str, Any]]:
    """Trials one after another, to the search's end or so many; returns their values."""
    found: list[dict[str, Any]] = []
    while len(found) < trials and (answer := search.next_trial(worker, f"t-{worker}")) is not Answer.OVER:
        assert isinstance(answer, Grant)
        values = dict(answer.trial.hyperparameters.values)
        found.append(values)
        finish(search, answer, float(score(values)))
    return found


@pytest.mark.usefixtures("owned")
class TestSpace:
    def test_trials_lie_where_kerastuner_puts_them(self, tmp_path: Path) -> None:
        """But for stepped floats, of which KerasTuner misses some by a step."""
        oracle = over(every_kind(), num_initial_points=30)
        with open_search(tmp_path, oracle=oracle) as search:
            run(search, lambda values: values["x"], trials=25)
            oracle.num_initial_points = 5
            theirs, _ = oracle._vectorize_trials()
            question = bayesian._mind(oracle).question()  # type: ignore[union-attr]
            assert question is not None
            tuned = [hp.name not in ("fixed", "stepped") for hp in oracle.hyperparameters.space]
            nonfixed = [hp.name for hp in oracle._nonfixed_space()]
            column = [name != "stepped" for name in nonfixed]
            np.testing.assert_allclose(question.points[:, tuned], theirs[:, column], atol=1e-6)
            stepped = [hp.name for hp in oracle.hyperparameters.space].index("stepped")
            values = [trial.hyperparameters["stepped"] for trial in oracle.trials.values()]
            wanted = [(round(value / 0.1) + 0.5) / 10 for value in values]
            np.testing.assert_allclose(question.points[:, stepped], wanted)

    def test_proposals_are_values_of_the_space_and_lie_where_they_were_looked_for(self, tmp_path: Path) -> None:
        oracle = over(every_kind(), num_initial_points=4)
        with open_search(tmp_path, oracle=oracle) as search:
            run(search, lambda values: -values["units"] + values["logged"] + (values["kind"] == "b"), trials=12)
            mind = bayesian._mind(oracle)
            assert mind is not None
            question = mind.question()
            assert question is not None
            for point in mind.answer(question):
                values = mind.values(point)
                hyperparameters = oracle.hyperparameters.copy()
                hyperparameters.values = values
                for hp in oracle.hyperparameters.space:
                    if hyperparameters.is_active(hp) and type(hp).__name__ in ("Int", "Float"):
                        assert hp.min_value <= values[hp.name] <= hp.max_value + 1e-9, hp
                assert set(values) == {hp.name for hp in oracle.hyperparameters.space if hyperparameters.is_active(hp)}
                again = bayesian.place(hyperparameters, oracle.hyperparameters.space, question.cube)
                np.testing.assert_allclose(again, point, atol=2e-5)  # whole numbers of many lie between

    def test_the_end_of_the_axis_is_the_greatest_whole_number(self, tmp_path: Path) -> None:
        """KerasTuner's own search proposes one more there."""
        import keras_tuner

        space = keras_tuner.HyperParameters()
        space.Int("many", 1, 100_000, sampling="log")
        oracle = over(space, num_initial_points=3)
        assert oracle._vector_to_values([1.0]) == {"many": 100_001}
        mind = bayesian._mind(oracle)
        assert mind is not None
        mind._cube_of(oracle.hyperparameters.space)
        assert mind.values(np.array([1.0])) == {"many": 100_000}

    def test_equal_choices_are_one(self, tmp_path: Path) -> None:
        import keras_tuner

        space = keras_tuner.HyperParameters()
        space.Choice("kind", ["a", "b", "a", "c"])
        with open_search(tmp_path, oracle=over(space, num_initial_points=1)) as search:
            found = run(search, lambda values: "abc".index(values["kind"]))
        assert sorted(values["kind"] for values in found) == ["a", "b", "c"]

    def test_a_space_that_grows_is_followed(self, tmp_path: Path) -> None:
        import keras_tuner

        more = keras_tuner.HyperParameters()
        more.Float("later", 0.0, 1.0)
        with open_search(tmp_path, oracle=over(x_and_y(), num_initial_points=3)) as search:
            run(search, lambda values: values["x"], trials=5)
            search.update_space(more)
            assert all("later" in values for values in run(search, lambda values: values["x"], trials=3))

    def test_a_space_with_nothing_to_tune_ends(self, tmp_path: Path) -> None:
        import keras_tuner

        space = keras_tuner.HyperParameters()
        space.Fixed("fixed", 1)
        with open_search(tmp_path, oracle=over(space, num_initial_points=1)) as search:
            assert run(search, lambda values: 1.0) == [{"fixed": 1}]
            assert search.failure is None


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 3),
    st.sampled_from(["min", "max"]),
)
def test_a_discrete_space_is_tried_once_to_its_last_point(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], conditional: bool, seed: int, workers: int, way: str
) -> None:
    import keras_tuner

    with seams.installed(OwnerRole()):
        space = keras_tuner.HyperParameters()
        for number, count in enumerate(counts):
            space.Int(f"i{number}", 1, count)
        size = math.prod(counts)
        if conditional and counts[0] > 1:
            with space.conditional_scope("i0", [1]):
                space.Choice("child", ["p", "q", "r"])
            size += 2 * size // counts[0]
        oracle = over(space, trials=99, num_initial_points=1, seed=seed)
        oracle.objective = keras_tuner.Objective("score", way)
        seen: list[Any] = []
        with open_search(tmp_path_factory.mktemp("search"), oracle=oracle) as search:
            running: list[Grant] = []
            while True:
                names = {grant.trial.trial_id: f"w{number}" for number, grant in enumerate(running)}
                answer = search.next_trial(f"w{len(names)}", f"t{len(seen)}")
                if answer is Answer.OVER:
                    break
                if isinstance(answer, Grant):
                    seen.append(tuple(sorted(answer.trial.hyperparameters.values.items())))
                    running.append(answer)
                if len(running) == workers or not isinstance(answer, Grant):
                    for grant in running:
                        finish(search, grant, float(sum(hash(str(v)) % 7 for v in seen[-1])))
                    running = []
                    search._dry_until = 0.0
            assert search.failure is None
        assert len(seen) == len(set(seen)) == size


@pytest.mark.usefixtures("owned")
class TestSearch:
    def test_finds_the_least_of_a_bowl(self, tmp_path: Path) -> None:
        with open_search(tmp_path, oracle=over(x_and_y(), trials=25)) as search:
            found = run(search, lambda v: (v["x"] - 0.3) ** 2 + (v["y"] - 0.8) ** 2)
        assert min((v["x"] - 0.3) ** 2 + (v["y"] - 0.8) ** 2 for v in found) < 1e-3

    def test_maximises_where_it_is_told_to(self, tmp_path: Path) -> None:
        import keras_tuner

        oracle = over(x_and_y(), trials=20)
        oracle.objective = keras_tuner.Objective("score", "max")
        with open_search(tmp_path, oracle=oracle) as search:
            found = run(search, lambda v: v["x"] + v["y"])
        assert max(v["x"] + v["y"] for v in found) > 1.9

    def test_an_infinite_loss_is_the_worst_and_not_the_best(self, tmp_path: Path) -> None:
        """KerasTuner takes it for 0, which is the best that a loss can be."""
        oracle = over(x_and_y(), trials=25, num_initial_points=6)
        with open_search(tmp_path, oracle=oracle) as search:
            found = run(search, lambda v: math.inf if v["x"] > 0.5 else 1 + v["x"])
        assert sum(v["x"] > 0.5 for v in found[6:]) < 6

    def test_begins_with_kerastuners_own_random_points(self, tmp_path: Path) -> None:
        with open_search(tmp_path, oracle=over(x_and_y(), trials=5)) as search:
            found = run(search, lambda v: v["x"])
        with open_search(tmp_path / "random", oracle=make_oracle(trials=5, hyperparameters=x_and_y())) as search:
            assert run(search, lambda v: v["x"]) == found

    def test_workers_do_not_get_the_same(self, tmp_path: Path) -> None:
        with open_search(tmp_path, oracle=over(x_and_y(), trials=40, num_initial_points=6)) as search:
            run(search, lambda v: (v["x"] - 0.4) ** 2 + v["y"], trials=8)
            running = [take(search, f"w{number}").trial.hyperparameters.values for number in range(6)]
            points = np.array([[v["x"], v["y"]] for v in running])
            apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(6)
            assert apart.min() > 0.9e-3
            assert apart.max() > 0.2  # they are not all where the first went

    def test_the_least_at_an_edge_is_not_proposed_again_and_again(self, tmp_path: Path) -> None:
        with open_search(tmp_path, oracle=over(x_and_y(), trials=25)) as search:
            found = np.array([[v["x"], v["y"]] for v in run(search, lambda v: v["x"] + v["y"])])
        apart = np.abs(found[:, None] - found[None]).max(axis=2) + np.eye(25)
        assert apart.min() > 0.9e-3
        assert found.sum(axis=1).min() < 0.01

    def test_failed_trials_are_not_proposed_again_and_tell_the_model_nothing(self, tmp_path: Path) -> None:
        import keras_tuner

        space = keras_tuner.HyperParameters()
        space.Int("x", 0, 9)
        with open_search(
            tmp_path, oracle=over(space, num_initial_points=3, max_consecutive_failed_trials=99)
        ) as search:
            seen = []
            while isinstance(answer := search.next_trial("w", "t"), Grant):
                seen.append(answer.trial.hyperparameters["x"])
                finish(search, answer, status="FAILED" if len(seen) > 3 and seen[-1] % 2 else "COMPLETED")
            assert sorted(seen) == list(range(10))

    def test_a_restart_proposes_what_would_have_come_while_trials_run(self, tmp_path: Path) -> None:
        def proposals(directory: Path, restarts: bool) -> list[dict[str, Any]]:
            """Two workers, whose trials end in turn; the chief dies after each end."""
            with contextlib.ExitStack() as stack:
                search = stack.enter_context(open_search(directory, oracle=over(x_and_y(), num_initial_points=3)))
                running = [take(search, "a"), take(search, "b")]
                found = []
                for number in range(12):
                    grant = running.pop(0)
                    values = dict(grant.trial.hyperparameters.values)
                    finish(search, grant, values["x"] - values["y"] ** 2)
                    if restarts:
                        oracle = over(x_and_y(), num_initial_points=3)
                        search = stack.enter_context(open_search(directory, oracle=oracle, after_crash=True))
                    running.append(take(search, "ab"[number % 2]))
                    found.append(dict(running[-1].trial.hyperparameters.values))
                return found

        undisturbed = proposals(tmp_path / "a", restarts=False)
        assert proposals(tmp_path / "b", restarts=True) == undisturbed

    def test_what_was_thought_out_ahead_is_what_would_have_been_later(self, tmp_path: Path) -> None:
        with open_search(tmp_path / "a", oracle=over(x_and_y(), trials=14)) as search:
            beside = run(search, lambda v: v["x"] * v["y"])
            assert search._thinking._thread is not None
        oracle = over(x_and_y(), trials=14)
        make_tuner(tmp_path / "b", oracle)
        alone = []
        for _ in range(14):
            trial = oracle.create_trial("w")
            values = dict(trial.hyperparameters.values)
            alone.append(values)
            oracle.update_trial(trial.trial_id, {"score": values["x"] * values["y"]})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        assert alone == beside

    def test_the_model_is_left_to_who_has_one(self, tmp_path: Path) -> None:
        import keras_tuner
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF

        base = keras_tuner.oracles.BayesianOptimizationOracle

        class Own(base):  # type: ignore[misc, valid-type]
            def _make_gpr(self) -> Any:
                return GaussianProcessRegressor(RBF(), alpha=self.alpha)

        class Beginning(base):  # type: ignore[misc, valid-type]
            def populate_space(self, trial_id: str) -> Any:
                response = super().populate_space(trial_id)
                return {**response, "values": {**response["values"], "x": 0.125}}

        options: dict[str, Any] = {"objective": keras_tuner.Objective("score", "min"), "hyperparameters": x_and_y()}
        assert base(**options).cluster_ahead is not None
        assert Own(**options).cluster_ahead is None
        replaced = base(**options)
        replaced.gpr = GaussianProcessRegressor(RBF())
        assert replaced.cluster_ahead is None
        lent = base(**options)
        lent.populate_space = lambda trial_id: {"status": "STOPPED", "values": None}
        assert lent.cluster_ahead is None

        own = Own(**options, num_initial_points=2, seed=1)
        with open_search(tmp_path / "own", oracle=own) as search:
            run(search, lambda v: v["x"], trials=3)
            assert hasattr(own.gpr, "X_train_")  # it was asked
        beginning = Beginning(**options, num_initial_points=2, seed=1)
        assert beginning.cluster_ahead is None  # its answers are not the model's
        with open_search(tmp_path / "beginning", oracle=beginning) as search:
            assert {v["x"] for v in run(search, lambda v: v["y"], trials=4)} == {0.125}
            assert not hasattr(beginning.gpr, "X_train_")  # but the model that it asks is the fast one
