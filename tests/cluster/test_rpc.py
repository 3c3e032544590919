"""The chief on the wire: a real server and a real client, over a socket file."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

import cluster.errors
from cluster import follow
from cluster.address import check_address
from cluster.chief import Chief, Description
from cluster.errors import (
    CannotListen,
    ChiefUnreachable,
    ClusterError,
    LeaseLost,
    Refused,
    SearchFailed,
    TrainerAhead,
    UsageError,
)
from cluster.policy import Policy
from cluster.program import Identity
from cluster.rpc import cluster_pb2 as pb
from cluster.rpc import codec, looking
from cluster.rpc.client import ChiefClient, RemoteSession
from cluster.rpc.guard import HEADER, SCHEME, StockClients
from cluster.rpc.server import AT_ONCE, MAX_REQUEST, _wait, serve
from cluster.rpc.status import LOCAL_ONLY, STATUS, error_of, status_of
from cluster.search import Answer, Grant, Search
from tests.access import CALLER, guard
from tests.cluster.conftest import make_oracle, open_search

PROGRAM = Identity("tune.py", (), "abc")
DESCRIPTION = Description("T", "O", "score (min)", 3, "results/x", ())


@dataclass
class Wire:
    """A served chief with one search, and a client of it."""

    chief: Chief
    search: Search
    client: ChiefClient
    address: str
    server: grpc.Server

    def session(self, worker: str = "w", trainer: str = "t") -> RemoteSession:
        return RemoteSession(self.client, 0, worker, trainer)


@pytest.fixture
def wire(tmp_path: Path, owned: None) -> Iterator[Wire]:
    address = f"unix:{tmp_path}/chief.sock"
    chief = Chief(PROGRAM)
    with open_search(tmp_path, oracle=make_oracle(trials=3)) as search:
        chief.begin(search, DESCRIPTION)
        server = serve(chief, Policy(), address, guard())
        client = ChiefClient(address, CALLER, patience=5.0)
        yield Wire(chief, search, client, address, server)
        client.close()
        server.stop(0).wait()


def test_a_search_over_the_wire(wire: Wire, tmp_path: Path) -> None:
    assert wire.client.open_search(0, DESCRIPTION) == (str(tmp_path.resolve()), "project", wire.search.id)
    session = wire.session()
    for number in range(3):
        grant = session.next_trial(5.0)
        assert isinstance(grant, Grant)
        assert (grant.trial.trial_id, grant.attempt) == (str(number), 1)
        session.report_epoch(grant.trial.trial_id, grant.attempt, 0, {"score": 9.0})
        trial = session.update_trial(grant.trial.trial_id, grant.attempt, {"score": float(number)}, 2)
        assert trial.metrics.get_best_value("score") == number
        assert session.trial(grant.trial.trial_id).metrics.exists("score")
        grant.trial.status = "COMPLETED"
        session.end_trial(grant.trial, grant.attempt)
        session.end_trial(grant.trial, grant.attempt)
    assert session.next_trial(5.0) is Answer.OVER
    assert [t.score for t in session.best_trials(2)] == [0.0, 1.0]
    assert [hp.name for hp in session.space().space] == ["x"]
    state = session.state()
    assert state["oracle"]["end_order"] == ["0", "1", "2"]
    assert len(state["trials"]) == 3


def test_the_trial_in_hand_is_not_asked_for(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """KerasTuner asks for it at each trial's end; the chief has told it all with the last answer."""
    session, other = wire.session(), wire.session("v", "u")
    grant = session.next_trial(5.0)
    assert isinstance(grant, Grant)
    with monkeypatch.context() as chief:
        chief.setattr(Search, "trial", lambda *_: pytest.fail("it was asked for"))
        assert not session.trial("0").metrics.exists("score")
        session.update_trial("0", grant.attempt, {"score": 1.0}, 0)
        assert session.trial("0").metrics.get_best_value("score") == 1.0
    assert other.trial("0").metrics.get_best_value("score") == 1.0
    grant.trial.status = "COMPLETED"
    session.end_trial(grant.trial, grant.attempt)
    assert session.trial("0").status == "COMPLETED", "what is not in hand is asked for"


