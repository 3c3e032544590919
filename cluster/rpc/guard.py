"""Who may call a chief: those with its token, and stock KerasTuner clients where the user lets them in.

An interceptor in front of every call, those of the service and those that are none. Owns the comparison, and saying
that calls were refused.
"""

from __future__ import annotations

import enum
import hmac
import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

import grpc

from cluster.rpc.stock import PREFIX

log = logging.getLogger(__name__)

HEADER = "authorization"
SCHEME = "Bearer "
SAY_SECONDS = 60.0  # how often refused calls are told of in the log, whoever sends however many
if TYPE_CHECKING:  # gRPC's own classes take no parameters
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Handler | None]


class StockClients(enum.IntEnum):
    """From where stock KerasTuner clients, which can send no token, are let in."""

    NOWHERE = 0
    LOOPBACK = 1
    ANYWHERE = 2


class Guard(grpc.ServerInterceptor):
    """Lets calls with the token through. Any thread may call any method.

    Attributes:
        refused: How many calls were refused.

    Args:
        token: The token.
        stock: From where stock clients are let in.
        clock: A monotonic clock, in seconds.
        told: Told of each call that is refused.
    """

    def __init__(
        self,
        token: str,
        stock: StockClients = StockClients.NOWHERE,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        if not token:
            raise ValueError("a chief without a token would be open to everybody")
        self.refused = 0
        self._expected = f"{SCHEME}{token}".encode()
        self._stock = stock
        self._clock = clock
        self._told = told
        self._lock = threading.Lock()
        self._said_at: float | None = None
        # Of both streams, which answers at once, whatever kind of call it is for and however little of it has arrived.
        self._refusal: Handler = grpc.stream_stream_rpc_method_handler(self._refuse)

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Of gRPC."""
        details = handler_call_details
        if self._has_token(details):
            return continuation(details)
        if details.method.startswith(PREFIX) and self._stock is not StockClients.NOWHERE:
            handler = continuation(details)
            return handler if handler is None or self._stock is StockClients.ANYWHERE else self._local(handler)
        return self._refusal

    def _has_token(self, details: grpc.HandlerCallDetails) -> bool:
        given = [value for key, value in details.invocation_metadata or () if key == HEADER]
        if len(given) != 1:
            return False
        sent = given[0] if isinstance(given[0], bytes) else given[0].encode()
        return hmac.compare_digest(sent, self._expected)

    def _local(self, handler: Handler) -> Handler:
        """The same, for callers on this machine alone."""
        answer = handler.unary_unary
        assert answer is not None, "KerasTuner's calls are all of one request and one answer"

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            if not is_loopback(context.peer()):
                self._abort(context)
            return answer(request, context)

        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )

    def _refuse(self, _requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        self._abort(context)

    def _abort(self, context: grpc.ServicerContext) -> NoReturn:
        peer = context.peer()
        self._told()
        with self._lock:
            self.refused += 1
            now = self._clock()
            due = self._said_at is None or now - self._said_at >= SAY_SECONDS
            if due:
                self._said_at = now
        if due:
            log.warning("refused a call without the right token from %s; %d so far", host_of(peer), self.refused)
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "the call has not this chief's token")
        raise AssertionError("abort does not return")


def host_of(peer: str) -> str:
    """The address in gRPC's name of a peer, such as `ipv4:10.0.0.7:51044`; without the port."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else "this machine"


def is_loopback(peer: str) -> bool:
    """Whether a peer is on this machine, by gRPC's name of it."""
    kind = peer.partition(":")[0]
    if kind == "unix":
        return True
    try:
        address = ipaddress.ip_address(host_of(peer))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # an IPv4 caller at a socket for both
    return bool((mapped or address).is_loopback) and kind in ("ipv4", "ipv6")
