"""What a search borrows from Ray Tune, without a running Ray: proposals, what the searcher is told, refusals."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import resume
from cluster.errors import MissingDependency, UsageError
from cluster.oracles.latent import coordinates, values_at
from cluster.ray_backend import borrowed
from cluster.ray_backend.borrowed import Loan, check_names, check_program
from cluster.search import Answer, Grant
from tests.cluster.conftest import Clock, finish, make_oracle, make_tuner, open_search, take


class Stub:
    """A searcher like Ray's that gives the points it was made with, and remembers what it was told."""

    def __init__(self, *points: Any) -> None:
        self.points = list(points)
        self.asked: list[str] = []
        self.told: list[tuple[Any, ...]] = []

    def suggest(self, trial_id: str) -> Any:
        self.asked.append(trial_id)
        return self.points.pop(0) if self.points else "FINISHED"

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append(("epoch", trial_id, result["training_iteration"], result["objective"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.told.append(("end", trial_id, None if result is None else result["objective"], error))

    def add_evaluated_point(self, parameters: dict[str, float], value: float) -> None:
        self.told.append(("point", parameters, value))


class Forgetful(Stub):
    """One that cannot be told of what it has not proposed."""

    def add_evaluated_point(self, parameters: dict[str, float], value: float) -> None:
        raise NotImplementedError


def loan_of(stub: Stub, oracle: Any) -> Loan:
    return Loan("stub", lambda names: stub, oracle)


def conditional_oracle(trials: int = 3) -> Any:
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Choice("kind", ["narrow", "wide"])
    with space.conditional_scope("kind", ["wide"]):
        space.Int("extra", 1, 9, step=2)
    space.Float("rate", 1e-4, 1e-1, sampling="log")
    return make_oracle(trials=trials, hyperparameters=space)


def test_the_searcher_proposes_and_the_oracle_makes_the_trials(owned: None, tmp_path: Path) -> None:
    oracle = conditional_oracle(trials=2)
    points = [
        {"u:kind": 0.2, "u:extra": 0.9, "u:rate": 1 / 3},
        {"u:kind": 0.7, "u:extra": 0.9, "u:rate": 1.0},
    ]
    stub = Stub(*points)
    loan = loan_of(stub, oracle)
    with open_search(tmp_path, oracle=oracle) as search, loan.proposing():
        first, second = take(search, "a"), take(search, "b")
        assert [grant.trial.trial_id for grant in (first, second)] == ["0", "1"]
        found = first.trial.hyperparameters.values
        assert found == {"kind": "narrow", "rate": pytest.approx(1e-3)}, "what is not active has no value"
        assert second.trial.hyperparameters.values == {"kind": "wide", "extra": 9, "rate": pytest.approx(1e-1)}
        finish(search, first, score=0.5)
        loan.ended(search.trial("0"))
        loan.ended(search.trial("0"))
        finish(search, second, score=0.0, status="FAILED")
        loan.ended(search.trial("1"))
        assert search.next_trial("a", "a") is Answer.OVER
    assert stub.asked == ["0", "1"], "max_trials is the oracle's affair"
    assert stub.told == [("end", "0", 0.5, False), ("end", "1", None, True)]
    assert "populate_space" not in vars(oracle)


def test_a_trial_that_is_lost_is_the_same_to_the_searcher(owned: None, tmp_path: Path) -> None:
    oracle = conditional_oracle()
    stub = Stub({"u:kind": 0.7, "u:extra": 0.1, "u:rate": 0.5}, {"u:kind": 0.1, "u:extra": 0.1, "u:rate": 0.5})
    loan = loan_of(stub, oracle)
    with open_search(tmp_path, oracle=oracle) as search, loan.proposing():
        grant = take(search)
        loan.epoch("0", 1, 3.0)
        loan.epoch("0", 2, 2.0)
        search.lose_trainer("trainer of w", "killed")
        loan.ended(search.trial("0"))
        again = take(search)
        assert (again.trial.trial_id, again.attempt) == ("0", 2)
        assert again.trial.hyperparameters.values == grant.trial.hyperparameters.values
        for epochs, value in ((1, 3.0), (2, 2.0), (3, 1.0)):
            loan.epoch("0", epochs, value)
        finish(search, again, score=1.0)
        loan.ended(search.trial("0"))
        assert take(search).trial.trial_id == "1"
    assert stub.asked == ["0", "1"]
    assert stub.told == [
        ("epoch", "0", 1, 3.0),
        ("epoch", "0", 2, 2.0),
        ("epoch", "0", 3, 1.0),
        ("end", "0", 1.0, False),
    ]


def test_a_searcher_that_waits_for_results_is_asked_again(owned: None, tmp_path: Path, clock: Clock) -> None:
    oracle = make_oracle(trials=4)
    stub = Stub({"u:x": 0.0}, None, {"u:x": 1.0}, None)
    loan = loan_of(stub, oracle)
    with open_search(tmp_path, clock, oracle=oracle) as search, loan.proposing():
        first = take(search, "a")
        assert search.next_trial("b", "b") is Answer.WAIT
        finish(search, first)
        second = search.next_trial("b", "b")
        assert isinstance(second, Grant)
        assert second.trial.hyperparameters.values == {"x": 9}
        finish(search, second)
        third = take(search)  # nothing runs that it could wait for
        assert set(third.trial.hyperparameters.values) == {"x"}
        finish(search, third, score=2.0)
        loan.ended(search.trial("2"))
        assert [told[0] for told in stub.told] == ["point"]
        assert search.next_trial("b", "b") is Answer.OVER, "it says that it has finished"


def test_one_that_goes_on_is_told_of_the_trials_before(owned: None, tmp_path: Path) -> None:
    oracle = conditional_oracle()
    with open_search(tmp_path, oracle=oracle) as search, loan_of(stub_of(oracle, 2), oracle).proposing():
        done, lost = take(search, "a"), take(search, "b")
        finish(search, done, score=0.25)
    again = conditional_oracle()
    make_tuner(tmp_path, again)
    stub = Stub()
    loan = loan_of(stub, again)
    with open_search(tmp_path, oracle=again) as search, loan.proposing():
        [(kind, point, value)] = stub.told
        assert (kind, value) == ("point", 0.25)
        assert set(point) == set(coordinates(again.get_space().space))
        found = values_at(again.get_space(), point)
        rate = done.trial.hyperparameters.values["rate"]
        assert found == {**done.trial.hyperparameters.values, "rate": pytest.approx(rate)}
        grant = take(search)
        assert grant.trial.trial_id == lost.trial.trial_id
        assert stub.asked == []
        finish(search, grant, score=0.125)
        loan.ended(search.trial(grant.trial.trial_id))
        assert [told[0] for told in stub.told] == ["point", "point"], "it has not proposed the second one either"


def stub_of(oracle: Any, number: int) -> Stub:
    cube = coordinates(oracle.get_space().space)
    return Stub(*(dict.fromkeys(cube, (1 + index) / 4) for index in range(number)))


def test_one_that_cannot_be_told_begins_anew(owned: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    oracle = make_oracle()
    with open_search(tmp_path, oracle=oracle) as search:
        finish(search, take(search))
    with caplog.at_level(logging.INFO, "cluster"), loan_of(Forgetful(), oracle).proposing():
        pass
    assert "Ray's stub begins anew: it cannot be told of the 1 trials before" in caplog.text


def test_a_searcher_follows_a_space_that_grows(owned: None, tmp_path: Path) -> None:
    oracle = make_oracle(trials=4)
    first = Stub({"u:x": 0.0}, {"u:x": 0.5})
    second = Stub({"u:x": 1.0, "u:late": 1.0})
    cubes: list[list[str]] = []

    def make(names: list[str]) -> Stub:
        cubes.append(names)
        return (first, second)[len(cubes) - 1]

    loan = Loan("stub", make, oracle)
    with open_search(tmp_path, oracle=oracle) as search, loan.proposing():
        grant, running = take(search, "a"), take(search, "b")
        grant.trial.hyperparameters.Int("late", 3, 7)
        finish(search, grant, score=0.5)
        loan.ended(search.trial("0"))
        assert take(search, "a").trial.hyperparameters.values == {"x": 9, "late": 7}
        finish(search, running, score=0.25)
        loan.epoch("1", 1, 0.25)
        loan.ended(search.trial("1"))
    assert cubes == [["u:x"], ["u:x", "u:late"]]
    assert first.told == [("end", "0", 0.5, False)]
    assert [(kind, set(point), value) for kind, point, value in second.told] == [
        ("point", {"u:x", "u:late"}, 0.5),
        ("point", {"u:x", "u:late"}, 0.25),
    ], "what the first has proposed, too"


def test_one_that_cannot_be_told_keeps_its_space(owned: None, tmp_path: Path) -> None:
    oracle = make_oracle(trials=9)
    stub = Forgetful(*({"u:x": 0.0} for _ in range(9)))
    loan = loan_of(stub, oracle)
    with open_search(tmp_path, oracle=oracle) as search, loan.proposing():
        grant = take(search)
        grant.trial.hyperparameters.Int("late", 3, 7)
        finish(search, grant, score=0.5)
        loan.ended(search.trial("0"))
        found = []
        for _ in range(8):
            found.append(take(search))
            finish(search, found[-1], score=0.5)
    late = [grant.trial.hyperparameters.values["late"] for grant in found]
    assert len(set(late)) > 1, "drawn at random"
    assert set(late) <= set(range(3, 8))
    assert stub.told == [("end", "0", 0.5, False)]


# --- refusals


@pytest.mark.parametrize(
    ("scheduler", "search", "text"),
    [
        ("nonsense", "", "--ray-scheduler 'nonsense' is none of asha, median"),
        ("pbt", "", "it goes on from another trial's weights with other hyperparameters"),
        ("", "nonsense", "--ray-search 'nonsense' is none of ax, bayesopt, hebo, hyperopt, optuna"),
        ("", "bohb", "it needs a scheduler of its own"),
    ],
)
def test_names_that_are_not_offered(scheduler: str, search: str, text: str) -> None:
    with pytest.raises(UsageError, match="is none of") as refused:
        check_names(scheduler, search)
    assert text in str(refused.value)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(borrowed.SEARCHERS, "hebo", ("no_such_module", "HEBO"))
    with pytest.raises(MissingDependency, match="--ray-search hebo needs a package: pip install HEBO"):
        check_names("", "hebo")


@pytest.mark.parametrize(
    ("kind", "options", "executions", "scheduler", "search", "text"),
    [
        ("HyperbandOracle", {}, 1, "asha", "", "--ray-scheduler asha does not go with HyperbandOracle"),
        ("HyperbandOracle", {}, 1, "", "optuna", "--ray-search optuna does not go with HyperbandOracle"),
        ("GridSearchOracle", {}, 1, "", "optuna", "does not go with GridSearchOracle"),
        ("RandomSearchOracle", {}, 2, "median", "", "does not go with executions_per_trial=2"),
        ("RandomSearchOracle", {"objective": ["loss", "val_loss"]}, 1, "asha", "", "this search has several"),
        ("RandomSearchOracle", {"objective": ["loss", "val_loss"]}, 1, "", "optuna", "this search has several"),
        ("RandomSearchOracle", {"hyperparameters": None}, 1, "", "optuna", "needs the space before the first trial"),
    ],
)
def test_what_does_not_go_together(
    owned: None, kind: str, options: dict[str, Any], executions: int, scheduler: str, search: str, text: str
) -> None:
    tuner = SimpleNamespace(oracle=make_oracle(kind, **options), executions_per_trial=executions)
    with pytest.raises(UsageError) as refused:
        check_program(tuner, scheduler, search)
    assert text in str(refused.value)


def test_an_oracle_that_makes_its_trials_itself_borrows_no_searcher(owned: None) -> None:
    import keras_tuner

    class Own(keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
        def create_trial(self, tuner_id: str) -> Any:
            return super().create_trial(tuner_id)

    tuner = SimpleNamespace(oracle=Own(objective="loss"))
    with pytest.raises(UsageError, match="Own, which makes its trials in its own way"):
        check_program(tuner, "", "optuna")
    check_program(tuner, "asha", "")


@pytest.mark.parametrize("kind", ["RandomSearchOracle", "BayesianOptimizationOracle"])
def test_what_goes_together(owned: None, kind: str) -> None:
    check_program(SimpleNamespace(oracle=make_oracle(kind)), "asha", "optuna")


def test_grid_search_may_be_stopped_early(owned: None) -> None:
    check_program(SimpleNamespace(oracle=make_oracle("GridSearchOracle")), "median", "")


# --- what a trial could end with


def session_of(tmp_path: Path, history: dict[str, list[float]]) -> Any:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from cluster.ray_backend.remote import TrialSession
    from cluster.rpc.codec import trial_to_json

    oracle = make_oracle()
    oracle._set_project_dir(str(tmp_path), "project")
    trial = oracle.create_trial("w")
    folder = tmp_path / "trial"
    place = folder / resume.FOLDER / "attempt-2"
    place.mkdir(parents=True)
    (place / resume.STATE).write_text(json.dumps({"history": history}))
    return TrialSession(oracle, Grant(trial, 2), folder, trial_to_json)


def sent(session: Any, epoch: int) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    session.report_epoch("0", 2, epoch, {})
    session.report(found.append)
    return found[0]


def test_an_epoch_tells_what_the_trial_would_end_with(owned: None, tmp_path: Path) -> None:
    session = session_of(tmp_path, {"score": [3.0, 1.0, 2.0], "loss": [6.0, 5.0, 4.0]})
    told = sent(session, 2)
    assert (told["objective"], told["epochs"], told["epoch"]) == (2.0, 3, 2)
    assert json.loads(told["so_far"])["updates"] == [[{"score": 1.0, "loss": 5.0}, 1]], "its best epoch"
    assert json.loads(json.loads(told["so_far"])["trial"])["trial_id"] == "0"


@pytest.mark.parametrize(
    ("history", "epoch"),
    [({}, 0), ({"loss": [1.0]}, 0), ({"score": [1.0, 2.0]}, 0), ({"score": [1.0]}, 1), ({"score": [float("nan")]}, 0)],
)
def test_a_trial_that_could_not_end_here_is_not_compared(
    owned: None, tmp_path: Path, history: dict[str, list[float]], epoch: int
) -> None:
    assert sent(session_of(tmp_path, history), epoch) == {"epoch": epoch, "of": 0, "logs": "{}"}
