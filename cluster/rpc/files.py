"""The files of a search on a chief elsewhere: `transfer.store.Store` over the wire."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cluster.rpc import cluster_pb2 as pb
from cluster.rpc import codec
from cluster.rpc.client import ChiefClient
from cluster.transfer.entry import Entry
from cluster.transfer.logsend import CALL_SECONDS as LOG_SECONDS

PIECE_SECONDS = 120.0  # the deadline of a piece, which a slow line takes its time for


class RemoteFiles:
    """Any thread may call any method; each is what `Store` does, and is sent again until it has arrived.

    Args:
        client: The connection.
        index: Which search of the program, from 0.
        search_id: The search's id.
        patience: How long to go on without an answer, in seconds, where it differs from the client's.
    """

    def __init__(self, client: ChiefClient, index: int, search_id: str, patience: float | None = None) -> None:
        self._call: Callable[..., Any] = functools.partial(
            client.call, seconds=PIECE_SECONDS, search_id=search_id, patience=patience
        )
        self._index = index

    def put(self, trial_id: str, attempt: int, digest: str, size: int, offset: int, data: bytes) -> int:
        request = pb.PutPieceRequest(
            search=self._index,
            trial_id=trial_id,
            attempt=attempt,
            digest=digest,
            size=size,
            offset=offset,
            data=data,
        )
        return int(self._call("PutPiece", request).offset)

    def commit(self, trial_id: str, attempt: int, entries: list[Entry], *, more: bool = False) -> list[str]:
        files = codec.files_of(entries)
        request = pb.CommitFilesRequest(search=self._index, trial_id=trial_id, attempt=attempt, files=files, more=more)
        return list(self._call("CommitFiles", request).missing)

    def entries(self, trial_id: str) -> list[Entry]:
        reply = self._call("ListFiles", pb.ListFilesRequest(search=self._index, trial_id=trial_id))
        return codec.entries_of(reply.files)

    def read(self, trial_id: str, name: str, offset: int) -> bytes:
        request = pb.GetPieceRequest(search=self._index, trial_id=trial_id, name=name, offset=offset)
        return bytes(self._call("GetPiece", request).data)

    def append_log(self, trial_id: str, attempt: int, at: int, data: bytes) -> int:
        request = pb.AppendLogRequest(search=self._index, trial_id=trial_id, attempt=attempt, at=at, data=data)
        return int(self._call("AppendLog", request, seconds=LOG_SECONDS).at)

    def progress(self, trial_id: str, attempt: int) -> None:
        """The trial gets somewhere."""
        request = pb.ReportProgressRequest(search=self._index, trial_id=trial_id, attempt=attempt)
        self._call("ReportProgress", request)
