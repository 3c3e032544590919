"""What KerasTuner prints by itself while it searches, left out: the search's own log says the same.

What a program asks for, such as `results_summary()`, is printed as ever. Tables of trials are left out by the oracle's
own `verbose`, in `oracle.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

RELOADING = "Reloading Tuner from "


def nothing(*args: Any, **kwargs: Any) -> None:
    """Stands in for `print` where KerasTuner tells of its trials."""


def all_but_reloading(original: Callable[..., None]) -> Callable[..., None]:
    """`print` where a tuner tells that it was made over a project that is there, and prints its summaries."""

    def printed(*args: Any, **kwargs: Any) -> None:
        if not (args and str(args[0]).startswith(RELOADING)):
            original(*args, **kwargs)

    return printed


def end_of_what_began(original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """KerasTuner tells how long a trial took; it cannot of one that another process began without telling."""

    @functools.wraps(original)
    def on_trial_end(self: Any, trial: Any) -> None:
        if trial.trial_id in self.trial_start:
            original(self, trial)

    return on_trial_end
