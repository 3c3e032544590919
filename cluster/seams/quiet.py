"""What KerasTuner prints by itself while it searches, left out: the search's own log says the same.

What a program asks for, such as `results_summary()`, is printed as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RELOADING = "Reloading Tuner from "


def nothing(*args: Any, **kwargs: Any) -> None:
    """Stands in for `print` where KerasTuner tells of trials, and for its clearing of a notebook's output."""


def all_but_reloading(original: Callable[..., None]) -> Callable[..., None]:
    """`print` where a tuner tells that it was made over a project that is there, and prints its summaries."""

    def printed(*args: Any, **kwargs: Any) -> None:
        if not (args and str(args[0]).startswith(RELOADING)):
            original(*args, **kwargs)

    return printed
