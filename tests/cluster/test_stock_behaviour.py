"""What KerasTuner's own tests ask of its distributed mode, asked of our chief: by our client and by a stock one.

The sections bear the names of KerasTuner's test files. The words and the programs are ours.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster import seams
from cluster.address import check_address
from cluster.chief import Chief, Description, Host
from cluster.errors import SearchFailed, UsageError
from cluster.policy import Policy
from cluster.program import Identity
from cluster.roles import ChiefRole, WorkerRole
from cluster.rpc.client import ChiefClient, RemoteSession
from cluster.rpc.guard import StockClients
from cluster.rpc.server import serve
from cluster.search import Search
from cluster.trainer import OracleProxy
from cluster.worker import default_name
from tests.access import CALLER, guard
from tests.cluster.conftest import open_search

PROGRAM = Identity("tune.py", (), "abc")
DESCRIPTION = Description("T", "O", "score (max)", 10, "results/x", ())
KINDS = ["ours", "stock"]


def space() -> Any:
    import keras_tuner

    found = keras_tuner.HyperParameters()
    found.Int("units", 0, 10, default=3)
    found.Choice("kind", ["a", "b", "c"])
    return found


def oracle(**options: Any) -> Any:
    """A random search for the highest score, of ten trials."""
    import keras_tuner

    objective = keras_tuner.Objective("score", "max")
    return keras_tuner.oracles.RandomSearchOracle(**{"objective": objective, "max_trials": 10, "seed": 3, **options})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """A free port, which KerasTuner's variables name too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(port))
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
    return f"127.0.0.1:{port}"


@dataclass
class Served:
    """A chief that serves a search, and a client of one kind or the other: both have KerasTuner's methods."""

    search: Search
    client: Any


@contextlib.contextmanager
def serving(directory: Path, address: str, kind: str, oracle_here: Any, own: Any) -> Iterator[Served]:
    from keras_tuner.src.distribute import oracle_client

    chief = Chief(PROGRAM)
    connection = ChiefClient(address, CALLER, patience=20.0)
    with open_search(directory, oracle=oracle_here) as search:
        chief.begin(search, DESCRIPTION)
        server = serve(chief, Policy(), address, guard(StockClients.LOOPBACK))
        session = RemoteSession(connection, 0, "worker0", "trainer0")
        proxy = OracleProxy(own, session, seams.trial_class())
        yield Served(search, proxy if kind == "ours" else oracle_client.OracleClient(own))
        connection.close()
        server.stop(0).wait()


@pytest.fixture(params=KINDS)
def served(tmp_path: Path, address: str, owned: None, request: pytest.FixtureRequest) -> Iterator[Served]:
    """A search over the space above."""
    with serving(tmp_path, address, request.param, oracle(hyperparameters=space()), oracle()) as found:
        yield found


# --- distribute/oracle_chief_test.py


