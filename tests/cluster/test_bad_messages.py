"""A chief and messages that no worker sends: it says what is wrong with each, stays up, and writes nowhere else."""

from __future__ import annotations

import collections
import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cluster.chief import Chief, Description
from cluster.policy import Policy
from cluster.program import Identity
from cluster.rpc import codec
from cluster.rpc.client import ChiefClient, RemoteSession
from cluster.rpc.guard import HEADER, SCHEME, StockClients
from cluster.rpc.server import serve
from cluster.search import Answer, Grant
from tests.access import CALLER, guard
from tests.cluster.bad_messages import STREAMED, messages
from tests.cluster.conftest import make_oracle, open_search

# As many as CLUSTER_FUZZ says, for who has the time: `make fuzz`.
COUNT = int(os.environ.get("CLUSTER_FUZZ", "4000"))
SEED = 1
AT_ONCE = 32
SECONDS = 4.0
# What a message may be answered with. UNKNOWN and INTERNAL are what nobody has thought of.
ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.ABORTED,
    # Bytes at random may ask for a search that the chief has yet to come to, or to wait.
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Whatever workers do, the search goes on.
POLICY = Policy(max_failures=10**9, max_attempts=10**9)
DESCRIPTION = Description("T", "O", "score (min)", 3, "results/x", ())


def answers(channel: grpc.Channel, sent: Iterator[tuple[str, bytes]]) -> Iterator[tuple[grpc.StatusCode, str, bytes]]:
    """The status of each message, with its method and what it was."""
    token = ((HEADER, f"{SCHEME}{CALLER.token}"),)

    waiting: collections.deque[tuple[Any, str, bytes]] = collections.deque()
    for method, body in sent:
        call: Any
        if method == STREAMED:
            streamed: Any = channel.stream_unary(method)
            call = streamed.future(iter([body, body]), metadata=token, timeout=SECONDS)
        else:
            single: Any = channel.unary_unary(method)
            call = single.future(body, metadata=token, timeout=SECONDS)
        waiting.append((call, method, body))
        if len(waiting) >= AT_ONCE:
            call, method, body = waiting.popleft()
            yield call.code(), method, body
    for call, method, body in waiting:
        yield call.code(), method, body


def test_the_chief_stays_up_and_whole(
    tmp_path: Path, owned: None, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.ERROR, "cluster")
    home = tmp_path / "home"
    home.mkdir()
    chief = Chief(Identity("tune.py", (), "abc"))
    with open_search(home, oracle=make_oracle(trials=None), policy=POLICY) as search:
        chief.begin(search, DESCRIPTION)
        address = f"unix:{tmp_path}/chief.sock"
        server = serve(chief, POLICY, address, guard(StockClients.ANYWHERE))
        client = ChiefClient(address, CALLER, patience=5.0)
        session = RemoteSession(client, 0, "w", "t")
        grant = session.next_trial(5.0)
        assert isinstance(grant, Grant)
        true = [codec.trial_to_json(grant.trial), codec.space_to_json(search.space())]
        true.append(codec.description_to_json(DESCRIPTION))

        counted: collections.Counter[tuple[str, str]] = collections.Counter()
        with grpc.insecure_channel(address) as channel:
            for code, method, body in answers(channel, itertools.islice(messages(SEED, true), COUNT)):
                counted[method.rpartition("/")[2], code.name] += 1
                assert code in ANSWERS, (method, code, body[:300])
        assert [x for x in caplog.messages if "could not answer" in x] == []
        assert not search.failure
        assert isinstance(session.next_trial(5.0), Grant | Answer)
        client.close()
        server.stop(0).wait()
    names = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert names == {"home", "chief.sock"} - ({"chief.sock"} - names)
    assert not list(tmp_path.parent.glob("escaped*"))
    assert not [path for path in tmp_path.rglob("*") if "escaped" in path.name]
    with capsys.disabled():
        by_code = collections.Counter(code for (_, code), n in counted.items() for _ in range(n))
        print(f"\n{sum(by_code.values())} bad messages: {dict(by_code.most_common())}")
