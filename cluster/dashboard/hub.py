"""What all who look at the page share: the searches as they were last read.

Owns when the source is read: about once a second while somebody looks, or when somebody asks; never for nobody. Lives
in one event loop; the source is read in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping

from cluster.dashboard.sources import Away, Source
from cluster.watched import Reading

log = logging.getLogger(__name__)


class Hub:
    """The searches as they were last read.

    Attributes:
        source: Where they come from.
        readings: The searches, by id; the newest last. What was known of a source that is away stays.
        away: Why the source cannot be read at the moment; empty while it can.
        closing: Whether the page is about to end: those who look should let go.

    Args:
        source: Where the searches come from.
        seconds: How long a look is good for.
    """

    def __init__(self, source: Source, seconds: float = 1.0) -> None:
        self.source = source
        self.readings: Mapping[str, Reading] = {}
        self.away = ""
        self.closing = False
        self._seconds = seconds
        self._read: float | None = None
        self._reading = asyncio.Lock()
        self._lookers = 0
        self._wanted = asyncio.Event()
        self._tick = asyncio.Event()

    async def run(self) -> None:
        """Reads the source for as long as somebody looks, until it is cancelled."""
        while True:
            await self._wanted.wait()
            began = time.monotonic()
            await self.fresh()
            self._tick.set()
            self._tick = asyncio.Event()
            await asyncio.sleep(max(0.05, self._seconds - (time.monotonic() - began)))

    async def fresh(self) -> None:
        """Reads the source, unless it was read a moment ago."""
        async with self._reading:
            now = time.monotonic()
            if self._read is not None and now - self._read < 0.9 * self._seconds:
                return
            self._read = now
            try:
                self.readings = await asyncio.to_thread(self.source.poll)
                self.away = ""
            except Away as away:
                self.away = str(away)
            except Exception as error:
                if not self.away:
                    log.exception("the page cannot show %s", self.source.name)
                self.away = f"{self.source.name} cannot be read: {error}"

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Somebody looks: the source is read on and on."""
        self._lookers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._lookers -= 1
            if not self._lookers:
                self._wanted.clear()

    async def next(self, seconds: float) -> None:
        """Returns when the source was read again, or after so many seconds."""
        tick = self._tick
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(tick.wait(), seconds)

    def close(self) -> None:
        """Tells those who look to let go."""
        self.closing = True
        self._tick.set()
