"""One table from errors to gRPC statuses, and back."""

from __future__ import annotations

import logging
from typing import NoReturn

import grpc

from cluster.errors import (
    CannotListen,
    CannotSave,
    ChiefUnreachable,
    ClusterError,
    DeviceError,
    DirectoryError,
    LeaseLost,
    MissingDependency,
    NoSearch,
    Refused,
    SearchFailed,
    TrainerAhead,
    UsageError,
    WrongToken,
)

log = logging.getLogger(__name__)

LONGEST = 1200  # characters of an error's text: it travels as a header, and gRPC refuses those of many kilobytes

STATUS: dict[type[Exception], grpc.StatusCode] = {
    LeaseLost: grpc.StatusCode.FAILED_PRECONDITION,
    TrainerAhead: grpc.StatusCode.OUT_OF_RANGE,
    Refused: grpc.StatusCode.PERMISSION_DENIED,
    WrongToken: grpc.StatusCode.UNAUTHENTICATED,
    SearchFailed: grpc.StatusCode.ABORTED,
    UsageError: grpc.StatusCode.INVALID_ARGUMENT,
    ChiefUnreachable: grpc.StatusCode.UNAVAILABLE,
    DirectoryError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    KeyError: grpc.StatusCode.NOT_FOUND,
    ClusterError: grpc.StatusCode.INTERNAL,
}
# Never raised by what the server calls, or not sent as themselves: a chief that cannot save is one that is gone.
LOCAL_ONLY = (NoSearch, CannotListen, MissingDependency, CannotSave, DeviceError)
# The call may not have arrived, or its answer was lost: it is sent again, for every call is safe to repeat.
TRY_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def status_of(error: Exception) -> grpc.StatusCode:
    """The status under which an error travels."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return grpc.StatusCode.UNKNOWN


def abort(context: grpc.ServicerContext, error: Exception, call: str) -> NoReturn:
    """Answers a call with an error; one that nobody has thought of is logged with its traceback."""
    if not isinstance(error, ClusterError | KeyError):
        log.error("the chief could not answer %s", call, exc_info=error)
    if isinstance(error, CannotSave):  # this chief ends; the call is for the next one
        error = ChiefUnreachable(str(error))
    text = str(error) or type(error).__name__
    context.abort(status_of(error), text if len(text) <= LONGEST else f"{text[:LONGEST]} …")
    raise AssertionError("abort does not return") from error


def error_of(code: grpc.StatusCode, details: str) -> Exception:
    """The error that a status stands for."""
    for kind, status in STATUS.items():
        if status is code:
            return kind(details)
    return ClusterError(f"the chief answered {code.name}: {details}")
