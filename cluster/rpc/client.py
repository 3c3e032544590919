"""A worker's way to the chief: calls that are sent again until they arrive, within bounds.

Owns the channel, deadlines and retries. Every call of the service is safe to repeat, so a chief that blinks costs
seconds and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from cluster.chief import Description
from cluster.errors import ChiefUnreachable, WrongToken
from cluster.rpc import cluster_pb2 as pb
from cluster.rpc import cluster_pb2_grpc, codec
from cluster.rpc.guard import HEADER, SCHEME
from cluster.rpc.server import MAX_MESSAGE, SEARCH_ID
from cluster.rpc.status import TRY_AGAIN, error_of
from cluster.rpc.tls import ClientTls, why_no_handshake
from cluster.search import Answer, Grant

log = logging.getLogger(__name__)

REPORT_SECONDS = 5.0  # the deadline of a report, which training waits for
CALL_SECONDS = 30.0  # the deadline of a call that does not wait for anything on the chief
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    # A network that is cut in silence is found out within ten seconds, not after TCP's quarter of an hour.
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name, how long one try to connect may take: TLS on a busy host, or far away, needs its time.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
]


@dataclass(frozen=True)
class Credentials:
    """What a caller brings along.

    Attributes:
        token: The chief's token.
        place: Where it comes from, in words.
        tls: For a chief that talks TLS; None: it does not.
    """

    token: str = field(repr=False)
    place: str
    tls: ClientTls | None = None


class ChiefClient:
    """A connection to a chief. Any thread may call any method.

    Args:
        address: `host:port` or `unix:path`; on the latter there is no TLS, for only this machine's users reach it.
        credentials: What it is let in with.
        patience: How long to go on without an answer before giving up, in seconds.
    """

    def __init__(self, address: str, credentials: Credentials, patience: float) -> None:
        self.address = address
        self._credentials = credentials
        self._tls = None if address.startswith("unix:") else credentials.tls
        self._header = (HEADER, f"{SCHEME}{credentials.token}")
        self._patience = patience
        self._channel = (
            grpc.insecure_channel(address, options=OPTIONS)
            if self._tls is None
            else grpc.secure_channel(address, self._tls.credentials(), options=OPTIONS)
        )
        self._stub = cluster_pb2_grpc.ClusterStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def wait_until_there(self, seconds: float) -> bool:
        """Waits until the chief can be reached, `seconds` at most; returns whether it can."""
        try:
            grpc.channel_ready_future(self._channel).result(timeout=seconds)
        except grpc.FutureTimeoutError:
            return False
        return True

    def why_not_there(self) -> str:
        """What keeps a chief that listens from being reached, to go on a sentence with; empty where unknown."""
        if self.address.startswith("unix:"):
            return ""
        why = why_no_handshake(self.address, self._tls)
        return f". Something listens there, but {why}" if why else ""

    def attend(self, beats: Iterator[pb.Beat], ended: Callable[[], None] = lambda: None) -> Iterator[pb.Ack]:
        """Opens the supervisor's stream.

        Args:
            beats: What to send; there is one answer to each.
            ended: Called from another thread when the stream has ended or broken.

        Raises:
            Refused: the chief does not take this worker.
            WrongToken: it does not take its token.
            ChiefUnreachable: the stream broke.
        """
        try:
            stream = self._stub.Attend(beats, metadata=(self._header,))
            if not stream.add_callback(ended):
                ended()
            yield from stream
        except grpc.RpcError as error:
            if error.code() in (*TRY_AGAIN, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN):
                raise ChiefUnreachable(f"the connection to the chief at {self.address} broke") from None
            raise self._error(error) from None

    def call(
        self,
        method: str,
        request: Any,
        seconds: float = CALL_SECONDS,
        patience: float | None = None,
        search_id: str = "",
    ) -> Any:
        """Calls `method` and returns its reply; sends it again while the chief cannot be reached.

        Args:
            method: Its name in `cluster.proto`.
            request: Its message.
            seconds: The deadline of one try.
            patience: How long to go on trying, where it differs from the client's.
            search_id: The search that the call is about, for those within one.

        Raises:
            ChiefUnreachable: patience has run out.
            ClusterError: what the chief answered, by the table in `status.py`.
        """
        patience = self._patience if patience is None else patience
        gone_since: float | None = None
        pause = 0.05
        while True:
            try:
                about = ((SEARCH_ID, search_id), self._header)
                return getattr(self._stub, method)(request, timeout=seconds, metadata=about)
            except grpc.RpcError as error:
                if error.code() not in TRY_AGAIN:
                    raise self._error(error) from None
                now = time.monotonic()
                if gone_since is None:
                    gone_since = now
                if now - gone_since >= patience:
                    raise ChiefUnreachable(
                        f"the chief at {self.address} has not answered for {patience:.0f} s"
                    ) from None
                time.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _error(self, error: grpc.RpcError) -> Exception:
        found = error_of(error.code(), error.details() or "")
        if isinstance(found, WrongToken):
            return WrongToken(
                f"the chief at {self.address} does not take the token of {self._credentials.place}. Its own is where "
                "it was started, in ~/.keras-tuning-cluster/token unless another was named: bring it here, and name it "
                "with --token-file"
            )
        return found

    # --- what a trainer asks

    def open_search(self, index: int, description: Description, wait: float = 20.0) -> tuple[str, str, str]:
        """Waits until the chief has reached the `index`-th search; returns its directory, project name and id."""
        text = codec.description_to_json(description)
        request = pb.OpenSearchRequest(index=index, description=text, wait_seconds=wait)
        while True:
            reply = self.call("OpenSearch", request, wait + CALL_SECONDS)
            if reply.found:
                return reply.directory, reply.project_name, reply.search_id

    def program_raised(self, worker: str, traceback: str) -> bool:
        """Tells the chief that the program raised; returns whether it had not been told the same before."""
        request = pb.ProgramRaisedRequest(worker=worker, traceback=traceback)
        return bool(self.call("ProgramRaised", request, 5.0, patience=2.0).news)

    def trainer_ended(
        self,
        trainer: str,
        reason: str,
        *,
        counted: bool,
        out_of_memory: bool = False,
        patience: float | None = None,
    ) -> None:
        """Tells the chief how a trainer ended."""
        request = pb.TrainerEndedRequest(trainer=trainer, reason=reason, counted=counted, out_of_memory=out_of_memory)
        self.call("TrainerEnded", request, patience=patience)

    # --- what those ask who look on

    def watch(self, search: str = "", mark: str = "", version: int = 0, wait: float = 0.0) -> dict[str, Any]:
        """What has changed in a search; waits until something has.

        Args:
            search: Its project directory, as an answer named it; empty: the newest.
            mark: The reading that `version` is of, as the last answer named it.
            version: What is known already; 0 for nothing.
            wait: How long to wait, in seconds.

        Returns:
            What `watched.WatchedSearches.changes` gives.
        """
        request = pb.WatchRequest(search_id=search, mark=mark, version=version, wait_seconds=wait)
        answer: dict[str, Any] = json.loads(self.call("Watch", request, wait + CALL_SECONDS).body)
        return answer

    def log(self, search: str, trial: str) -> str:
        """The end of what a trial has printed; empty where nothing is kept of it."""
        return str(json.loads(self.call("GetLog", pb.GetLogRequest(search_id=search, trial_id=trial)).body))


class RemoteSession:
    """A trainer's session with one search of the chief; the twin of `trainer.LocalSession`.

    Args:
        client: The connection.
        index: Which search, from 0.
        worker: The worker's name.
        trainer: The id of this trainer process.
        search_id: The search's id, as `open_search` gave it.
        device: What the trainer runs on, in words.
        packed: Whether others may be on the same device.
    """

    def __init__(
        self,
        client: ChiefClient,
        index: int,
        worker: str,
        trainer: str,
        search_id: str = "",
        device: str = "",
        packed: bool = False,
    ) -> None:
        self._call: Callable[..., Any] = functools.partial(client.call, search_id=search_id)
        self._index = index
        self._worker = worker
        self._trainer = trainer
        self._device = device
        self._packed = packed
        self._in_hand: dict[str, str] = {}  # the trial that was granted, as the chief told it last

    def next_trial(self, timeout: float) -> Grant | Answer:
        request = pb.NextTrialRequest(
            search=self._index,
            worker=self._worker,
            trainer=self._trainer,
            wait_seconds=timeout,
            device=self._device,
            packed=self._packed,
        )
        reply = self._call("NextTrial", request, timeout + CALL_SECONDS)
        if reply.kind == pb.NextTrialReply.GRANT:
            trial = codec.trial_from_json(reply.trial)
            self._in_hand = {trial.trial_id: reply.trial}
            return Grant(trial, reply.attempt, reply.ran_out)
        if reply.kind == pb.NextTrialReply.ALONE:
            return Answer.ALONE
        return Answer.OVER if reply.kind == pb.NextTrialReply.OVER else Answer.WAIT

    def update_trial(self, trial_id: str, attempt: int, metrics: dict[str, float], step: int) -> Any:
        request = pb.UpdateTrialRequest(
            search=self._index, trial_id=trial_id, attempt=attempt, metrics=metrics, step=step
        )
        body = self._call("UpdateTrial", request).body
        self._in_hand = {trial_id: body}
        return codec.trial_from_json(body)

    def report_epoch(
        self, trial_id: str, attempt: int, epoch: int, logs: dict[str, float], of: int = 0, execution: int = 0
    ) -> bool:
        request = pb.ReportEpochRequest(
            search=self._index,
            trial_id=trial_id,
            attempt=attempt,
            epoch=epoch,
            logs=logs,
            of=of,
            execution=execution,
        )
        reply = self._report("ReportEpoch", request)
        return reply is not None and bool(reply.stop)

    def report_progress(self, trial_id: str, attempt: int) -> None:
        self._report("ReportProgress", pb.ReportProgressRequest(search=self._index, trial_id=trial_id, attempt=attempt))

    def _report(self, method: str, request: Any) -> Any:
        """For the eye and for watchdogs: training does not wait for a chief that is away, which gives None."""
        with contextlib.suppress(ChiefUnreachable):
            return self._call(method, request, REPORT_SECONDS, patience=0.0)
        return None

    def end_trial(self, trial: Any, attempt: int) -> None:
        text = codec.trial_to_json(trial)
        self._in_hand = {}
        self._call("EndTrial", pb.EndTrialRequest(search=self._index, trial=text, attempt=attempt))

    def trial(self, trial_id: str) -> Any:
        # Nobody else changes what this trainer holds, and KerasTuner asks for it at each trial's end.
        body = self._in_hand.get(trial_id)
        if body is None:
            body = self._call("GetTrial", pb.GetTrialRequest(search=self._index, trial_id=trial_id)).body
        return codec.trial_from_json(body)

    def best_trials(self, number: int) -> list[Any]:
        body = self._call("GetBestTrials", pb.GetBestTrialsRequest(search=self._index, number=number)).body
        return [codec.trial_from_json(json.dumps(state)) for state in json.loads(body)]

    def space(self) -> Any:
        return codec.space_from_json(self._call("GetSpace", pb.SearchRef(search=self._index)).body)

    def update_space(self, hyperparameters: Any) -> None:
        text = codec.space_to_json(hyperparameters)
        self._call("UpdateSpace", pb.UpdateSpaceRequest(search=self._index, space=text))

    def abort(self, traceback: str) -> None:
        """Ends the search with an error that KerasTuner calls fatal."""
        self._call("AbortSearch", pb.AbortSearchRequest(search=self._index, worker=self._worker, traceback=traceback))

    def state(self, *, stays: bool = False) -> dict[str, Any]:
        """All that the search's oracle knows.

        Args:
            stays: Whether there are files to fetch: the chief then waits until this worker has left.
        """
        request = pb.GetStateRequest(search=self._index, worker=self._worker, stays=stays)
        body = self._call("GetState", request).body
        state: dict[str, Any] = json.loads(body)
        return state
