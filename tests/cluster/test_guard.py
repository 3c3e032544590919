"""Nobody without the token is let in, whatever is called; stock clients only where they are allowed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from cluster.chief import Chief, Description
from cluster.errors import WrongToken
from cluster.policy import Policy
from cluster.program import Identity
from cluster.rpc import cluster_pb2 as pb
from cluster.rpc.client import ChiefClient, Credentials, RemoteSession
from cluster.rpc.guard import Guard, StockClients, host_of, is_loopback
from cluster.rpc.server import serve
from cluster.rpc.stock import METHODS, PREFIX
from cluster.search import Grant, Search
from tests.access import CALLER, guard
from tests.cluster.conftest import Clock, make_oracle, open_search

PROGRAM = Identity("tune.py", (), "abc")
DESCRIPTION = Description("T", "O", "score (min)", 3, "results/x", ())
OWN = pb.DESCRIPTOR.services_by_name["Cluster"]
# One that is added belongs here, with a request that would change something if it were let in.
REQUESTS: dict[str, Any] = {
    "Attend": pb.Beat(worker="w", session="s", hello=pb.Hello(host="box", program="tune.py", digest="abc")),
    "TrainerEnded": pb.TrainerEndedRequest(trainer="t", reason="because", counted=True),
    "ProgramRaised": pb.ProgramRaisedRequest(worker="w", traceback="boom"),
    "OpenSearch": pb.OpenSearchRequest(description='{"space": []}'),
    "NextTrial": pb.NextTrialRequest(worker="w", trainer="u"),
    "UpdateTrial": pb.UpdateTrialRequest(trial_id="0", attempt=1, metrics={"score": 1.0}),
    "ReportEpoch": pb.ReportEpochRequest(trial_id="0", attempt=1, logs={"score": 1.0}),
    "ReportProgress": pb.ReportProgressRequest(trial_id="0", attempt=1),
    "EndTrial": pb.EndTrialRequest(trial="{}", attempt=1),
    "AbortSearch": pb.AbortSearchRequest(worker="w", traceback="boom"),
    "GetTrial": pb.GetTrialRequest(trial_id="0"),
    "GetBestTrials": pb.GetBestTrialsRequest(number=1),
    "GetSpace": pb.SearchRef(),
    "UpdateSpace": pb.UpdateSpaceRequest(space='{"space": []}'),
    "PutPiece": pb.PutPieceRequest(trial_id="0", attempt=1, digest="0" * 64, size=1, data=b"x"),
    "CommitFiles": pb.CommitFilesRequest(trial_id="0", attempt=1),
    "ListFiles": pb.ListFilesRequest(trial_id="0"),
    "GetPiece": pb.GetPieceRequest(trial_id="0", name="build_config.json"),
    "AppendLog": pb.AppendLogRequest(trial_id="0", attempt=1, data=b"x"),
    "GetState": pb.GetStateRequest(worker="w"),
    "Watch": pb.WatchRequest(),
    "GetLog": pb.GetLogRequest(trial_id="0"),
}
WRONG: list[tuple[tuple[str, str | bytes], ...]] = [
    (),
    (("authorization", ""),),
    (("authorization", CALLER.token),),
    (("authorization", "Bearer"),),
    (("authorization", "Bearer "),),
    (("authorization", f"Bearer {CALLER.token}x"),),
    (("authorization", f"Bearer {CALLER.token[:-1]}"),),
    (("authorization", f"bearer {CALLER.token}"),),
    (("authorization", f"Bearer {CALLER.token}"), ("authorization", "Bearer x")),
    (("authorization-bin", f"Bearer {CALLER.token}".encode()),),
    (("token", CALLER.token),),
]


@contextlib.contextmanager
def served(directory: Path, address: str, own: Guard) -> Iterator[tuple[Chief, Search]]:
    chief = Chief(PROGRAM)
    with open_search(directory, oracle=make_oracle(trials=3)) as search:
        chief.begin(search, DESCRIPTION)
        server = serve(chief, Policy(), address, own)
        try:
            yield chief, search
        finally:
            server.stop(0).wait()


@contextlib.contextmanager
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as found:
        yield found


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def status(call: Callable[[], Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code: grpc.StatusCode = caught.value.code()
    return code


def read(call: Callable[[], Iterator[Any]]) -> list[Any]:
    """All that a stream answers."""
    return list(call())


def test_every_call_is_listed() -> None:
    assert set(REQUESTS) == {method.name for method in OWN.methods}


def test_without_the_token_no_call_is_answered_and_nothing_changes(tmp_path: Path, owned: None) -> None:
    address = f"unix:{tmp_path}/chief.sock"
    own = guard()
    with served(tmp_path, address, own) as (chief, search), channel(address) as wire:
        client = ChiefClient(address, CALLER, patience=5.0)
        grant = RemoteSession(client, 0, "w", "t").next_trial(5.0)
        assert isinstance(grant, Grant)
        before = files(tmp_path), search.leases.open, chief.present
        calls = [(f"/{OWN.full_name}/{name}", request.SerializeToString()) for name, request in REQUESTS.items()]
        calls += [(f"{PREFIX}{name}", b"") for name in METHODS]
        calls += [("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b""), ("/", b""), ("/none", b"")]
        for name, body in calls:
            for header in WRONG:
                about: dict[str, Any] = {"metadata": header, "timeout": 20.0}
                whole: partial[Any] = partial(wire.unary_unary(name), body, **about)
                assert status(whole) is grpc.StatusCode.UNAUTHENTICATED, (name, header)
                stream: partial[Any] = partial(wire.stream_stream(name), iter([body]), **about)
                assert status(partial(read, stream)) is grpc.StatusCode.UNAUTHENTICATED, (name, header)
        assert (files(tmp_path), search.leases.open, chief.present) == before
        assert own.refused == 2 * len(calls) * len(WRONG)
        assert search.failure is None
        client.close()


def test_who_calls_without_a_word_is_answered_all_the_same(tmp_path: Path, owned: None) -> None:
    """A stream on which nothing is sent holds no thread of the chief's."""
    address = f"unix:{tmp_path}/chief.sock"
    with served(tmp_path, address, guard()), channel(address) as wire:
        call: Any = wire.stream_stream(f"/{OWN.full_name}/Attend")(iter(()), timeout=20.0)
        assert status(lambda: list(call)) is grpc.StatusCode.UNAUTHENTICATED


