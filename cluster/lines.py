"""Lines of output, put together from what a program writes, as a terminal shows them in the end.

Owns what becomes of a line that a progress bar draws over, of colours, and of a line that never ends.
"""

from __future__ import annotations

import re

LONGEST = 100_000  # characters, after which a line without an end is taken for one
_CODES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]|[\x00-\x08\x0b-\x1f\x7f]"
)


def as_shown(line: str) -> str:
    """What a terminal shows of a line that has ended: a progress bar's last state."""
    return line.rstrip("\r\n").rpartition("\r")[2]


def plain(line: str) -> str:
    """A line without colours and other codes for a terminal."""
    return _CODES.sub("", line)


class Lines:
    """Puts lines together from pieces; one thread at a time."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        """Takes a piece; returns the lines that it completes, as a terminal shows them."""
        *whole, rest = (self._rest + text).split("\n")
        drawn_over, _, last = rest.rpartition("\r")
        self._rest = last or drawn_over.rpartition("\r")[2] + rest[len(drawn_over) :]
        if len(self._rest) > LONGEST:
            whole.append(self._rest)
            self._rest = ""
        return [as_shown(line) for line in whole]

    def rest(self) -> str:
        """What has no end yet; it is taken for a line from now on."""
        rest, self._rest = as_shown(self._rest), ""
        return rest
