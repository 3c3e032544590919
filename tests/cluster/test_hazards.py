"""What is wrong in KerasTuner's own distributed mode, one test for each hazard, named after it.

Where it can be shown in a moment, the first half of a test shows that stock KerasTuner has the problem: outside of
`seams.installed` it is stock. Where not, the test says why. The first test holds that none of the list is skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

import cluster
from cluster import seams
from cluster.chief import Chief, Description, Host
from cluster.devices import Gpu, Gpus
from cluster.errors import CannotListen, ChiefUnreachable, DirectoryError, LeaseLost, SearchFailed
from cluster.placement import Placement
from cluster.policy import Policy
from cluster.program import Identity
from cluster.roles import LocalRole, WorkerRole, describe
from cluster.rpc import cluster_pb2 as pb
from cluster.rpc.client import ChiefClient, RemoteSession
from cluster.rpc.guard import StockClients
from cluster.rpc.server import serve
from cluster.search import Answer, Grant, Search
from cluster.slots import SlotDirectory
from cluster.state import hold_project
from cluster.trainer import RECYCLED, Leave, OracleProxy
from tests.access import CALLER, guard
from tests.cluster.conftest import Clock, OwnerRole, finish, make_oracle, make_tuner, open_search, take

HAZARDS = {f"h{number:02}" for number in range(1, 30)}
PROGRAM = Identity("tune.py", (), "abc")
DESCRIPTION = Description("T", "O", "score (min)", 3, "results/x", ())


def test_no_hazard_is_skipped() -> None:
    assert {found[1] for name in globals() if (found := re.match(r"test_(h\d\d)_", name))} == HAZARDS


# --- stock KerasTuner and ours, side by side


def stock_oracle(directory: Path, kind: str = "RandomSearchOracle", **options: Any) -> Any:
    """An oracle as KerasTuner's chief has it."""
    oracle = make_oracle(kind, **options)
    oracle._set_project_dir(str(directory), "stock")
    return oracle


def stock_end(oracle: Any, trial: Any, score: float = 1.0, status: str = "COMPLETED") -> None:
    """What KerasTuner's chief does when a worker has run a trial."""
    if status == "COMPLETED":
        oracle.update_trial(trial.trial_id, {"score": score})
    trial.status = status
    oracle.end_trial(trial)


@contextlib.contextmanager
def ours(directory: Path, *args: Any, **options: Any) -> Iterator[Search]:
    """A search under the seams of its owner."""
    with seams.installed(OwnerRole()), open_search(directory, *args, **options) as search:
        yield search


@contextlib.contextmanager
def served(search: Search, address: str, description: Description = DESCRIPTION) -> Iterator[Chief]:
    """A chief with one search, on the wire."""
    chief = Chief(PROGRAM)
    chief.begin(search, description)
    server = serve(chief, Policy(), address, guard(StockClients.LOOPBACK))
    try:
        yield chief
    finally:
        server.stop(0).wait()


@contextlib.contextmanager
def connected(address: str, patience: float = 30.0) -> Iterator[ChiefClient]:
    client = ChiefClient(address, CALLER, patience)
    try:
        yield client
    finally:
        client.close()


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Calls in a thread; what it returns or raises is put into the list."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(call())
        except Exception as error:
            got.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, got


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_stock(monkeypatch: pytest.MonkeyPatch, tuner_id: str, port: int = 1) -> None:
    """The variables by which KerasTuner's own distributed mode is switched on."""
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(port))
    monkeypatch.setenv("KERASTUNER_TUNER_ID", tuner_id)