def test_a_client_says_whose_token_is_wrong(tmp_path: Path, owned: None) -> None:
    address = f"unix:{tmp_path}/chief.sock"
    with served(tmp_path, address, guard()):
        client = ChiefClient(address, Credentials("a wrong one", "/some/file"), patience=5.0)
        for call in (lambda: client.watch(), lambda: list(client.attend(iter([pb.Beat()])))):
            with pytest.raises(WrongToken, match=r"does not take the token of /some/file\. .*--token-file") as caught:
                call()
            assert "a wrong one" not in str(caught.value)
        client.close()
    assert "a wrong one" not in repr(Credentials("a wrong one", "/some/file"))


def test_refused_calls_are_told_of_now_and_then(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    own = Guard("secret", clock=clock)

    class Context:
        def peer(self) -> str:
            return "ipv4:10.0.0.7:51044"

        def abort(self, code: grpc.StatusCode, details: str) -> None:
            raise PermissionError(code, details)

    def refused() -> None:
        with pytest.raises(PermissionError):
            own._refuse(iter(()), Context())  # type: ignore[arg-type]

    with caplog.at_level(logging.WARNING, "cluster"):
        for _ in range(5):
            refused()
        clock.now += 61.0
        refused()
    assert [x.getMessage() for x in caplog.records] == [
        "refused a call without the right token from 10.0.0.7; 1 so far",
        "refused a call without the right token from 10.0.0.7; 6 so far",
    ]
    assert "secret" not in caplog.text


def test_a_chief_has_a_token() -> None:
    with pytest.raises(ValueError, match="open to everybody"):
        Guard("")


@pytest.mark.parametrize(
    ("stock", "peer", "admitted"),
    [
        (StockClients.NOWHERE, "ipv4:127.0.0.1:1", False),
        (StockClients.LOOPBACK, "ipv4:127.0.0.1:1", True),
        (StockClients.LOOPBACK, "ipv4:10.0.0.7:1", False),
        (StockClients.LOOPBACK, "nonsense", False),
        (StockClients.ANYWHERE, "ipv4:10.0.0.7:1", True),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_stock_clients(stock: StockClients, peer: str, admitted: bool, method: str) -> None:
    class Context:
        def peer(self) -> str:
            return peer

        def abort(self, code: grpc.StatusCode, details: str) -> None:
            raise PermissionError(code)

    class Details:
        invocation_metadata = ()

        def __init__(self, name: str) -> None:
            self.method = name

    answers: Any = grpc.unary_unary_rpc_method_handler(lambda _request, _context: "answered")
    own = Guard("secret", stock)

    def call(name: str) -> Any:
        handler = own.intercept_service(lambda _: answers, Details(name))  # type: ignore[arg-type]
        assert handler is not None
        answer: Any = handler.unary_unary or handler.stream_stream
        try:
            return answer(b"", Context())
        except PermissionError:
            return "refused"

    assert call(f"{PREFIX}{method}") == ("answered" if admitted else "refused")
    assert call(f"/{OWN.full_name}/NextTrial") == "refused", "the cluster's own calls always need the token"


def test_only_known_methods_of_the_stock_service_are_answered(tmp_path: Path, owned: None) -> None:
    address = f"unix:{tmp_path}/chief.sock"
    with served(tmp_path, address, guard(StockClients.ANYWHERE)), channel(address) as wire:
        for name in ("bytes", "attempt", "_init__", "None", ""):
            call: Any = wire.unary_unary(f"{PREFIX}{name}")
            assert status(partial(call, b"", timeout=20.0)) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("peer", "host", "here"),
    [
        ("ipv4:127.0.0.1:5", "127.0.0.1", True),
        ("ipv4:127.9.9.9:5", "127.9.9.9", True),
        ("ipv4:10.0.0.7:5", "10.0.0.7", False),
        ("ipv6:[::1]:5", "::1", True),
        ("ipv6:%5B::1%5D:5", "::1", True),
        ("ipv6:[::ffff:127.0.0.1]:5", "::ffff:127.0.0.1", True),
        ("ipv6:[::ffff:10.0.0.7]:5", "::ffff:10.0.0.7", False),
        ("ipv6:[fe80::1]:5", "fe80::1", False),
        ("unix:", "this machine", True),
        ("unix:/run/chief.sock", "this machine", True),
        ("", "this machine", False),
        ("nonsense", "this machine", False),
    ],
)
def test_peers(peer: str, host: str, here: bool) -> None:
    assert (host_of(peer), is_loopback(peer)) == (host, here)
