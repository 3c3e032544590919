"""What interceptors of gRPC's that put something around a method have in common: that is done once, not each call."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:  # gRPC's own class takes no parameters
    Handler = grpc.RpcMethodHandler[Any, Any]


class Wrapping(grpc.ServerInterceptor):
    """Puts something around the methods that are served."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}  # by method, of those that are served

    @abc.abstractmethod
    def wrap(self, method: str, handler: Handler) -> Handler:
        """The handler with something around it; may be the same.

        Args:
            method: The full name of the method.
            handler: What answers it.
        """

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Of gRPC."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        kept = self._wrapped.get(method)
        if kept is None or kept[0] is not handler:
            kept = self._wrapped[method] = handler, self.wrap(method, handler)
        return kept[1]