def callers(search: Search, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The workers that have asked for a trial, once for each call."""
    asked: list[str] = []
    original = search.next_trial

    def next_trial(worker: str, *args: Any, **options: Any) -> Any:
        asked.append(worker)
        return original(worker, *args, **options)

    monkeypatch.setattr(search, "next_trial", next_trial)
    return asked


def scoring_tuner(directory: Path, results: Iterator[float], **options: Any) -> Any:
    """A tuner whose trials give these results, one after another."""
    import keras_tuner

    class Tuner(keras_tuner.engine.base_tuner.BaseTuner):  # type: ignore[misc]
        def run_trial(self, trial: Any) -> float:
            return next(results)

    return Tuner(oracle=make_oracle(**options), directory=str(directory), project_name="project")


def trial_file(directory: Path, trial_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "project" / f"trial_{trial_id}" / "trial.json").read_text())
    return found


# --- failures, and what they leave


def test_h01_three_failed_trials_lose_no_finished_result(tmp_path: Path) -> None:
    """Every end after the third failure raises in stock KerasTuner, before anything is saved."""
    oracle = stock_oracle(tmp_path, trials=9)
    healthy = oracle.create_trial("healthy")
    for _ in range(2):
        stock_end(oracle, oracle.create_trial("bad"), status="FAILED")
    with pytest.raises(RuntimeError, match="consecutive failures"):
        stock_end(oracle, oracle.create_trial("bad"), status="FAILED")
    with pytest.raises(RuntimeError, match="consecutive failures"):
        stock_end(oracle, healthy)
    saved = tmp_path / "stock" / f"trial_{healthy.trial_id}" / "trial.json"
    assert json.loads(saved.read_text())["status"] == "RUNNING"

    with ours(tmp_path, oracle=make_oracle(trials=9)) as search:
        good = take(search, "healthy")
        for _ in range(3):
            finish(search, take(search, "bad"), status="FAILED")
        finish(search, good, 1.0)
        assert isinstance(search.failure, SearchFailed)
        assert search.next_trial("healthy", "t") is Answer.OVER
    assert (trial_file(tmp_path, "0")["status"], trial_file(tmp_path, "0")["score"]) == ("COMPLETED", 1.0)


def test_h02_an_exception_in_an_oracle_holds_no_lock(tmp_path: Path) -> None:
    from keras_tuner.src.engine import oracle as oracle_module

    def broken(trial_id: str) -> Any:
        raise ZeroDivisionError("the oracle's own words")

    stock = stock_oracle(tmp_path)
    stock.populate_space = broken
    with pytest.raises(ZeroDivisionError):
        stock.create_trial("a")
    stuck, _ = in_thread(lambda: stock.update_trial("0", {"score": 1.0}))
    stuck.join(timeout=0.2)
    assert stuck.is_alive(), "another thread of a stock chief waits for ever"
    oracle_module.LOCKS[stock].release()
    stuck.join(timeout=5)

    oracle = make_oracle()
    address = f"unix:{tmp_path}/chief.sock"
    with ours(tmp_path, oracle=oracle) as search, served(search, address), connected(address) as client:
        grant = take(search, "busy")
        oracle.populate_space = broken
        asking, got = in_thread(lambda: search.next_trial("a", "a"))
        asking.join(timeout=5)
        assert got == [Answer.OVER]
        assert isinstance(search.failure, ZeroDivisionError)
        ending, _ = in_thread(lambda: finish(search, grant))
        ending.join(timeout=5)
        assert not ending.is_alive()
        assert search.trial("0").status == "COMPLETED", "what ran meanwhile is kept"
        with pytest.raises(SearchFailed, match="the oracle's own words"):
            RemoteSession(client, 0, "b", "b").next_trial(5.0)


def test_h03_a_dead_workers_trial_runs_again(tmp_path: Path) -> None:
    from keras_tuner.src.distribute import oracle_chief

    oracle = stock_oracle(tmp_path, trials=1)
    oracle.create_trial("dead")
    assert oracle.create_trial("alive").status == "STOPPED"
    assert not oracle_chief.exit_chief(oracle), "a stock chief never ends"

    address = f"unix:{tmp_path}/chief.sock"
    killed = threading.Event()

    def beats() -> Iterator[pb.Beat]:
        hello = pb.Hello(host="h", program=PROGRAM.name, digest=PROGRAM.digest)
        yield pb.Beat(worker="dead", session="s", hello=hello)
        killed.wait()

    with ours(tmp_path, oracle=make_oracle(trials=1)) as search, served(search, address), connected(address) as client:
        with connected(address) as dying:
            acks = dying.attend(beats())
            next(acks)
            assert isinstance(RemoteSession(dying, 0, "dead", "t").next_trial(5.0), Grant)
            waiting, got = in_thread(lambda: RemoteSession(client, 0, "alive", "u").next_trial(20.0))
        at = time.monotonic()  # its connections have been closed, as the kernel does when a process is killed
        waiting.join(timeout=10)
        assert time.monotonic() - at < 2.0
        killed.set()
        assert (got[0].trial.trial_id, got[0].attempt) == ("0", 2)
        finish(search, got[0])
        assert search.next_trial("alive", "u") is Answer.OVER


def test_h04_idle_workers_wait_while_a_trial_runs(tmp_path: Path) -> None:
    oracle = stock_oracle(tmp_path, trials=1)
    assert oracle.create_trial("busy").status == "RUNNING"
    assert oracle.create_trial("idle").status == "STOPPED"

    with ours(tmp_path, oracle=make_oracle(trials=1)) as search:
        take(search, "busy")
        assert search.next_trial("idle", "t") is Answer.WAIT
        search.lose_worker("busy", "killed")
        finish(search, take(search, "idle"))
        assert search.next_trial("idle", "t") is Answer.OVER


@pytest.mark.filterwarnings("ignore:All-NaN axis:RuntimeWarning")
def test_h05_a_retry_is_scored_by_its_own_metrics(tmp_path: Path) -> None:
    """The first run reports NaN, the second 5.0: stock KerasTuner ignores the second."""
    options = {"trials": 1, "max_retries_per_trial": 1}
    stock = scoring_tuner(tmp_path / "stock", iter([float("nan"), 5.0]), **options)
    stock.search(verbose=0)
    assert [t.status for t in stock.oracle.trials.values()] == ["FAILED"]

    role = LocalRole(PROGRAM, Policy())
    with seams.installed(role):
        tuner = scoring_tuner(tmp_path, iter([float("nan"), 5.0]), **options)
        tuner.search()
    role.release()
    assert [(t.status, t.score) for t in tuner.oracle.trials.values()] == [("COMPLETED", 5.0)]


def test_h06_an_end_that_comes_twice_is_counted_once(tmp_path: Path) -> None:
    oracle = stock_oracle(tmp_path)
    trial = oracle.create_trial("w")
    stock_end(oracle, trial)
    oracle.end_trial(trial)
    assert (oracle.end_order, dict(oracle._run_times)) == (["0", "0"], {"0": 2})

    with ours(tmp_path) as search:
        grant = take(search)
        finish(search, grant)
        search.end_trial(grant.trial, grant.attempt)
        state = search.state()["oracle"]
        assert (state["end_order"], state["run_times"]) == (["0"], {"0": 1})


# --- restarts, and the files


def test_h07_a_completed_trial_does_not_run_again_after_a_restart(tmp_path: Path) -> None:
    oracle = stock_oracle(tmp_path)
    stock_end(oracle, oracle.create_trial("w"))
    restarted = stock_oracle(tmp_path)
    restarted.reload()
    assert restarted.create_trial("w").trial_id == "0"

    saved = tmp_path / "project" / "oracle.json"
    with ours(tmp_path) as search:
        grant = take(search)
        before = saved.read_bytes()
        finish(search, grant)
        after = saved.read_bytes()
    assert json.loads(after)["ongoing_trials"] == {}
    for newest in (before, after):  # a crash between the trial's file and the oracle's, or after both
        saved.write_bytes(newest)
        with ours(tmp_path, after_crash=True) as search:
            assert take(search).trial.trial_id == "1"
            assert search.trial("0").status == "COMPLETED"
            search.give_back("the next restart")


def test_h08_a_grid_search_goes_on_after_a_restart(tmp_path: Path) -> None:
    stock = stock_oracle(tmp_path, "GridSearchOracle", trials=None)
    stock_end(stock, stock.create_trial("w"))
    stock.save()
    restarted = stock_oracle(tmp_path, "GridSearchOracle", trials=None)
    restarted.reload()
    assert restarted.create_trial("w").status == "STOPPED", "after one of ten values"

    seen = []
    for _ in range(10):
        with ours(tmp_path, oracle=make_oracle("GridSearchOracle", trials=None)) as search:
            grant = take(search)
            seen.append(grant.trial.hyperparameters["x"])
            finish(search, grant)
    assert seen == list(range(10))


def test_h09_a_file_that_a_crash_cut_short_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_tuner.src import utils

    def cut(directory: Path) -> None:
        path = directory / "project" / "trial_0" / "trial.json"
        path.write_bytes(path.read_bytes()[:40])

    with ours(tmp_path) as search:
        finish(search, take(search))
        finish(search, take(search), 4.0)
    cut(tmp_path)
    with pytest.raises(json.JSONDecodeError):
        make_tuner(tmp_path, make_oracle())
    with ours(tmp_path) as search:
        assert take(search).trial.trial_id == "0"
        assert search.trial("1").score == 4.0

    # Nothing that KerasTuner saves under the seams can be cut short.
    path = tmp_path / "file.json"
    with seams.installed(OwnerRole()):
        utils.save_json(str(path), "old")

        def power_cut(*_: Any) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "replace", power_cut)
        with pytest.raises(DirectoryError):
            utils.save_json(str(path), "new")
    assert path.read_text() == '"old"'


def test_h10_a_late_workers_overwrite_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras_tuner

    def project(name: str) -> Path:
        path = tmp_path / name / "oracle.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        return path

    def late_worker(name: str) -> None:
        keras_tuner.engine.base_tuner.BaseTuner(
            make_oracle(), directory=str(tmp_path), project_name=name, overwrite=True
        )

    as_stock(monkeypatch, "worker7")
    stock = project("stock")
    late_worker("stock")
    assert not stock.exists(), "the files of a stock chief that lives"

    live = project("live")
    with connected(f"unix:{tmp_path}/none.sock") as client, seams.installed(WorkerRole(client, "worker7", "t")):
        late_worker("live")
    assert live.exists()

    role = LocalRole(PROGRAM, Policy())
    with seams.installed(role):
        late_worker("live")
    role.release()
    assert not live.exists(), "its owner honours it"


def test_h11_a_project_is_reloaded_whatever_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KerasTuner looks for `<tuner_id>.json`, and a chief's tuner has another id than a local one."""

    def scores() -> list[float]:
        return [trial.score for trial in make_tuner(tmp_path, make_oracle()).oracle.trials.values()]

    local = make_tuner(tmp_path, make_oracle())
    stock_end(local.oracle, local.oracle.create_trial("tuner0"), 2.0)
    local.save()
    as_stock(monkeypatch, "chief")
    assert scores() == [], "a stock chief starts anew"

    with seams.installed(OwnerRole()):
        assert scores() == [2.0]
    (tmp_path / "project" / "tuner0.json").rename(tmp_path / "project" / "chief.json")
    with seams.installed(OwnerRole()):
        assert scores() == [2.0]


# --- the wire


def test_h12_a_failed_trials_traceback_reaches_the_chief(tmp_path: Path) -> None:
    from keras_tuner.src.engine import trial as trial_module

    text = "Traceback (most recent call last):\nValueError: here it is"
    failed = trial_module.Trial(make_oracle().get_space(), "0", "FAILED", text)
    assert trial_module.Trial.from_proto(failed.to_proto()).message is None

    address = f"unix:{tmp_path}/chief.sock"
    with ours(tmp_path) as search, served(search, address), connected(address) as client:
        session = RemoteSession(client, 0, "w", "t")
        grant = session.next_trial(5.0)
        assert isinstance(grant, Grant)
        grant.trial.status, grant.trial.message = "FAILED", text
        session.end_trial(grant.trial, grant.attempt)
        assert search.trial("0").message == text
    assert trial_file(tmp_path, "0")["message"] == text


def bayesian_oracle(**options: Any) -> Any:
    """One over 10 points, after 5 trials asked for its model's."""
    return make_oracle("BayesianOptimizationOracle", trials=10, num_initial_points=5, **options)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_h14_bayesian_search_proposes_nothing_twice(tmp_path: Path) -> None:
    oracle = bayesian_oracle()
    oracle._set_project_dir(str(tmp_path), "stock")
    stock = []
    for _ in range(10):
        trial = oracle.create_trial("w")
        stock.append(trial.hyperparameters["x"])
        stock_end(oracle, trial, float(stock[-1]))
    assert len(set(stock)) < 10

    with seams.installed(OwnerRole()):
        import keras_tuner  # noqa: F401

        with open_search(tmp_path / "ours", oracle=bayesian_oracle()) as search:
            found = []
            for _ in range(10):
                grant = take(search)
                found.append(grant.trial.hyperparameters["x"])
                finish(search, grant)
    assert sorted(found) == list(range(10))


def test_h26_a_bayesian_suggestion_blocks_no_other_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That stock KerasTuner's takes seconds under its one lock is `tests/bench/suggestion.py`'s to show."""
    from cluster.seams.bayesian import Mind

    begun, may_end = threading.Event(), threading.Event()
    think = Mind.think

    def slowly(self: Any, question: Any, check: Any = lambda: None) -> Any:
        begun.set()
        assert may_end.wait(60)
        return think(self, question, check)

    monkeypatch.setattr(Mind, "think", slowly)
    with ours(tmp_path, oracle=bayesian_oracle()) as search:
        running = [take(search, f"w{number}") for number in range(5)]
        for grant in running[1:]:
            finish(search, grant)
        finish(search, running[0])
        waiting, got = in_thread(lambda: search.next_trial("w", "t", 30.0))
        assert begun.wait(60)
        search.watch()
        assert len(search.best_trials(5)) == 5
        assert search.state()["trials"]
        assert waiting.is_alive()
        may_end.set()
        waiting.join(60)
        assert isinstance(got[0], Grant)


def test_h13_the_order_of_the_space_survives_the_wire(tmp_path: Path) -> None:
    """Grouped by type, a child comes before its parent; Bayesian search then never proposes it."""
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Int("layers", 1, 3)
    space.Choice("kind", ["a", "b"])
    with space.conditional_scope("kind", ["a"]):
        space.Boolean("flag")
        with space.conditional_scope("flag", [True]):
            space.Float("rate", 0.0, 1.0)
    names = ["layers", "kind", "flag", "rate"]
    assert [hp.name for hp in space.space] == names
    stock = [hp.name for hp in keras_tuner.HyperParameters.from_proto(space.to_proto()).space]
    assert stock.index("rate") < stock.index("flag")

    address = f"unix:{tmp_path}/chief.sock"
    with ours(tmp_path) as search, served(search, address), connected(address) as client:
        session = RemoteSession(client, 0, "w", "t")
        session.update_space(space)
        assert [hp.name for hp in session.space().space] == ["x", *names]
        grant = session.next_trial(5.0)
        assert isinstance(grant, Grant)
        assert [hp.name for hp in grant.trial.hyperparameters.space] == ["x", *names]
    # A stock client's message has lost the order; parents come first all the same.
    mended = [hp.name for hp in seams.space_from_proto(space.to_proto()).space]
    assert mended.index("kind") < mended.index("flag") < mended.index("rate")


def test_h15_a_chief_that_blinks_costs_no_worker_and_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stock client whose call is in flight dies with the connection, or calls a finished result invalid."""
    from keras_tuner.src.distribute import oracle_client

    port = free_port()
    address = f"127.0.0.1:{port}"
    as_stock(monkeypatch, "stock0", port)
    with ours(tmp_path, oracle=make_oracle(trials=1)) as search, connected(address) as client:
        calls = callers(search, monkeypatch)
        with served(search, address):
            busy = RemoteSession(client, 0, "busy", "t")
            grant = busy.next_trial(5.0)
            assert isinstance(grant, Grant)
            stock, stock_got = in_thread(lambda: oracle_client.OracleClient(make_oracle()).create_trial("stock0"))
            waiting, got = in_thread(lambda: RemoteSession(client, 0, "waits", "u").next_trial(20.0))
            while len(calls) < 3:
                time.sleep(0.01)
        stock.join(timeout=10)
        assert isinstance(stock_got[0], grpc.RpcError)
        # No chief is there now.
        busy_worker, _ = in_thread(lambda: busy.update_trial("0", grant.attempt, {"score": 3.0}, 0))
        time.sleep(0.2)
        with served(search, address):
            busy_worker.join(timeout=20)
            grant.trial.status = "COMPLETED"
            busy.end_trial(grant.trial, grant.attempt)
            busy.end_trial(grant.trial, grant.attempt)  # the answer to the first was lost
            waiting.join(timeout=20)
        assert got == [Answer.OVER]
        assert (search.trial("0").status, search.trial("0").score) == ("COMPLETED", 3.0)
        assert search.state()["oracle"]["run_times"] == {"0": 1}


def test_h16_reads_after_the_search_need_no_chief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_tuner.src.distribute import oracle_client

    as_stock(monkeypatch, "worker0", free_port())
    assert oracle_client.TIMEOUT == 3600
    monkeypatch.setattr(oracle_client, "TIMEOUT", 0.3)
    at = time.monotonic()
    with pytest.raises(grpc.RpcError):
        oracle_client.OracleClient(make_oracle()).get_best_trials(1)
    assert time.monotonic() - at >= 0.3, "a stock client waits for all of it, though nobody is there"

    monkeypatch.setattr("cluster.chief.TOLD_SECONDS", 0.0)
    address = f"unix:{tmp_path}/chief.sock"
    with contextlib.ExitStack() as stack:
        with seams.installed(OwnerRole()):
            search = stack.enter_context(open_search(tmp_path))
        stack.enter_context(hold_project(tmp_path / "project"))
        client = stack.enter_context(connected(address, patience=0.3))
        stack.enter_context(seams.installed(WorkerRole(client, "w", "t")))
        tuner = scoring_tuner(tmp_path / "elsewhere", iter([3.0, 1.0, 2.0]))
        with served(search, address, describe(tuner)) as chief:
            chief.join("w", "s", Host("h"), PROGRAM)
            leaving, _ = in_thread(lambda: chief.finish(30.0))
            leaving.join(timeout=0.2)
            assert leaving.is_alive(), "the chief stays until the worker has read the end"
            tuner.search()
            leaving.join(timeout=10)
            assert not leaving.is_alive()
        assert [t.score for t in tuner.oracle.get_best_trials(3)] == [1.0, 2.0, 3.0]
        assert tuner.remaining_trials == 0
        tuner.results_summary()
        # What does need the chief gives up within the user's patience.
        with pytest.raises(ChiefUnreachable):
            RemoteSession(client, 0, "w", "t").state()


def test_h17_two_chiefs_share_neither_a_port_nor_a_project(tmp_path: Path) -> None:
    port = free_port()
    stock = [grpc.server(futures.ThreadPoolExecutor(1)) for _ in range(2)]  # made as KerasTuner makes it
    assert [server.add_insecure_port(f"127.0.0.1:{port}") for server in stock] == [port, port]

    address = f"127.0.0.1:{free_port()}"
    first = serve(Chief(PROGRAM), Policy(), address, guard(StockClients.LOOPBACK))
    try:
        with pytest.raises(CannotListen, match="the port is taken"):
            serve(Chief(PROGRAM), Policy(), address, guard(StockClients.LOOPBACK))
    finally:
        first.stop(0).wait()
    with hold_project(tmp_path), pytest.raises(DirectoryError, match="in use by another run"), hold_project(tmp_path):
        pass


# --- devices, memory, disk, epochs


def test_h18_the_port_is_for_those_with_the_token(tmp_path: Path) -> None:
    from keras_tuner.src import protos
    from keras_tuner.src.distribute import oracle_chief

    def anybody(address: str) -> grpc.StatusCode:
        with grpc.insecure_channel(address) as channel:
            call: Any = channel.unary_unary("/keras_tuner.Oracle/CreateTrial")
            body = protos.get_service().CreateTrialRequest(tuner_id="anybody").SerializeToString()
            return call.future(body, timeout=20.0).code()  # type: ignore[no-any-return]

    address = f"unix:{tmp_path}/stock.sock"
    oracle = stock_oracle(tmp_path)
    server = grpc.server(futures.ThreadPoolExecutor(1))
    protos.get_service_grpc().add_OracleServicer_to_server(oracle_chief.OracleServicer(oracle), server)
    server.add_insecure_port(address)
    server.start()
    assert anybody(address) is grpc.StatusCode.OK
    assert list(oracle.ongoing_trials) == ["anybody"]
    server.stop(0).wait()

    address = f"unix:{tmp_path}/chief.sock"
    with ours(tmp_path, oracle=make_oracle(trials=1)) as search:
        chief = Chief(PROGRAM)
        chief.begin(search, DESCRIPTION)
        server = serve(chief, Policy(), address, guard())
        assert anybody(address) is grpc.StatusCode.UNAUTHENTICATED
        assert search.leases.open == []
        with connected(address) as client:
            assert isinstance(RemoteSession(client, 0, "w", "t").next_trial(5.0), Grant)
        server.stop(0).wait()


def test_h22_the_oracle_stops_a_trial_that_falls_behind(tmp_path: Path) -> None:
    stock = stock_oracle(tmp_path)
    for name, score in (("good", 1.0), ("bad", 99.0)):
        trial = stock.create_trial(name)
        for step in range(3):
            assert stock.update_trial(trial.trial_id, {"score": score}, step=step).status == "RUNNING"

    with ours(tmp_path, policy=Policy(prune="asha")) as search:
        told = {}
        for name, score in (("good", 1.0), ("bad", 99.0)):
            grant = take(search, name)
            told[name] = [
                search.report_epoch(grant.trial.trial_id, grant.attempt, epoch, {"score": score}, 9)
                for epoch in range(3)
            ]
        assert told == {"good": [False, False, False], "bad": [False, True, True]}


def test_h19_each_worker_has_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stock tuner leaves the variables as they are: all workers see all GPUs, and Keras takes the first."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    make_tuner(tmp_path / "stock", make_oracle())
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"

    gpus = Gpus(tuple(Gpu(f"GPU-{number}", str(number), "GPU", 8 * 10**9) for number in range(4)), 4)
    placements = [Placement(gpus, directory=SlotDirectory(tmp_path / "slots")) for _ in range(5)]  # five supervisors
    *places, fifth = [placement.take(f"worker-{number}") for number, placement in enumerate(placements)]
    seen = [place.environment["CUDA_VISIBLE_DEVICES"] for place in places if place is not None]
    assert seen == ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]
    assert fifth is None
    assert places[2] is not None
    places[2].release()
    later = placements[4].take("worker-4")
    assert later is not None
    assert later.environment["CUDA_VISIBLE_DEVICES"] == "GPU-2"


