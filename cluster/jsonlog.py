"""Our own log as JSON, one object a line; and the output of children, made the same.

Owns the form of a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`; with children also `source`, the child's
name. What a program logs is the program's.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from cluster.lines import plain

log = logging.getLogger("cluster")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Formatter(logging.Formatter):
    """Makes a line of a record of the log; a traceback is part of the message."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        facts = {"time": _time(record.created), "level": record.levelname, "logger": record.name}
        return json.dumps({**facts, "message": super().format(record)}, ensure_ascii=False)


def from_child(source: str, line: str, now: float) -> str:
    """A line of a child's output: one that is an object already keeps what it says.

    Args:
        source: The child's name.
        line: The line, without its end.
        now: The time in Unix seconds.
    """
    try:
        facts = json.loads(line) if line.startswith("{") else None
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        facts = {"time": _time(now), "level": "INFO", "source": source, "message": plain(line)}
    return json.dumps({**facts, "source": source}, ensure_ascii=False)


def tell(text: str, level: int = logging.INFO, *, before: str = "") -> None:
    """Tells the user something that is not of the log: a line on stderr, or an object where the log is of them.

    Args:
        text: What to tell.
        level: The object's level.
        before: What stands before the text in a plain line.
    """
    if any(isinstance(handler.formatter, Formatter) for handler in log.handlers):
        log.log(level, "%s", text)
    else:
        sys.stderr.write(f"{before}{text}\n")