def test_the_state_at_the_end_is_made_once(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    session = wire.session()
    made: list[Search] = []
    state = Search.state

    def counted(search: Search) -> dict[str, Any]:
        made.append(search)
        return state(search)

    monkeypatch.setattr(Search, "state", counted)
    session.state()
    session.state()
    assert len(made) == 2, "it may change yet"
    while isinstance(grant := session.next_trial(5.0), Grant):
        session.update_trial(grant.trial.trial_id, grant.attempt, {"score": 1.0}, 0)
        grant.trial.status = "COMPLETED"
        session.end_trial(grant.trial, grant.attempt)
    assert session.state() == session.state()
    assert len(made) == 3


def test_a_failed_trials_traceback_and_new_hyperparameters_arrive(wire: Wire) -> None:
    session = wire.session()
    grant = session.next_trial(5.0)
    assert isinstance(grant, Grant)
    with grant.trial.hyperparameters.conditional_scope("x", list(range(10))):
        grant.trial.hyperparameters.Float("found", 0.0, 1.0)
    grant.trial.status, grant.trial.message = "FAILED", "Traceback\nValueError: here"
    session.end_trial(grant.trial, grant.attempt)
    assert wire.search.trial("0").message == "Traceback\nValueError: here"
    assert [hp.name for hp in wire.search.space().space] == ["x", "found"]


def test_the_answer_to_an_epoch_says_whether_to_stop(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, ...]] = []

    def report_epoch(*about: Any) -> bool:
        told.append(about)
        return len(told) == 2

    monkeypatch.setattr(wire.search, "report_epoch", report_epoch)
    session = wire.session()
    answers = [session.report_epoch("0", 1, epoch, {"score": 1.0}, 5, 2) for epoch in range(3)]
    assert answers == [False, True, False]
    assert told[0] == ("0", 1, 0, {"score": 1.0}, 5, 2)


def test_a_chief_that_is_away_stops_nothing(tmp_path: Path) -> None:
    """Training goes on without an answer."""
    client = ChiefClient(f"unix:{tmp_path}/nobody.sock", CALLER, patience=0.0)
    assert not RemoteSession(client, 0, "w", "t").report_epoch("0", 1, 0, {"score": 1.0})
    client.close()


def test_an_attempt_that_is_over_is_refused(wire: Wire) -> None:
    session = wire.session()
    grant = session.next_trial(5.0)
    assert isinstance(grant, Grant)
    wire.search.lose_trainer("t", "killed")
    with pytest.raises(LeaseLost, match="attempt 1 at trial 0 is over"):
        session.report_epoch("0", 1, 0, {})
    with pytest.raises(LeaseLost):
        session.end_trial(grant.trial, 1)


def test_a_call_that_waits_costs_no_polling(wire: Wire) -> None:
    first, second = wire.session("a", "ta"), wire.session("b", "tb")
    grants = [first.next_trial(5.0), second.next_trial(5.0), wire.session("c", "tc").next_trial(5.0)]
    assert all(isinstance(g, Grant) for g in grants)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(wire.session("d", "td").next_trial(20.0)))
    waiting.start()
    wire.search.lose_worker("a", "killed")
    waiting.join(timeout=10)
    assert got[0].attempt == 2


def test_a_supervisor_is_here_as_long_as_its_stream_is(wire: Wire) -> None:
    leave = threading.Event()

    def beats() -> Iterator[pb.Beat]:
        hello = pb.Hello(host="h", program=PROGRAM.name, digest=PROGRAM.digest)
        yield pb.Beat(worker="w", session="s", hello=hello)
        leave.wait()

    acks = wire.client.attend(beats())
    assert next(acks).lease_seconds == Policy().lease_seconds
    assert wire.chief.present == ["w"]
    assert isinstance(wire.session().next_trial(5.0), Grant)
    wire.client.close()  # as the kernel does when a process is killed
    leave.set()
    wire.chief.dismiss(5.0)
    assert wire.chief.present == []
    with wire.search._changed:
        assert wire.search._changed.wait_for(lambda: not wire.search.leases.open, 5.0)


