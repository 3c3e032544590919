"""How long the chief takes to answer each call: an interceptor of gRPC's.

Owns the names of the calls, of which there is a fixed set, whatever a client calls. The stream of a worker's beats is
no call: it lasts as long as the worker is here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from cluster.rpc import cluster_pb2 as pb
from cluster.rpc.stock import METHODS, PREFIX

# The call's name, the seconds until its answer, and whether that was an error.
Answered = Callable[[str, float, bool], None]

OWN = pb.DESCRIPTOR.services_by_name["Cluster"]
NAMES = {f"/{OWN.full_name}/{x.name}": x.name for x in OWN.methods} | {f"{PREFIX}{x}": f"stock {x}" for x in METHODS}


class TimedCalls(grpc.ServerInterceptor):
    """Tells of each call that was answered.

    Args:
        answered: Told of each call, in the thread that answers it.
    """

    def __init__(self, answered: Answered) -> None:
        self._answered = answered

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Of gRPC."""
        handler = continuation(handler_call_details)
        name = NAMES.get(handler_call_details.method)
        if handler is None or handler.unary_unary is None or name is None:
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