def test_h20_a_trainer_makes_room_before_its_memory_is_full(tmp_path: Path) -> None:
    """Stock KerasTuner has one process for all trials; what Keras leaks in it is not shown here, for it takes hours."""
    address = f"unix:{tmp_path}/chief.sock"
    with contextlib.ExitStack() as stack:
        with seams.installed(OwnerRole()):
            search = stack.enter_context(open_search(tmp_path, oracle=make_oracle(trials=4)))
        stack.enter_context(hold_project(tmp_path / "project"))
        client = stack.enter_context(connected(address))
        chief = stack.enter_context(served(search, address))

        def trainer(number: int, **limits: Any) -> Any:
            with seams.installed(WorkerRole(client, "w", f"t{number}", **limits)):
                tuner = scoring_tuner(tmp_path / "elsewhere", iter([1.0] * 4), trials=4)
                chief.searches[0] = (search, describe(tuner))
                tuner.search()
                return tuner

        limits: list[dict[str, Any]] = [{"recycle_after": 2}, {"recycle_gb": 0.001}]
        for number, limit in enumerate(limits):
            with pytest.raises(Leave) as leave:
                trainer(number, **limit)
            assert leave.value.code == RECYCLED
            assert search.leases.open == [], "it leaves between two trials"
        assert search.granted == {"w": 3}, "two, and one"
        assert len(trainer(2).oracle.get_best_trials(9)) == 4