def test_whoever_waits_between_beats_is_told_of_the_streams_end(wire: Wire) -> None:
    """A supervisor does not wait in gRPC then, which would tell it too."""
    ended, leave = threading.Event(), threading.Event()

    def beats() -> Iterator[pb.Beat]:
        hello = pb.Hello(host="h", program=PROGRAM.name, digest=PROGRAM.digest)
        yield pb.Beat(worker="w", session="s", hello=hello)
        leave.wait()

    acks = wire.client.attend(beats(), ended.set)
    next(acks)
    assert not ended.is_set()
    wire.server.stop(0)  # as when the chief is killed
    assert ended.wait(10)
    leave.set()
    with pytest.raises(ChiefUnreachable, match="the connection to the chief"):
        next(acks)


def test_another_program_is_refused(wire: Wire) -> None:
    hello = pb.Hello(host="h", program="other.py")
    with pytest.raises(Refused, match=r"does not run the chief's program. program: 'other.py' on the worker"):
        next(wire.client.attend(iter([pb.Beat(worker="w", session="s", hello=hello)])))


def test_a_fatal_error_ends_the_search(wire: Wire) -> None:
    wire.session().abort("Traceback\nFatalTypeError: it returned None")
    assert isinstance(wire.search.failure, SearchFailed)
    with pytest.raises(SearchFailed, match="the program raised in the search on w: FatalTypeError"):
        wire.session().next_trial(5.0)


def test_a_search_that_is_not_there(wire: Wire) -> None:
    with pytest.raises(KeyError, match="there is no search -1"):
        RemoteSession(wire.client, -1, "w", "t").next_trial(1.0)
    with pytest.raises(KeyError):
        wire.session().trial("nothing")
    wire.chief.finish(0)
    with pytest.raises(KeyError, match="there is no search 7"):
        RemoteSession(wire.client, 7, "w", "t").next_trial(1.0)


def test_a_chief_that_has_not_come_to_a_search_is_asked_again(wire: Wire) -> None:
    """It was restarted, and its program is still on the way to where the trainer is."""
    wire.client.close()
    wire.chief.searches.clear()
    client = ChiefClient(wire.address, CALLER, patience=5.0)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(RemoteSession(client, 0, "w", "t").next_trial(1.0)))
    waiting.start()
    wire.chief.begin(wire.search, DESCRIPTION)
    waiting.join(timeout=20)
    client.close()
    assert isinstance(got[0], Grant)


def test_a_trainer_in_another_search_than_the_chiefs_begins_again(wire: Wire) -> None:
    with pytest.raises(TrainerAhead):
        RemoteSession(wire.client, 0, "w", "t", search_id="that of another run").next_trial(1.0)
    assert isinstance(RemoteSession(wire.client, 0, "w", "t", search_id=wire.search.id).next_trial(1.0), Grant)


def test_a_chief_that_is_gone_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    client = ChiefClient(f"unix:{tmp_path}/none.sock", CALLER, patience=0.3)
    assert not client.wait_until_there(0.1)
    with pytest.raises(ChiefUnreachable, match="has not answered for 0 s"):
        client.trainer_ended("t", "killed", counted=True)
    client.close()