def test_a_client_reads_the_chiefs_space(served: Served) -> None:
    found = served.client.get_space()
    assert {hp.name for hp in found.space} == {"units", "kind"}
    assert found.values == {"units": 3, "kind": "a"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_adds_to_the_space(tmp_path: Path, address: str, owned: None, kind: str) -> None:
    with serving(tmp_path, address, kind, oracle(), oracle()) as served:
        assert served.client.get_space().space == []
        served.client.update_space(space())
        served.client.update_space(space())
        found = served.client.get_space()
        assert len(found.space) == 2
        assert found.values == {"units": 3, "kind": "a"}
        assert {hp.name for hp in served.search.space().space} == {"units", "kind"}


def test_a_client_gets_a_trial_with_values_of_the_space(served: Served) -> None:
    trial = served.client.create_trial("worker0")
    assert trial.status == "RUNNING"
    assert trial.hyperparameters.get("units") in range(11)
    assert trial.hyperparameters.get("kind") in {"a", "b", "c"}
    assert trial.hyperparameters.values == served.search.trial(trial.trial_id).hyperparameters.values


def test_a_metric_is_kept_with_its_step(served: Served) -> None:
    trial = served.client.create_trial("worker0")
    assert not trial.metrics.exists("score")
    served.client.update_trial(trial.trial_id, {"score": 1}, step=2)
    for found in (served.client.get_trial(trial.trial_id), served.search.trial(trial.trial_id)):
        assert [(x.value, x.step) for x in found.metrics.get_history("score")] == [([1.0], 2)]


def test_the_status_of_an_end_is_kept(served: Served) -> None:
    trial = served.client.create_trial("worker0")
    served.client.update_trial(trial.trial_id, {"score": 1}, step=2)
    trial.status = "FAILED"
    served.client.end_trial(trial)
    assert served.client.get_trial(trial.trial_id).status == "FAILED"
    assert served.search.trial(trial.trial_id).status == "FAILED"


def test_the_best_trials_come_in_their_order(served: Served) -> None:
    scores = {}
    for score in [4, 9, 0, 2, 7, 1, 8, 3, 6, 5]:
        trial = served.client.create_trial("worker0")
        assert trial.status == "RUNNING"
        assert set(trial.hyperparameters.values) == {"units", "kind"}
        served.client.update_trial(trial.trial_id, {"score": score})
        trial.status = "COMPLETED"
        served.client.end_trial(trial)
        scores[trial.trial_id] = score
    assert len(scores) == 10
    best = served.client.get_best_trials(3)
    assert [trial.score for trial in best] == [9, 8, 7]
    assert [scores[trial.trial_id] for trial in best] == [9, 8, 7]
    assert served.client.create_trial("worker0").status == "STOPPED"


# --- whole programs: a chief and workers, each in a thread


class Stock:
    """A worker whose tuner has KerasTuner's own client, and KerasTuner's own loop."""

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        from keras_tuner.src.distribute import oracle_client

        tuner.oracle = oracle_client.OracleClient(tuner.oracle)
        loop()


class Workers:
    """The role of all workers of this process: each tuner's search is its own worker's.

    Args:
        roles: The worker of each name.
    """

    owns_files = False
    tuner_id = ""

    def __init__(self, roles: dict[str, Any]) -> None:
        self.roles = roles

    def prepare(self, project: Path, overwrite: bool) -> None:
        """The files are the chief's."""

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        self.roles[tuner.tuner_id].search(tuner, loop)


class Cluster:
    """A chief and workers of one kind, which run the same program.

    Args:
        address: Where the chief listens.
        make: Makes the program's tuner.
        kind: What the workers are.
        workers: How many there are.
        arguments: What the program gives to `tuner.search()`.
    """

    def __init__(
        self, address: str, make: Callable[[], Any], kind: str, workers: int, arguments: dict[str, Any] | None = None
    ) -> None:
        self.chief = Chief(PROGRAM)
        self.names = [f"worker{number}" for number in range(workers)]
        self.tuners: dict[str, Any] = {}
        self.left = threading.Event()  # the chief has
        self._address = address
        self._make = make
        self._kind = kind
        self._arguments = arguments or {}

    @contextlib.contextmanager
    def running(self) -> Iterator[tuple[futures.Future[None], list[futures.Future[None]]]]:
        """The chief's call of `tuner.search()` and each worker's; while open, the chief answers."""
        role = ChiefRole(self.chief, Policy())
        connection = ChiefClient(self._address, CALLER, patience=20.0)
        roles = {
            x: WorkerRole(connection, x, f"trainer of {x}") if self._kind == "ours" else Stock() for x in self.names
        }
        workers = Workers(roles)
        server = serve(self.chief, Policy(), self._address, guard(StockClients.LOOPBACK))
        with seams.installed(role):
            mine = self._make()
        with seams.installed(workers), futures.ThreadPoolExecutor() as pool:
            for name in self.names:
                workers.tuner_id = name
                self.tuners[name] = self._make()
                if self._kind == "ours":
                    self.chief.join(name, name, Host("here"), PROGRAM)

            def serve_search() -> None:
                role.search(mine, lambda: None)
                self.chief.finish(20.0)
                self.left.set()

            def work(name: str) -> None:
                try:
                    self.tuners[name].search(**self._arguments)
                finally:  # as a supervisor does, however its trainer ends
                    self.chief.left(name, name, "its program has ended", counted=False)

            calls = [pool.submit(work, name) for name in self.names]
            yield pool.submit(serve_search), calls
        connection.close()
        server.stop(0).wait()
        role.release()


def scores_tuner(directory: Path, **options: Any) -> Any:
    """A tuner whose model is a number, kept in a file of the trial's."""
    import keras_tuner

    class Scores(keras_tuner.engine.base_tuner.BaseTuner):  # type: ignore[misc]
        def run_trial(self, trial: Any) -> dict[str, float]:
            score = self.hypermodel.build(trial.hyperparameters)
            self.save_model(trial.trial_id, score)
            return {"score": score}

        def save_model(self, trial_id: str, model: Any, step: int = 0) -> None:
            (Path(self.get_trial_dir(trial_id)) / "model.txt").write_text(str(model))

        def load_model(self, trial: Any) -> int:
            return int((Path(self.get_trial_dir(trial.trial_id)) / "model.txt").read_text())

    return Scores(
        oracle=oracle(**options),
        hypermodel=lambda hp: hp.Int("units", 1, 100),
        directory=str(directory),
        project_name="project",
    )


# --- distribute/oracle_client_test.py


@pytest.mark.parametrize("kind", KINDS)
def test_a_tuner_without_keras_on_three_workers(tmp_path: Path, address: str, kind: str) -> None:
    cluster = Cluster(address, lambda: scores_tuner(tmp_path), kind, workers=3)
    with cluster.running() as (chief, calls):
        for call in calls:
            call.result(timeout=30)
        chief.result(timeout=30)
        for tuner in cluster.tuners.values():
            models = tuner.get_best_models(10)
            assert len(models) == 10
            assert models == sorted(models, reverse=True)
        [(search, _)] = cluster.chief.searches
    prefix = "" if kind == "ours" else "stock "
    assert sum(search.granted.values()) == 10
    assert set(search.granted) <= {prefix + name for name in cluster.names}


@pytest.mark.parametrize("kind", KINDS)
def test_a_keras_tuner_on_a_worker(tmp_path: Path, address: str, kind: str) -> None:
    import keras
    import keras_tuner
    import numpy

    def build(hp: Any) -> Any:
        layers = [keras.layers.Input((5,))]
        layers += [keras.layers.Dense(hp.Int(f"units {n}", 1, 3), "relu") for n in range(hp.Int("layers", 1, 2))]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def make() -> Any:
        return keras_tuner.RandomSearch(
            build, "val_loss", max_trials=3, seed=2, directory=str(tmp_path), project_name="project"
        )

    x, y = numpy.random.default_rng(1).uniform(-1, 1, (4, 5)), numpy.ones((4, 1))
    fit = {"x": x, "y": y, "validation_data": (x, y), "batch_size": 2, "verbose": 0}
    cluster = Cluster(address, make, kind, workers=1, arguments=fit)
    with cluster.running() as (chief, [call]):
        call.result(timeout=60)
        chief.result(timeout=30)
        tuner = cluster.tuners["worker0"]
        trials = tuner.oracle.get_best_trials(3)
        assert [trial.status for trial in trials] == ["COMPLETED"] * 3
        assert trials[0].score <= trials[1].score <= trials[2].score
        losses = [model.evaluate(x, y, verbose=0) for model in tuner.get_best_models(2)]
        assert losses == pytest.approx([trial.score for trial in trials[:2]])


def test_a_name_that_nobody_knows_is_an_attribute_error(served: Served) -> None:
    with pytest.raises(AttributeError, match="no attribute"):
        _ = served.client.unknown
    assert served.client.max_trials == 10, "what the program gave to its oracle is there"
    assert served.client.objective.name == "score"


def test_a_client_that_should_not_report_tells_the_chief_nothing(tmp_path: Path, address: str, owned: None) -> None:
    """All but one member of a distribution strategy over several processes, which stock clients alone can be: a worker
    of ours has its trial to itself.
    """
    with serving(tmp_path, address, "stock", oracle(hyperparameters=space()), oracle()) as served:
        trial = served.client.create_trial("worker0")
        served.client.should_report = False
        assert served.client.update_trial(trial.trial_id, {"score": 100}).status == "RUNNING"
        trial.status = "COMPLETED"
        served.client.end_trial(trial)
        kept = served.search.trial(trial.trial_id)
        assert (kept.status, kept.metrics.exists("score")) == ("RUNNING", False)


# --- distribute/utils_test.py


@pytest.mark.parametrize("missing", ["KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"])
def test_variables_that_are_half_there_are_named_or_mean_nothing(
    address: str, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """KerasTuner's own mode names the variable; under the launcher none of them gives a role."""
    from keras_tuner.src.distribute import utils

    monkeypatch.delenv(missing)
    with pytest.raises(RuntimeError, match=missing):
        utils.has_chief_oracle()
    with seams.installed(Workers({})):
        assert not utils.has_chief_oracle()
        assert not utils.is_chief_oracle()


def test_a_worker_needs_a_whole_address_and_has_a_name(address: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        check_address("127.0.0.1")
    assert check_address(address) == address
    assert default_name() != default_name()


# --- test_utils/mock_distribute_test.py


@pytest.mark.parametrize("kind", KINDS)
def test_every_process_has_a_name_of_its_own(tmp_path: Path, address: str, kind: str) -> None:
    everyone = threading.Barrier(3)
    ran: list[str] = []

    def make() -> Any:
        tuner = scores_tuner(tmp_path, max_trials=3)

        def run_trial(trial: Any) -> float:
            everyone.wait(20)  # each of the three has one of the three trials
            ran.append(tuner.tuner_id)
            return 1.0

        tuner.run_trial = run_trial
        return tuner

    cluster = Cluster(address, make, kind, workers=3)
    with cluster.running() as (chief, calls):
        for call in [*calls, chief]:
            call.result(timeout=30)
        [(search, _)] = cluster.chief.searches
    assert sorted(ran) == cluster.names
    prefix = "" if kind == "ours" else "stock "
    assert search.granted == {prefix + name: 1 for name in cluster.names}
    assert os.environ["KERASTUNER_TUNER_ID"] == "worker0", "as it was before"


def test_an_error_on_a_worker_reaches_the_chief_and_the_others(tmp_path: Path, address: str) -> None:
    import keras_tuner

    def make() -> Any:
        tuner = scores_tuner(tmp_path, max_trials=1)

        def run_trial(trial: Any) -> float:
            time.sleep(0.3)  # the other worker waits for a trial
            raise keras_tuner.errors.FatalError("a worker's own words")

        tuner.run_trial = run_trial
        return tuner

    cluster = Cluster(address, make, "ours", workers=2)
    with cluster.running() as (chief, calls):
        for call in [*calls, chief]:
            with pytest.raises(SearchFailed, match="a worker's own words"):
                call.result(timeout=30)


def test_an_error_on_the_chief_reaches_the_workers(tmp_path: Path, address: str) -> None:
    def make() -> Any:
        tuner = scores_tuner(tmp_path)

        def broken(trial_id: str) -> Any:
            raise ZeroDivisionError("the chief's own words")

        tuner.oracle.populate_space = broken
        return tuner

    cluster = Cluster(address, make, "ours", workers=2)
    with cluster.running() as (chief, calls):
        with pytest.raises(ZeroDivisionError, match="the chief's own words"):
            chief.result(timeout=30)
        for call in calls:
            with pytest.raises(SearchFailed, match="the chief's own words"):
                call.result(timeout=30)


# --- engine/base_tuner_test.py


@pytest.mark.parametrize("kind", KINDS)
def test_the_chief_waits_for_its_workers(tmp_path: Path, address: str, kind: str) -> None:
    """One trial and two workers: the end of the trial takes its time, and nobody is cut off in it."""

    def make() -> Any:
        tuner = scores_tuner(tmp_path, max_trials=1)
        end_trial = tuner.oracle.end_trial

        def slow(trial: Any) -> None:
            end_trial(trial)
            time.sleep(1.0)

        tuner.oracle.end_trial = slow
        return tuner

    cluster = Cluster(address, make, kind, workers=2)
    with cluster.running() as (chief, calls):
        time.sleep(0.5)
        assert not cluster.left.is_set()
        for call in calls:
            call.result(timeout=20)
        chief.result(timeout=20)
        [(search, _)] = cluster.chief.searches
        assert [trial["status"] for trial in search.state()["trials"]] == ["COMPLETED"]