def test_h21_only_the_best_checkpoints_stay_on_the_disk(tmp_path: Path) -> None:
    """Stock KerasTuner removes none, and has nothing that could."""
    with ours(tmp_path, policy=Policy(keep_checkpoints=1)) as search:
        for score in [2.0, 1.0, 3.0]:
            grant = take(search)
            (search.directory / f"trial_{grant.trial.trial_id}" / "checkpoint.weights.h5").write_text("weights")
            finish(search, grant, score)
        left = [path.parent.name for path in search.directory.glob("trial_*/checkpoint.weights.h5")]
        assert left == ["trial_1"]


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning")
def test_h23_a_promotion_keeps_the_optimizers_state(tmp_path: Path) -> None:
    import keras
    import keras_tuner
    import numpy

    x = numpy.linspace(-1.0, 1.0, 8, dtype="float32")[:, None]

    def build(hp: Any) -> Any:
        hp.Float("rate", 1e-3, 1e-2)
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        model.compile("adam", loss="mse")
        return model

    def steps_after_promotion() -> int:
        tuner = keras_tuner.Hyperband(
            build, "loss", max_epochs=4, factor=2, directory=str(tmp_path), project_name="project"
        )
        values = keras_tuner.HyperParameters()
        values.values["tuner/trial_id"] = "parent"
        parent = Path(tuner.get_trial_dir("parent"))
        if not (parent / "checkpoint.weights.h5").exists():
            model = build(keras_tuner.HyperParameters())
            model.fit(x, 2 * x, batch_size=2, verbose=0)
            model.save_weights(parent / "checkpoint.weights.h5")
            (parent / "build_config.json").write_text(json.dumps(model.get_build_config()))
        return int(tuner._build_hypermodel(values).optimizer.iterations)

    assert steps_after_promotion() == 0, "Adam starts cold"
    with seams.installed(OwnerRole()):
        assert steps_after_promotion() == 4


