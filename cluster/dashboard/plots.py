"""The figures of a search, computed while nobody waits for the page's other answers, and no more often than is useful.

Owns when a figure is computed again. What it shows is `report.figures`'; its colours are the page's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.dashboard.feed import plain
from cluster.record import Record
from cluster.watched import Reading

log = logging.getLogger(__name__)

Figure = Callable[[Record], dict[str, Any] | None]

AT_MOST_EVERY = {"importance": 10.0}  # seconds
AT_LEAST = 2.0  # seconds between two of the others
SHARE = 0.1  # of the time that figures may take: one that took a second is made every ten


@dataclass
class _Kept:
    mark: str = ""
    version: int = -1
    due: float = 0.0  # before this it is not made again
    body: bytes = b""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Plots:
    """The figures as the page gets them. Lives in one event loop; figures are made in threads, one of a kind at a time.

    Args:
        figures: By name: a record to `{"data": …, "layout": …}`, or None where there is nothing to show yet.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, figures: Mapping[str, Figure], clock: Callable[[], float] = time.monotonic) -> None:
        self._figures = figures
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}

    async def get(self, search: str, reading: Reading, name: str) -> bytes:
        """A figure as JSON.

        Returns:
            `figure`, which is null where there is nothing to show yet; `version` of the record it shows; `again`: in
            how many seconds a newer one can be had.

        Raises:
            KeyError: there is no such figure.
        """
        figure = self._figures[name]
        kept = self._kept.setdefault((search, name), _Kept())
        async with kept.lock:
            known = kept.mark == reading.mark and kept.version >= reading.record.version
            other = kept.mark != reading.mark
            if not known and (other or self._clock() >= kept.due):
                began = self._clock()
                kept.body = await asyncio.to_thread(_made, figure, reading.record, name)
                took = self._clock() - began
                kept.mark, kept.version = reading.mark, reading.record.version
                kept.due = self._clock() + max(AT_MOST_EVERY.get(name, AT_LEAST), took / SHARE)
            again = max(0.0, kept.due - self._clock())
            return b'{"version":%d,"again":%.1f,"figure":%b}' % (kept.version, again, kept.body)


def _made(figure: Figure, record: Record, name: str) -> bytes:
    try:
        return as_json(figure(record))
    except Exception:  # an odd search must not take the page with it
        log.exception("the figure %r cannot be drawn", name)
        return b"null"


def as_json(value: Any) -> bytes:
    """JSON as browsers read it."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        return json.dumps(plain(value), allow_nan=False, separators=(",", ":")).encode()
