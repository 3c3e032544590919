"""Names that are shown on terminals and kept in files as they come: a worker's, a host's, a trainer's.

Owns what may be one.
"""

from __future__ import annotations

from cluster.errors import UsageError

LONGEST = 300


def check_name(what: str, text: str) -> str:
    """Returns a text that may be a name.

    Args:
        what: What it is the name of.
        text: The name.

    Raises:
        UsageError: it is long, or has letters in it that do something to a terminal.
    """
    if len(text) > LONGEST or not text.isprintable():
        raise UsageError(f"the {what} is no name: {text[:50]!r}. One is {LONGEST} printable letters at most")
    return text