def test_h23_failed_trials_leave_no_round_short(tmp_path: Path) -> None:
    """Two of the first four trials fail, and two of four are to be promoted."""
    options = {"max_epochs": 4, "factor": 2}
    statuses = ["COMPLETED", "FAILED"] * 2 + ["COMPLETED"] * 3
    stock = stock_oracle(tmp_path, "HyperbandOracle", **options)
    rounds = []
    for status in statuses:
        trial = stock.create_trial("w")
        rounds.append(trial.hyperparameters.values["tuner/round"])
        stock_end(stock, trial, status=status)
    assert rounds == [0, 0, 0, 0, 0, 0, 0], "it goes on with the next bracket"

    with ours(tmp_path, oracle=make_oracle("HyperbandOracle", **options)) as search:
        rounds = []
        for status in statuses:
            grant = take(search)
            rounds.append(grant.trial.hyperparameters.values["tuner/round"])
            finish(search, grant, status=status)
    assert rounds == [0, 0, 0, 0, 1, 1, 2]


def test_h23_a_promoted_trial_bears_its_own_brackets_number(tmp_path: Path) -> None:
    """The four of bracket 2 still run when a fifth worker comes, and begins bracket 1."""
    options = {"max_epochs": 4, "factor": 2}
    bracket = "tuner/bracket"
    stock = stock_oracle(tmp_path, "HyperbandOracle", **options)
    trials = [stock.create_trial(f"w{number}") for number in range(5)]
    assert [trial.hyperparameters.values[bracket] for trial in trials] == [2, 2, 2, 2, 1]
    for trial in trials[:4]:
        stock_end(stock, trial)
    assert stock.create_trial("w0").hyperparameters.values[bracket] == 1

    with ours(tmp_path, oracle=make_oracle("HyperbandOracle", **options)) as search:
        for grant in [take(search, f"w{number}") for number in range(5)][:4]:
            finish(search, grant)
        values = take(search, "w0").trial.hyperparameters.values
        assert (values[bracket], values["tuner/round"]) == (2, 1)


