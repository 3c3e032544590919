"""Requests that are none: an interceptor of gRPC's that answers INVALID_ARGUMENT to what cannot be parsed.

gRPC itself answers INTERNAL, as if it were the chief's fault, and logs a traceback for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from cluster.rpc.wrapping import Wrapping

if TYPE_CHECKING:
    from cluster.rpc.wrapping import Handler

_NONE = object()


class CheckedRequests(Wrapping):
    """Lets only requests through that can be parsed. Stock KerasTuner's are bytes here, and `stock.py`'s to check."""

    def wrap(self, method: str, handler: Handler) -> Handler:
        """The handler, where it parses requests, behind the check."""
        if handler.request_deserializer is None:
            return handler
        parse = handler.request_deserializer
        parsers = {"request_deserializer": _parser(parse), "response_serializer": handler.response_serializer}
        if handler.unary_unary is not None:
            answer = handler.unary_unary

            def one(request: Any, context: grpc.ServicerContext) -> Any:
                return answer(_checked(request, context), context)

            return grpc.unary_unary_rpc_method_handler(one, **parsers)
        if handler.stream_stream is not None:
            answers = handler.stream_stream

            def many(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
                return answers((_checked(x, context) for x in requests), context)

            return grpc.stream_stream_rpc_method_handler(many, **parsers)
        return handler


def _parser(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def parser(body: bytes) -> Any:
        try:
            return parse(body)
        except DecodeError:
            return _NONE

    return parser


def _checked(request: Any, context: grpc.ServicerContext) -> Any:
    if request is _NONE:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "what came is no request of this call's kind")
    return request
