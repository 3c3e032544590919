"""Serves a `Chief` over gRPC: a thin shell, every decision is the chief's or the search's."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, TypeVar

import grpc

from cluster.chief import Chief, Host
from cluster.errors import CannotListen, ChiefUnreachable, ClusterError, SearchFailed, UsageError
from cluster.names import check_name
from cluster.policy import Policy
from cluster.program import Identity
from cluster.rpc import cluster_pb2 as pb
from cluster.rpc import cluster_pb2_grpc, codec
from cluster.rpc.checked import CheckedRequests
from cluster.rpc.guard import Guard
from cluster.rpc.status import abort
from cluster.rpc.stock import StockService
from cluster.rpc.timing import Answered, TimedCalls
from cluster.rpc.tls import ServerTls
from cluster.search import Answer, Grant, Search
from cluster.watched import WatchedSearches

log = logging.getLogger(__name__)

# Each worker holds a thread for its stream and one for the call that waits for a trial; threads are made when needed.
THREADS = 1024
SEARCH_ID = "search-id"
LONGEST_WAIT = 60.0  # seconds; who wants to wait longer asks again, and no thread waits for who has gone
MAX_MESSAGE = 256 * 1024 * 1024  # of an answer: the state of a long search
MAX_REQUEST = 32 * 1024 * 1024
AT_ONCE = 32  # calls of one connection; what is more waits on the caller's side, and takes nobody's turn here
OPTIONS = [
    ("grpc.so_reuseport", 0),  # two chiefs on one port would split the trials between them
    ("grpc.max_receive_message_length", MAX_REQUEST),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_concurrent_streams", AT_ONCE),
    # Workers ask often whether the connection still stands.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_timeout_ms", 10_000),
]
Reply = TypeVar("Reply")
Context = grpc.ServicerContext


def serve(
    chief: Chief,
    policy: Policy,
    listen: str,
    guard: Guard,
    answered: Answered | None = None,
    tls: ServerTls | None = None,
) -> grpc.Server:
    """Starts to serve `chief` at `listen` (`host:port` or `unix:path`); `stop(grace)` ends it.

    Args:
        chief: The chief.
        policy: What the user decides.
        listen: Where.
        guard: Who is let in.
        answered: Told of each call that was answered, and how long that took.
        tls: The chief's side of TLS; on a socket file there is none.

    Raises:
        CannotListen: the address cannot be bound.
    """
    # A cut network closes nothing: leases end by their time, and the streams left behind are cleared away after it.
    options = [*OPTIONS, ("grpc.keepalive_time_ms", int(2000 * policy.lease_seconds))]
    pool = futures.ThreadPoolExecutor(THREADS, thread_name_prefix="rpc")
    timed = [TimedCalls(answered)] if answered else []
    server = grpc.server(pool, interceptors=[guard, CheckedRequests(), *timed], options=options)
    cluster_pb2_grpc.add_ClusterServicer_to_server(ClusterService(chief, policy), server)  # type: ignore[no-untyped-call]
    server.add_generic_rpc_handlers((StockService(chief, policy),))
    try:
        if tls is None or listen.startswith("unix:"):
            bound = server.add_insecure_port(listen)
        else:
            bound = server.add_secure_port(listen, tls.credentials())
    except RuntimeError:
        bound = 0
    if not bound:
        raise CannotListen(
            f"the chief cannot listen on {listen}: the port is taken, or the address is not this machine's. "
            "Choose another with --listen HOST:PORT"
        )
    server.start()
    return server


def _answered(method: Callable[[Any, Any, Context], Reply]) -> Callable[[Any, Any, Context], Reply]:
    """Turns errors into statuses, by the one table."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: Context) -> Reply:
        try:
            return method(self, request, context)
        except Exception as error:
            abort(context, error, method.__name__)

    return call


def _wait(seconds: float) -> float:
    """How long a call waits that asks to wait so long; what is no time at all is none."""
    return min(seconds, LONGEST_WAIT) if seconds > 0 else 0.0


def _plain(**texts: str) -> None:
    """Checks texts that are shown on terminals, and kept in files, as they come.

    Raises:
        UsageError: one is long, or has letters in it that do something to a terminal.
    """
    for name, text in texts.items():
        check_name(name, text)