# --- waiting


def test_h24_an_idle_worker_waits_on_the_chief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_tuner.src.distribute import oracle_client

    until = time.monotonic() + 0.2
    asked: list[str] = []
    stock = scoring_tuner(tmp_path / "stock", iter([]))

    def nothing_yet(tuner_id: str) -> Any:
        asked.append(tuner_id)
        return seams.empty_trial(stock.oracle.get_space(), "IDLE" if time.monotonic() < until else "STOPPED")

    monkeypatch.setattr(stock.oracle, "create_trial", nothing_yet)
    stock.search()
    assert len(asked) > 20, "a stock worker asks without a pause"

    port = free_port()
    address = f"127.0.0.1:{port}"
    as_stock(monkeypatch, "stock0", port)
    with ours(tmp_path, oracle=make_oracle(trials=1)) as search, connected(address) as client:
        calls = callers(search, monkeypatch)
        with served(search, address):
            grant = take(search, "busy")
            proxy = OracleProxy(make_oracle(), RemoteSession(client, 0, "idle", "t"), seams.trial_class())
            idle = [in_thread(lambda: proxy.create_trial("idle"))]
            idle += [in_thread(lambda: oracle_client.OracleClient(make_oracle()).create_trial("stock0"))]
            time.sleep(0.5)
            assert sorted(calls) == ["busy", "idle", "stock stock0"]
            finish(search, grant)
            for thread, got in idle:
                thread.join(timeout=10)
                assert got[0].status == "STOPPED"


