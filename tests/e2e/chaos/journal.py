"""The event log while it grows: what has been written since the last look, and who holds which trial."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Journal:
    """Reads `events.jsonl` as it grows.

    Args:
        path: The file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self.shrunk = False  # whole events were taken away again
        self._path = path
        self._read = 0

    def look(self) -> list[Event]:
        """The events that are new, oldest first."""
        try:
            with self._path.open("rb") as file:
                self.shrunk |= file.seek(0, os.SEEK_END) < self._read
                file.seek(self._read)
                content = file.read()
        except FileNotFoundError:
            self.shrunk |= self._read > 0
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        new = [_event(line) for line in whole.splitlines()]
        self.events += new
        return new

    @property
    def ended(self) -> int:
        """How many trials have an end."""
        return len({event["trial"] for event in self.events if event["event"] == "end"})

    def held_by(self, worker: str) -> str | None:
        """The trial that a worker runs, as far as the log knows."""
        held: dict[str, str] = {}
        for event in self.events:
            if event["event"] == "grant":
                held[event["trial"]] = event["worker"]
            elif event["event"] in ("end", "lost"):
                held.pop(event["trial"], None)
        return next((trial for trial, holder in held.items() if holder == worker), None)


def _event(line: bytes) -> Event:
    try:
        event = json.loads(line)
    except ValueError:
        return {"event": "damaged", "time": 0.0, "line": line.decode(errors="replace")}
    return event if isinstance(event, dict) else {"event": "damaged", "time": 0.0, "line": line.decode()}


def read(path: Path) -> list[Event]:
    """All of a log, as it is now."""
    return Journal(path).look()
