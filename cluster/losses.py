"""Why attempts were lost, sorted into a few classes that can be counted.

Owns the classes. The reasons themselves are words for people, written where the loss is noticed.
"""

from __future__ import annotations

import re

from cluster.record import Attempt

# The first that fits. What a reason quotes of the trainer's output stands after its first line, and is not looked at.
CLASSES = (
    ("out_of_memory", r"out of memory|had no memory left"),
    ("killed", r"was killed by"),
    ("exited", r"ended with exit code"),
    ("silent", r"was not heard of in time"),
    ("timed_out", r"it took longer than|it got nowhere for"),
    ("gone", r"is gone|process on Ray was lost"),
    (
        "drained",
        r"was told to leave|was not needed|was stopped|its program has ended|was replaced|is to be replaced",
    ),
)
OTHER = "other"
NAMES = (*(name for name, _ in CLASSES), OTHER)


def class_of(attempt: Attempt) -> str:
    """Which of `NAMES` the reason of a lost attempt belongs to."""
    if attempt.out_of_memory:
        return "out_of_memory"
    first = attempt.reason.partition("\n")[0]
    return next((name for name, words in CLASSES if re.search(words, first)), OTHER)