def test_h25_the_chief_leaves_when_the_last_trial_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_tuner.src.distribute import oracle_chief

    slept: list[float] = []
    done = iter([False, True])

    class Servicer(oracle_chief.OracleServicer):  # type: ignore[misc]
        def __init__(self, oracle: Any) -> None:
            super().__init__(oracle)
            self.stop_triggered = True

    as_stock(monkeypatch, "chief", free_port())
    monkeypatch.setattr(oracle_chief, "OracleServicer", Servicer)
    monkeypatch.setattr(oracle_chief, "exit_chief", lambda oracle: next(done))
    monkeypatch.setattr(oracle_chief, "time", SimpleNamespace(sleep=slept.append))
    oracle_chief.start_server(make_oracle())
    assert slept == [1, 20]

    with ours(tmp_path, oracle=make_oracle(trials=1)) as search:
        grant = take(search)
        chief, got = in_thread(lambda: search.wait(30.0))
        finish(search, grant)
        chief.join(timeout=0.2)
        assert got == [], "the worker may be given another"
        assert search.next_trial("w", "t") is Answer.OVER
        chief.join(timeout=1.0)
        assert got == [True]


# --- roles, and what a crash leaves between two saves


def test_h27_a_name_with_chief_in_it_is_no_chief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_tuner.src.distribute import utils

    as_stock(monkeypatch, "mischief-1")
    assert utils.is_chief_oracle()
    with connected("127.0.0.1:1") as client:
        role = WorkerRole(client, "mischief-1", "t")
        monkeypatch.setattr(cluster, "_role", role)
        with seams.installed(role):
            assert not utils.is_chief_oracle()
            assert not cluster.is_chief()
            assert make_tuner(tmp_path, make_oracle()).tuner_id == "mischief-1"


