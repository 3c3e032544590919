"""A long search: what is written at each step is little, and tells as much as the whole would."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import seams, state
from cluster.policy import Policy
from cluster.rpc import codec
from cluster.search import Answer, Grant, Search
from cluster.state import EventLog
from tests.cluster.conftest import Clock, OwnerRole, finish, make_oracle, make_tuner, on_disk, open_search, take

POLICY = Policy(max_failures=999, losses_in_a_row=None)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No write waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def space(step: float | None = None) -> Any:
    import keras_tuner

    found = keras_tuner.HyperParameters()
    found.Float("x", 0.0, 1.0, step=step)
    found.Choice("kind", ["a", "b"])
    with found.conditional_scope("kind", ["b"]):
        found.Int("units", 1, 3)
    return found


def random_search() -> Any:
    return make_oracle("RandomSearchOracle", trials=24, hyperparameters=space(0.1), max_retries_per_trial=1)


def grid() -> Any:
    return make_oracle("GridSearchOracle", trials=None, hyperparameters=space(0.25), max_retries_per_trial=1)


def hyperband() -> Any:
    options = {"max_epochs": 9, "factor": 3, "hyperband_iterations": 2, "max_retries_per_trial": 1}
    return make_oracle("HyperbandOracle", hyperparameters=space(), **options)


def bayesian() -> Any:
    options = {"num_initial_points": 3, "max_retries_per_trial": 1}
    return make_oracle("BayesianOptimizationOracle", trials=6, hyperparameters=space(), **options)


def own() -> Any:
    """A program's own oracle, of which nothing is known."""
    import keras_tuner

    class OwnOracle(keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
        proposed = 0

        def populate_space(self, trial_id: str) -> Any:
            self.proposed += 1
            return super().populate_space(trial_id)

        def get_state(self) -> dict[str, Any]:
            return {**super().get_state(), "proposed": self.proposed}

        def set_state(self, saved: dict[str, Any]) -> None:
            super().set_state(saved)
            self.proposed = saved["proposed"]

    objective = keras_tuner.Objective("score", "min")
    return OwnOracle(objective, max_trials=12, hyperparameters=space(), seed=5, max_retries_per_trial=1)


KINDS: list[Callable[[], Any]] = [random_search, grid, hyperband, bayesian, own]
GROW = [random_search, hyperband, own]  # KerasTuner's others fail where a trial adds to the space late
every_oracle = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def plain(saved: dict[str, Any]) -> dict[str, Any]:
    """A state as JSON has it, without what does not count: the order of a set, and the mark."""
    found: dict[str, Any] = json.loads(json.dumps(saved))
    found["tried_so_far"] = sorted(found["tried_so_far"])
    found.pop("journal", None)
    found["run_times"] = {x: n for x, n in found["run_times"].items() if n}
    return found


def score(trial: Any) -> float:
    values = trial.hyperparameters.values
    return float((values["x"] - 0.3) ** 2 + 0.1 * values.get("units", 0) + (values["kind"] == "b"))


def steps(search: Search, dice: random.Random, *, grows: bool, workers: int = 3) -> Iterator[str]:
    """A search to its end: workers come and go, trials fail, the space grows. Yields after each write."""
    held: dict[str, Grant] = {}
    grown = 0
    for _ in range(400):
        worker = f"w{dice.randrange(workers)}"
        grant = held.pop(worker, None)
        chance = dice.random()
        if grant is None:
            answer = search.next_trial(worker, worker)
            if answer is Answer.OVER:
                return
            if isinstance(answer, Grant):
                held[worker] = answer
                yield "granted"
            search._dry_until = 0.0
        elif chance < 0.1:
            search.lose_worker(worker, "gone", counted=False)
            yield "lost"
        elif chance < 0.25:
            grant.trial.message = "no"
            finish(search, grant, status=dice.choice(["INVALID", "FAILED"]))
            yield "failed"
        else:
            if chance < 0.35 and grown < 2 and grows:
                grown += 1
                grant.trial.hyperparameters.Choice(f"new{grown}", [1, 2])
            finish(search, grant, score(grant.trial))
            yield "ended"
    raise AssertionError("the search did not end")


@pytest.mark.usefixtures("owned")
@every_oracle
@pytest.mark.parametrize("seed", range(2))
def test_the_disk_tells_the_oracles_state_after_each_step(
    tmp_path: Path, kind: Callable[[], Any], seed: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.seams.journal.OFTEN", 11)
    dice = random.Random(seed)
    with open_search(tmp_path, clock, kind(), POLICY) as search:
        for step in steps(search, dice, grows=kind in GROW):
            assert plain(on_disk(tmp_path / "project")) == plain(search.state()["oracle"]), step
        assert search.failure is None
        assert search.over


class PowerCut(BaseException):
    """Everything in memory is gone."""


class Disk:
    """Loses power before one of the writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        save, append = state.write_atomically, EventLog.append

        def write_atomically(path: Any, text: str) -> None:
            self.write()
            save(path, text)

        def append_event(log: EventLog, event: str, **fields: Any) -> None:
            self.write()
            append(log, event, **fields)

        monkeypatch.setattr(state, "write_atomically", write_atomically)
        monkeypatch.setattr(EventLog, "append", append_event)

    def write(self) -> None:
        if self.left == 0:
            raise PowerCut
        self.left -= 1


LEFT: list[
    contextlib.AbstractContextManager[Search]
] = []  # searches that are never closed: who has lost power writes nothing


def open_and_leave(directory: Path, oracle: Any) -> Search:
    """A search whose process will be killed."""
    LEFT.append(open_search(directory, Clock(), oracle, POLICY, after_crash=True))
    return LEFT[-1].__enter__()


@pytest.fixture(autouse=True)
def left() -> Iterator[None]:
    """Closes them when all is over."""
    yield
    while LEFT:
        LEFT.pop().__exit__(None, None, None)


def run(directory: Path, kind: Callable[[], Any], disk: Disk, cut_every: int | None) -> list[Any]:
    """One worker's search, whose chief loses power at every so manieth write; returns what was proposed, in order."""
    found: dict[str, Any] = {}

    def start() -> Search:
        disk.left = 10**9
        search = open_and_leave(directory, kind())
        disk.left = 10**9 if cut_every is None else cut_every
        return search

    search = start()

    def update(trial_id: str, attempt: int, metrics: dict[str, float]) -> None:
        search.update_trial(trial_id, attempt, metrics, 0)

    def end(trial: Any, attempt: int) -> None:
        search.end_trial(trial, attempt)

    def call(method: Callable[[], Any]) -> Any:
        nonlocal search
        while True:
            try:
                return method()
            except PowerCut:
                search = start()

    for number in range(500):
        grant = call(lambda: search.next_trial("w", "t"))
        if grant is Answer.OVER:
            return list(found.items())
        trial, attempt = codec.trial_from_json(codec.trial_to_json(grant.trial)), grant.attempt
        found.setdefault(trial.trial_id, dict(trial.hyperparameters.values))
        assert found[trial.trial_id] == dict(trial.hyperparameters.values)
        if number == 4 and kind is random_search:  # Hyperband gives what is new to old trials a value by chance
            trial.hyperparameters.Choice("new", [1, 2])
        if number % 5 != 3:
            reported = {"score": score(trial)}
            call(functools.partial(update, trial.trial_id, attempt, reported))
        trial.status = "INVALID" if number % 5 == 3 else "COMPLETED"
        call(functools.partial(end, trial, attempt))
    raise AssertionError("the search did not end")


@pytest.mark.usefixtures("owned")
@every_oracle
def test_a_chief_that_loses_power_at_any_write_goes_on_with_the_same_proposals(
    tmp_path: Path, kind: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.seams.journal.OFTEN", 7)
    disk = Disk(monkeypatch)
    undisturbed = run(tmp_path / "undisturbed", kind, disk, None)
    assert len(undisturbed) > 5
    for cut_every in (3, 5) if kind is bayesian else range(3, 11):  # each proposal by a model takes a second
        assert run(tmp_path / f"cut{cut_every}", kind, disk, cut_every) == undisturbed, cut_every


@pytest.mark.usefixtures("owned")
def test_a_search_twice_as_long_writes_twice_as_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, int] = {}
    save, append = state.write_atomically, EventLog.append

    def write_atomically(path: Any, text: str) -> None:
        written["saved"] = written.get("saved", 0) + len(text)
        save(path, text)

    def append_event(log: EventLog, event: str, **fields: Any) -> None:
        written["events"] = written.get("events", 0) + len(json.dumps(fields))
        append(log, event, **fields)

    monkeypatch.setattr(state, "write_atomically", write_atomically)
    monkeypatch.setattr(EventLog, "append", append_event)
    totals = []
    for trials in (400, 800):
        written.clear()
        with open_search(tmp_path / str(trials), oracle=make_oracle(trials=trials, hyperparameters=space())) as search:
            for _ in range(trials):
                finish(search, take(search), 1.0)
        totals.append(sum(written.values()))
    assert totals[1] < 2.2 * totals[0], totals


@pytest.mark.usefixtures("owned")
def test_an_oracle_of_the_programs_own_is_saved_whole_at_each_step(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=own()) as search:
        take(search)
        saved = json.loads((tmp_path / "project" / "oracle.json").read_text())
        assert (saved["proposed"], saved["start_order"], saved["ongoing_trials"]) == (1, ["00"], {"w": "00"})
        [grant] = [e for e in EventLog(tmp_path / "project").read() if e["event"] == "grant"]
        assert "change" not in grant


def test_stock_kerastuner_reloads_what_a_crash_has_left(tmp_path: Path) -> None:
    """The oracle's file is older than the trials': KerasTuner finds them all, without the launcher."""
    with seams.installed(OwnerRole()):
        search = open_and_leave(tmp_path, make_oracle(trials=9))
        for _ in range(5):
            finish(search, take(search))
        take(search)
    assert json.loads((tmp_path / "project" / "oracle.json").read_text())["start_order"] == []
    tuner = make_tuner(tmp_path, make_oracle(trials=9))
    tuner.reload()
    assert [x.status for x in tuner.oracle.get_best_trials(5)] == ["COMPLETED"] * 5
    assert tuner.oracle.create_trial("w").trial_id == "6"


def test_what_stock_kerastuner_has_saved_since_is_not_changed_back(tmp_path: Path) -> None:
    with seams.installed(OwnerRole()):
        search = open_and_leave(tmp_path, make_oracle(trials=9))
        finish(search, take(search))
    tuner = make_tuner(tmp_path, make_oracle(trials=9))
    tuner.reload()
    tuner.oracle.start_order = tuner.oracle.end_order = ["0"]
    tuner.oracle._seed_state = 77
    tuner.oracle.save()
    assert on_disk(tmp_path / "project")["seed_state"] == 77


@pytest.mark.usefixtures("owned")
def test_a_search_that_was_stopped_in_order_has_its_oracle_whole(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=make_oracle(trials=9)) as search:
        finish(search, take(search))
        take(search)
        search.give_back("stopped")
    saved = json.loads((tmp_path / "project" / "oracle.json").read_text())
    assert (saved["start_order"], saved["end_order"], saved["retry_queue"]) == (["0", "1"], ["0"], ["1"])
    assert saved["ongoing_trials"] == {}


@pytest.mark.parametrize("kind", [random_search, grid], ids=["random_search", "grid"])
def test_what_stock_kerastuner_goes_on_from_loses_no_result(tmp_path: Path, kind: Callable[[], Any]) -> None:
    """It reads the oracle's file, which is older than the trials, and saves it with a gap."""
    with seams.installed(OwnerRole()):
        search = open_and_leave(tmp_path, kind())
        for _ in range(3):
            finish(search, take(search))
        scores = {x: trial.score for x, trial in search._owned.oracle.trials.items()}
    tuner = make_tuner(tmp_path, kind())
    tuner.reload()
    trial = tuner.oracle.create_trial("stock")
    trial.status = "FAILED"
    tuner.oracle.end_trial(trial)
    tuner.oracle.save()
    assert set(on_disk(tmp_path / "project")["start_order"]) != {*scores, trial.trial_id}, "a gap"
    with seams.installed(OwnerRole()), open_search(tmp_path, oracle=kind()) as search:
        trials = search._owned.oracle.trials
        assert {x: trials[x].score for x in scores} == scores
        assert sorted(search._owned.oracle.start_order) == sorted(trials) == sorted({*scores, trial.trial_id})
        grant = take(search)
        assert int(grant.trial.trial_id) == len(scores) + 1
        finish(search, grant)


@pytest.mark.usefixtures("owned")
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        *((kind, "COMPLETED") for kind in (random_search, grid, hyperband, bayesian)),
        *((kind, "running") for kind in (random_search, hyperband, bayesian)),  # a grid waits for what runs
    ],
)
def test_a_grant_that_is_damaged_in_the_log_loses_no_trial(
    tmp_path: Path, kind: Callable[[], Any], status: str
) -> None:
    search = open_and_leave(tmp_path, kind())
    ids = []
    for number in range(4):
        grant = take(search, f"w{number}")
        ids.append(grant.trial.trial_id)
        if number != 1 or status == "COMPLETED":
            finish(search, grant)
    path = tmp_path / "project" / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    at = next(n for n, x in enumerate(lines) if '"grant"' in x and json.loads(x)["trial"] == ids[1])
    lines[at] = "#" + lines[at]
    path.write_text("".join(lines))
    with open_search(tmp_path, oracle=kind(), policy=POLICY) as search:
        trials = search._owned.oracle.trials
        assert {x: trials[x].status for x in ids if x != ids[1]} == dict.fromkeys([ids[0], *ids[2:]], "COMPLETED")
        if status == "running":
            grant = take(search)
            assert grant.trial.trial_id == ids[1], "it runs again"
            finish(search, grant)
        assert trials[ids[1]].status == "COMPLETED"
        grant = take(search)
        assert grant.trial.trial_id not in ids
        finish(search, grant)
