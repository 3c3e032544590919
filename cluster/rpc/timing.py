"""How long the chief takes to answer each call: an interceptor of gRPC's.

Owns the names of the calls, of which there is a fixed set, whatever a client calls. The stream of a worker's beats is
no call: it lasts as long as the worker is here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from cluster.rpc import cluster_pb2 as pb
from cluster.rpc.stock import METHODS, PREFIX
from cluster.rpc.wrapping import Wrapping

if TYPE_CHECKING:
    from cluster.rpc.wrapping import Handler

# The call's name, the seconds until its answer, and whether that was an error.
Answered = Callable[[str, float, bool], None]

OWN = pb.DESCRIPTOR.services_by_name["Cluster"]
NAMES = {f"/{OWN.full_name}/{x.name}": x.name for x in OWN.methods} | {f"{PREFIX}{x}": f"stock {x}" for x in METHODS}


class TimedCalls(Wrapping):
    """Tells of each call that was answered.

    Args:
        answered: Told of each call, in the thread that answers it.
    """

    def __init__(self, answered: Answered) -> None:
        super().__init__()
        self._answered = answered

    def wrap(self, method: str, handler: Handler) -> Handler:
        """The handler, where it is of a call with one answer, with a clock around it."""
        name = NAMES.get(method)
        if handler.unary_unary is None or name is None:
            return handler
        answer = handler.unary_unary

        def timed(request: Any, context: grpc.ServicerContext) -> Any:
            began = time.perf_counter()
            failed = True
            try:
                reply = answer(request, context)
                failed = False
                return reply
            finally:
                self._answered(name, time.perf_counter() - began, failed)

        return grpc.unary_unary_rpc_method_handler(
            timed,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