def test_h28_a_trial_that_the_oracle_does_not_know_is_run(tmp_path: Path) -> None:
    """A crash between the trial's file and the oracle's: stock KerasTuner counts the trial and never runs it."""

    def crash_between_saves(project: Path, create: Callable[[], Any]) -> None:
        before = (project / "oracle.json").read_bytes()
        create()
        (project / "oracle.json").write_bytes(before)

    stock = stock_oracle(tmp_path, trials=2)
    stock.save()
    crash_between_saves(tmp_path / "stock", lambda: stock.create_trial("w"))
    restarted = stock_oracle(tmp_path, trials=2)
    restarted.reload()
    assert restarted.create_trial("w").trial_id == "1"
    assert restarted.create_trial("v").status == "STOPPED"

    with ours(tmp_path, oracle=make_oracle(trials=2)) as search:
        crash_between_saves(tmp_path / "project", lambda: take(search))
    with ours(tmp_path, oracle=make_oracle(trials=2)) as search:
        for trial_id in "01":
            grant = take(search)
            assert grant.trial.trial_id == trial_id
            finish(search, grant)
        assert search.next_trial("w", "t") is Answer.OVER


def test_h29_a_trial_that_runs_on_through_a_restart_is_not_run_twice(tmp_path: Path, clock: Clock) -> None:
    oracle = stock_oracle(tmp_path)
    oracle.create_trial("alive")
    restarted = stock_oracle(tmp_path)
    restarted.reload()
    assert restarted.create_trial("other").trial_id == "0", "which the first worker still runs"

    with ours(tmp_path) as search:
        alive, dead = take(search, "alive"), take(search, "dead")
    with ours(tmp_path, clock, after_crash=True) as search:
        assert take(search, "other").trial.trial_id == "2"
        clock.now += 10
        for worker in ("alive", "other"):
            search.leases.renew(worker)
        clock.now += 10
        again = take(search, "new")
        assert (again.trial.trial_id, again.attempt) == (dead.trial.trial_id, 2), "it was not heard of in time"
        finish(search, alive, 1.0)
        assert (search.trial("0").status, search.trial("0").score) == ("COMPLETED", 1.0)
        with pytest.raises(LeaseLost):
            search.end_trial(dead.trial, dead.attempt)