class ClusterService(cluster_pb2_grpc.ClusterServicer):
    """The service of `cluster.proto`."""

    def __init__(self, chief: Chief, policy: Policy) -> None:
        self._chief = chief
        self._policy = policy
        self._watched = WatchedSearches(lambda: [search.directory for search, _ in chief.searches])

    def Attend(self, beats: Iterator[pb.Beat], context: Context) -> Iterator[pb.Ack]:
        first = next(beats, None)
        if first is None:
            return
        hello = first.hello
        try:
            _plain(worker=first.worker, session=first.session, host=hello.host)
            identity = Identity(hello.program, tuple(hello.arguments), hello.digest)
            host = Host(hello.host, hello.host_id, hello.cores, hello.group)
            self._chief.join(first.worker, first.session, host, identity, waiting=first.waiting)
        except ClusterError as error:
            abort(context, error, "Attend")
        reason, counted = f"{first.worker} is gone (its connection closed)", True
        try:
            yield self._ack(first)
            for beat in beats:
                if beat.goodbye:
                    reason, counted = beat.goodbye, False
                yield self._ack(beat)
        finally:
            self._chief.left(first.worker, first.session, reason, counted=counted)

    def _ack(self, beat: pb.Beat) -> pb.Ack:
        leaving = self._chief.beat(beat.worker, waiting=beat.waiting)
        share = self._chief.share(beat.worker)
        dismissed = self._chief.dismissed(beat.trainer) or ""
        ended = self._chief.ended
        ack = pb.Ack(
            lease_seconds=self._policy.lease_seconds,
            dismissed=dismissed,
            ended=ended,
            waiting=beat.waiting,
            place=share.place,
            places=share.places,
            together=share.together,
        )
        if leaving is not None:
            ack.leaving, ack.reason, ack.exit_code = True, leaving.reason, leaving.exit_code
        return ack

    @_answered
    def TrainerEnded(self, request: pb.TrainerEndedRequest, context: Context) -> pb.Empty:
        self._chief.trainer_ended(
            request.trainer, request.reason, counted=request.counted, out_of_memory=request.out_of_memory
        )
        return pb.Empty()

    @_answered
    def ProgramRaised(self, request: pb.ProgramRaisedRequest, context: Context) -> pb.ProgramRaisedReply:
        _plain(worker=request.worker)
        news = self._chief.tell_once(request.traceback)
        if news:
            log.error("the program raised on %s:\n%s", request.worker, request.traceback.rstrip())
        return pb.ProgramRaisedReply(news=news)

    @_answered
    def OpenSearch(self, request: pb.OpenSearchRequest, context: Context) -> pb.OpenSearchReply:
        description = codec.description_from_json(request.description)
        found = self._chief.find(request.index, description, _wait(request.wait_seconds), context.is_active)
        if found is None:
            return pb.OpenSearchReply(found=False)
        search, _ = found
        directory = search.directory
        return pb.OpenSearchReply(
            found=True, directory=str(directory.parent), project_name=directory.name, search_id=search.id
        )

    @_answered
    def NextTrial(self, request: pb.NextTrialRequest, context: Context) -> pb.NextTrialReply:
        _plain(worker=request.worker, trainer=request.trainer, device=request.device)
        search = self._search(request, context)
        answer = search.next_trial(
            request.worker,
            request.trainer,
            _wait(request.wait_seconds),
            context.is_active,
            device=request.device,
            packed=request.packed,
        )
        if isinstance(answer, Grant):
            trial = codec.trial_to_json(answer.trial)
            return pb.NextTrialReply(
                kind=pb.NextTrialReply.GRANT, trial=trial, attempt=answer.attempt, ran_out=answer.ran_out
            )
        if answer is not Answer.OVER:
            kind = pb.NextTrialReply.WAIT if answer is Answer.WAIT else pb.NextTrialReply.ALONE
            return pb.NextTrialReply(kind=kind)
        if search.failure is not None:
            raise SearchFailed(str(search.failure))
        return pb.NextTrialReply(kind=pb.NextTrialReply.OVER)

    @_answered
    def UpdateTrial(self, request: pb.UpdateTrialRequest, context: Context) -> pb.Json:
        search = self._search(request, context)
        try:
            trial = search.update_trial(request.trial_id, request.attempt, dict(request.metrics), request.step)
        except ValueError as error:  # KerasTuner's own: no objective among them
            raise UsageError(str(error)) from None
        return pb.Json(body=codec.trial_to_json(trial))

    @_answered
    def ReportEpoch(self, request: pb.ReportEpochRequest, context: Context) -> pb.ReportEpochReply:
        stop = self._search(request, context).report_epoch(
            request.trial_id, request.attempt, request.epoch, dict(request.logs), request.of, request.execution
        )
        return pb.ReportEpochReply(stop=stop)

    @_answered
    def ReportProgress(self, request: pb.ReportProgressRequest, context: Context) -> pb.Empty:
        self._search(request, context).report_progress(request.trial_id, request.attempt)
        return pb.Empty()

    @_answered
    def EndTrial(self, request: pb.EndTrialRequest, context: Context) -> pb.Empty:
        self._search(request, context).end_trial(codec.trial_from_json(request.trial), request.attempt)
        return pb.Empty()

    @_answered
    def AbortSearch(self, request: pb.AbortSearchRequest, context: Context) -> pb.Empty:
        _plain(worker=request.worker)
        if self._chief.tell_once(request.traceback):
            log.error("the program raised in the search on %s:\n%s", request.worker, request.traceback.rstrip())
        last = request.traceback.rstrip().rsplit("\n", 1)[-1]
        self._search(request, context).fail(
            SearchFailed(f"the program raised in the search on {request.worker}: {last}")
        )
        return pb.Empty()

    @_answered
    def GetTrial(self, request: pb.GetTrialRequest, context: Context) -> pb.Json:
        return pb.Json(body=codec.trial_to_json(self._search(request, context).trial(request.trial_id)))

    @_answered
    def GetBestTrials(self, request: pb.GetBestTrialsRequest, context: Context) -> pb.Json:
        trials = self._search(request, context).best_trials(request.number)
        return pb.Json(body=json.dumps([trial.get_state() for trial in trials]))

    @_answered
    def GetSpace(self, request: pb.SearchRef, context: Context) -> pb.Json:
        return pb.Json(body=codec.space_to_json(self._search(request, context).space()))

    @_answered
    def UpdateSpace(self, request: pb.UpdateSpaceRequest, context: Context) -> pb.Empty:
        self._search(request, context).update_space(codec.space_from_json(request.space))
        return pb.Empty()

    @_answered
    def GetState(self, request: pb.GetStateRequest, context: Context) -> pb.Json:
        self._search(request, context)
        return pb.Json(body=self._chief.read(request.worker, request.search, stays=request.stays))

    @_answered
    def PutPiece(self, request: pb.PutPieceRequest, context: Context) -> pb.PutPieceReply:
        search, content = self._search(request, context), (request.digest, request.size)
        search.note_progress(request.trial_id, request.attempt)
        offset = search.files.put(request.trial_id, request.attempt, *content, request.offset, request.data)
        return pb.PutPieceReply(offset=offset)

    @_answered
    def CommitFiles(self, request: pb.CommitFilesRequest, context: Context) -> pb.CommitFilesReply:
        entries = codec.entries_of(request.files)
        search, more = self._search(request, context), request.more
        search.note_progress(request.trial_id, request.attempt)
        missing = search.files.commit(request.trial_id, request.attempt, entries, more=more)
        return pb.CommitFilesReply(missing=missing)

    @_answered
    def ListFiles(self, request: pb.ListFilesRequest, context: Context) -> pb.FileList:
        search = self._search(request, context)
        search.trial(request.trial_id)
        return pb.FileList(files=codec.files_of(search.files.entries(request.trial_id)))

    @_answered
    def GetPiece(self, request: pb.GetPieceRequest, context: Context) -> pb.Piece:
        search = self._search(request, context)
        search.trial(request.trial_id)
        return pb.Piece(data=search.files.read(request.trial_id, request.name, request.offset))

    @_answered
    def AppendLog(self, request: pb.AppendLogRequest, context: Context) -> pb.AppendLogReply:
        files = self._search(request, context).files
        at = files.append_log(request.trial_id, request.attempt, request.at, request.data)
        return pb.AppendLogReply(at=at)

    @_answered
    def Watch(self, request: pb.WatchRequest, context: Context) -> pb.Json:
        about = (request.search_id, request.mark, request.version, _wait(request.wait_seconds))
        return pb.Json(body=json.dumps(self._watched.changes(*about, context.is_active)))

    @_answered
    def GetLog(self, request: pb.GetLogRequest, context: Context) -> pb.Json:
        return pb.Json(body=json.dumps(self._watched.log(request.search_id, request.trial_id)))

    def _search(self, request: Any, context: Context) -> Search:
        search_id = str(dict(context.invocation_metadata()).get(SEARCH_ID, ""))
        patience = max(0.0, context.time_remaining() - 2.0)
        search = self._chief.search_at(request.search, search_id, patience, context.is_active)
        if search is None:
            raise ChiefUnreachable("the chief has not come to this search yet")
        return search
