"""Faults at random moments, in short; `python -m tests.e2e.chaos --kills 100` is the long form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.chaos.drive import Options, run
from tests.e2e.chaos.figures import table
from tests.e2e.chaos.plan import Fault, Kind


def check(options: Options, place: Path) -> None:
    outcome = run(options, place)
    print(table(outcome))
    assert not outcome.violations, "\n".join(outcome.violations)
    if options.disk and Kind.DISK not in outcome.dealt:
        pytest.skip("all but the full disk, for no file system can be mounted here")


def test_nothing_is_lost_and_nothing_counted_twice(tmp_path: Path) -> None:
    check(Options(seed=20, faults=12, limit=240.0, trials=32, seconds=1.2), tmp_path)


def test_one_worker_is_proposed_the_same_trials_in_spite_of_faults(tmp_path: Path) -> None:
    """Each proposal depends on every result before it, and on random numbers that a restarted chief must go on with."""
    options = Options(seed=142, faults=6, limit=240.0, workers=1, trials=16, oracle="bayesian", seconds=0.4, disk=False)
    check(options, tmp_path)


def test_a_chief_that_is_killed_after_the_last_end_keeps_everything(tmp_path: Path) -> None:
    """It waits for a worker that is stopped; the program would overwrite the results of a run that has ended."""
    stop = Fault(Kind.STOP, slot=1, after=4, delay=0.0, length=9.0)
    kill = Fault(Kind.CHIEF, slot=0, after=6, delay=0.7, length=0.0)
    options = Options(seed=0, faults=2, limit=150.0, workers=2, trials=6, seconds=0.6, patience=8.0, disk=False)
    check(replace(options, plan=(stop, kill)), tmp_path)
