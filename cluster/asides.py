"""What a child of ours tells its parent in the middle of its output, which the parent reads anyway.

An aside stands where it was said: after what the child had written before, and before what it writes next, by whatever
library. It is a line of JSON behind a control character and a word that parent and child share; the parent takes it
out. A line of the program's that looks like one has another word, and is a line like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from typing import Any

MARK = b"\x1e"  # the separator of records, which RFC 7464 puts before each JSON text


def new_word() -> str:
    """A word for a parent and its child."""
    return secrets.token_hex(8)


class Asides:
    """The child's side. What cannot be told is not: a parent that has gone needs no telling.

    Args:
        word: The parent's word.
    """

    def __init__(self, word: str) -> None:
        self._start = MARK + word.encode() + b" "
        self._file = os.dup(1)  # the program may lead its own output elsewhere

    def tell(self, **facts: Any) -> None:
        """Tells the parent something, after what this process has written so far."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        line = self._start + json.dumps(facts, default=str).encode() + b"\n"
        with contextlib.suppress(OSError):
            while line:
                line = line[os.write(self._file, line) :]


def split(line: bytes, word: str) -> tuple[bytes, dict[str, Any] | None]:
    """Takes a line of a child's output apart.

    Returns:
        What the program wrote, and what was told, or None. Before an aside there may be a line that the program has
        not ended; it is ended here.
    """
    written, mark, rest = line.partition(MARK + word.encode() + b" ")
    if not mark:
        return line, None
    try:
        facts = json.loads(rest)
    except (ValueError, RecursionError):
        return line, None
    if not isinstance(facts, dict):
        return line, None
    return written + b"\n" if written else b"", facts
