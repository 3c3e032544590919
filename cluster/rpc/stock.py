"""KerasTuner's own service on the chief's port: a stock client, without the launcher, can take trials.

Owns the translation from KerasTuner's protos. A stock client sends no attempt and no heartbeat: it is known by its
tuner id, holds one trial at a time, and its lease is long (`Policy.stock_lease_seconds`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from cluster import seams
from cluster.chief import Chief
from cluster.errors import LeaseLost, UsageError
from cluster.policy import Policy
from cluster.rpc.status import abort
from cluster.search import Grant, Search

log = logging.getLogger(__name__)

PREFIX = "/keras_tuner.Oracle/"
METHODS = ("GetSpace", "UpdateSpace", "CreateTrial", "UpdateTrial", "EndTrial", "GetTrial", "GetBestTrials")
WAIT_SECONDS = 20.0  # how long CreateTrial waits before it says IDLE, on which a stock client asks again at once


def _parsed(kind: Any, body: bytes) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise UsageError(f"what came is no {kind.__name__}") from error


class StockService(grpc.GenericRpcHandler):
    """Handles raw bytes, for KerasTuner's protos are importable only once the program has imported KerasTuner.

    Args:
        chief: The chief; stock clients take trials of its newest search.
        policy: What the user decides.
    """

    def __init__(self, chief: Chief, policy: Policy) -> None:
        self._chief = chief
        self._policy = policy

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """The handler of a call, or None where it is not KerasTuner's."""
        name = details.method.removeprefix(PREFIX)
        if not details.method.startswith(PREFIX) or name not in METHODS:
            return None
        return grpc.unary_unary_rpc_method_handler(self._bytes(getattr(self, f"_{name}")))

    def _bytes(self, method: Callable[[Search, Any, Any, Any], Any]) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def call(body: bytes, context: grpc.ServicerContext) -> bytes:
            search = self._chief.current(context.is_active)
            if search is None:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the chief serves no search")
                raise AssertionError("abort does not return")
            protos = seams.stock_protos()
            name = method.__name__[1:]
            try:
                request = _parsed(getattr(protos.service, f"{name}Request"), body)
                reply: bytes = method(search, protos, request, context).SerializeToString()
            except Exception as error:
                abort(context, error, f"a stock client's {name}")
            return reply

        return call

    def _GetSpace(self, search: Search, protos: Any, request: Any, context: Any) -> Any:
        return protos.service.GetSpaceResponse(hyperparameters=search.space().to_proto())

    def _UpdateSpace(self, search: Search, protos: Any, request: Any, context: Any) -> Any:
        search.update_space(seams.space_from_proto(request.hyperparameters))
        return protos.service.UpdateSpaceResponse()

    def _CreateTrial(self, search: Search, protos: Any, request: Any, context: grpc.ServicerContext) -> Any:
        worker = f"stock {request.tuner_id}"
        lease_seconds = self._policy.stock_lease_seconds
        answer = search.next_trial(worker, worker, WAIT_SECONDS, context.is_active, lease_seconds)
        if isinstance(answer, Grant):
            return protos.service.CreateTrialResponse(trial=answer.trial.to_proto())
        status = "STOPPED" if search.over else "IDLE"
        return protos.service.CreateTrialResponse(trial=seams.empty_trial(search.space(), status).to_proto())

    def _UpdateTrial(self, search: Search, protos: Any, request: Any, context: Any) -> Any:
        trial = search.update_trial(
            request.trial_id, self._attempt(search, request.trial_id), dict(request.metrics), request.step
        )
        return protos.service.UpdateTrialResponse(trial=trial.to_proto())

    def _EndTrial(self, search: Search, protos: Any, request: Any, context: Any) -> Any:
        trial = seams.trial_from_proto(request.trial)
        try:
            search.end_trial(trial, self._attempt(search, trial.trial_id))
        except LeaseLost as lost:
            log.warning("the result of trial %s from a stock client is dropped: %s", trial.trial_id, lost)
        return protos.service.EndTrialResponse()

    def _GetTrial(self, search: Search, protos: Any, request: Any, context: Any) -> Any:
        return protos.service.GetTrialResponse(trial=search.trial(request.trial_id).to_proto())

    def _GetBestTrials(self, search: Search, protos: Any, request: Any, context: Any) -> Any:
        trials = search.best_trials(request.num_trials)
        return protos.service.GetBestTrialsResponse(trials=[trial.to_proto() for trial in trials])

    @staticmethod
    def _attempt(search: Search, trial_id: str) -> int:
        """The attempt that a stock client means: the open one, where a stock client holds it."""
        held = [x for x in search.leases.open if x.trial_id == trial_id and x.worker.startswith("stock ")]
        return held[0].attempt if held else 0