def test_a_chief_that_comes_back_finds_the_call(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/chief.sock"
    client = ChiefClient(address, CALLER, patience=30.0)
    got: list[Any] = []
    calling = threading.Thread(target=lambda: got.append(client.program_raised("w", "Traceback")))
    calling.start()
    server = serve(Chief(PROGRAM), Policy(), address, guard())
    calling.join(timeout=20)
    client.close()
    server.stop(0).wait()
    assert got == [True]


def test_who_looks_on_is_told_what_has_changed(wire: Wire) -> None:
    known = wire.client.watch()
    assert (known["whole"], known["trials"], known["objective"]) == (True, [], "score")
    where, mark = known["project"], known["mark"]
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(wire.client.watch(where, mark, known["version"], 20.0)))
    waiting.start()
    assert isinstance(wire.session().next_trial(5.0), Grant)
    waiting.join(timeout=20)
    assert [(x["id"], x["status"]) for x in got[0]["trials"]] == [("0", "running")]
    assert wire.client.log(where, "0") == ""
    with pytest.raises(KeyError, match="there is no search in /elsewhere"):
        wire.client.watch("/elsewhere")


def test_a_search_read_from_its_chief_is_the_one_in_its_files(wire: Wire, tmp_path: Path) -> None:
    wire.session().next_trial(5.0)
    asked, there = looking.read(wire.address, CALLER), follow.read(tmp_path / "project")
    assert {**asdict(asked), "version": 0} == {**asdict(there), "version": 0}


def test_a_chief_without_a_search_says_so(wire: Wire) -> None:
    wire.chief.searches.clear()
    with pytest.raises(UsageError, match="has not come to a search yet"):
        looking.read(wire.address, CALLER)


def test_nobody_is_looked_for_in_vain(tmp_path: Path) -> None:
    with pytest.raises(ChiefUnreachable, match=r"no chief answers at unix:.*none.sock. Name the address"):
        looking.read(f"unix:{tmp_path}/none.sock", CALLER, 0.1)


def test_two_chiefs_do_not_share_a_port() -> None:
    first = serve(Chief(PROGRAM), Policy(), "127.0.0.1:18765", guard())
    try:
        with pytest.raises(CannotListen, match="the port is taken"):
            serve(Chief(PROGRAM), Policy(), "127.0.0.1:18765", guard())
    finally:
        first.stop(0).wait()


