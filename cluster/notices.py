"""What TensorFlow prints while it loads and no log level silences: left out of what a child's output shows."""

from __future__ import annotations

NOTICES = (b"WARNING: All log messages before absl::InitializeLog()", b"I0000 ")


def is_notice(line: bytes) -> bool:
    """Whether a line of output is such a notice, and nothing that the program wrote."""
    return line.startswith(NOTICES)