@pytest.mark.parametrize("address", ["", "host", "host:", ":80", "host:port", "host:0", "host:70000"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        check_address(address)


def test_every_error_has_a_status_or_never_travels() -> None:
    tree = [kind for _, kind in inspect.getmembers(cluster.errors, inspect.isclass) if issubclass(kind, ClusterError)]
    for kind in tree:
        assert (kind in STATUS) != (kind in LOCAL_ONLY), f"{kind.__name__} is in one of the two tables"
    assert len(set(STATUS.values())) == len(STATUS)


@pytest.mark.parametrize("kind", list(STATUS))
def test_an_error_comes_back_as_itself(kind: type[Exception]) -> None:
    back = error_of(status_of(kind("why")), "why")
    assert type(back) is kind
    assert back.args == ("why",)


def test_an_unforeseen_error_is_not_lost() -> None:
    assert status_of(ZeroDivisionError("x")) is grpc.StatusCode.UNKNOWN
    assert "the chief answered UNKNOWN: x" in str(error_of(grpc.StatusCode.UNKNOWN, "x"))


class TestAStockClient:
    """KerasTuner's own client, unmodified, over a port."""

    @pytest.fixture
    def stock(self, tmp_path: Path, owned: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Search]]:
        from keras_tuner.src.distribute import oracle_client

        chief = Chief(PROGRAM)
        with open_search(tmp_path, oracle=make_oracle(trials=2)) as search:
            chief.begin(search, DESCRIPTION)
            server = serve(chief, Policy(), "127.0.0.1:18766", guard(StockClients.LOOPBACK))
            monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
            monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "18766")
            monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
            yield oracle_client.OracleClient(make_oracle()), search
            server.stop(0).wait()

    def test_takes_trials(self, stock: tuple[Any, Search]) -> None:
        client, search = stock
        assert [hp.name for hp in client.get_space().space] == ["x"]
        for number in range(2):
            trial = client.create_trial("worker0")
            assert trial.trial_id == str(number)
            assert client.create_trial("worker0").trial_id == str(number), "the same tuner has the same trial"
            client.update_trial(trial.trial_id, {"score": 3.0 - number})
            assert client.get_trial(trial.trial_id).metrics.exists("score")
            trial.status = "COMPLETED"
            client.end_trial(trial)
        assert client.create_trial("worker0").status == "STOPPED"
        assert search.over
        assert [t.score for t in client.get_best_trials(2)] == [2.0, 3.0]
        assert search.granted == {"stock worker0": 2}

    def test_shares_the_search_with_a_worker_of_ours(self, stock: tuple[Any, Search]) -> None:
        client, search = stock
        trial = client.create_trial("worker0")
        ours = search.next_trial("w", "t")
        assert isinstance(ours, Grant)
        assert {trial.trial_id, ours.trial.trial_id} == {"0", "1"}
        trial.status = "FAILED"
        client.end_trial(trial)
        search.update_trial(ours.trial.trial_id, ours.attempt, {"score": 1.0}, 0)
        ours.trial.status = "COMPLETED"
        search.end_trial(ours.trial, ours.attempt)
        assert client.create_trial("worker0").status == "STOPPED"

    def test_cannot_end_a_trial_of_a_worker_of_ours(self, stock: tuple[Any, Search]) -> None:
        client, search = stock
        ours = search.next_trial("w", "t")
        assert isinstance(ours, Grant)
        other = codec.trial_from_json(codec.trial_to_json(ours.trial))
        other.status = "COMPLETED"
        client.end_trial(other)
        assert search.trial("0").status == "RUNNING"
        search.leases.check("0", 1)

    def test_adds_to_the_space(self, stock: tuple[Any, Search]) -> None:
        client, search = stock
        space = client.get_space()
        space.Boolean("flag")
        client.update_space(space)
        assert [hp.name for hp in search.space().space] == ["x", "flag"]


def test_one_connection_takes_no_more_than_its_turns(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred calls that wait, of one client, and another's that is answered."""
    begun, over = threading.Semaphore(0), threading.Event()

    def find(*_: object) -> None:
        begun.release()
        over.wait(30.0)

    monkeypatch.setattr(wire.chief, "find", find)
    token = ((HEADER, f"{SCHEME}{CALLER.token}"),)
    body = pb.OpenSearchRequest(description=codec.description_to_json(DESCRIPTION)).SerializeToString()
    with grpc.insecure_channel(wire.address) as channel:
        open_search: Any = channel.unary_unary("/keras_tuning_cluster.Cluster/OpenSearch")
        calls = [open_search.future(body, metadata=token) for _ in range(100)]
        for _ in range(AT_ONCE):
            assert begun.acquire(timeout=20.0)
        assert not begun.acquire(timeout=0.5), "one more than its turns"
        assert [hp.name for hp in wire.session().space().space] == ["x"]
        over.set()
        # Those that were sent before the bound was told are refused as ones to send again, which the client does.
        assert {call.code() for call in calls} <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_a_request_has_a_bound(wire: Wire) -> None:
    with pytest.raises(ClusterError, match="larger than max"):
        wire.session().abort("x" * (MAX_REQUEST + 1))
    assert not wire.search.failure
    assert wire.client.wait_until_there(5.0)


def test_no_call_waits_as_long_as_it_likes() -> None:
    assert [_wait(x) for x in (1.5, 1e308, math.inf, 0.0, -1.0, math.nan)] == [1.5, 60.0, 60.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "a\0", "w" * 301, "\u202egnp"])
def test_a_name_that_does_something_to_a_terminal_is_none(wire: Wire, name: str) -> None:
    with pytest.raises(UsageError, match=r"the worker is no name: .* printable letters"):
        wire.session(worker=name).next_trial(1.0)
