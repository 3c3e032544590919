"""`python -m tests.bench [--runs N] [--json FILE] [NAME]...`: sides in turn, medians of several runs.

Each bench has a bounded time; what cannot run here is left out, and one that fails does not take the others with it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType

from tests.bench.figures import Figures, Kept, keep
from tests.bench.table import columns

# In the order in which they run and are shown.
NAMES = (
    "processes",
    "startend",
    "utilisation",
    "dispatch",
    "reports",
    "suggestion",
    "idle",
    "recovery",
    "ray",
    "containers",
    "pruning",
    "flagship",
)
MINUTES = 20.0


class TooLong(Exception):
    """A bench has taken all the time that it has."""


def there() -> list[str]:
    """The benches that are here."""
    return [name for name in NAMES if importlib.util.find_spec(f"tests.bench.{name}")]


@contextlib.contextmanager
def bounded(minutes: float) -> Iterator[None]:
    """Ends what is inside by `TooLong` when it takes longer."""

    def ring(_signum: int, _frame: FrameType | None) -> None:
        raise TooLong(f"it took longer than {minutes:g} minutes")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(bench: ModuleType, runs: int, minutes: float) -> dict[str, Figures] | str:
    """Runs one bench; returns its figures by side, or why there are none."""
    try:
        with bounded(minutes):
            sides: dict[str, Figures] = bench.main(runs)
    except SystemExit as error:
        return str(error)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return sides


def main() -> int:
    """Runs the benches and prints what they have measured; returns the exit code, 1 where one has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures the cluster beside its peers.")
    parser.add_argument("benches", nargs="*", default=[], metavar="|".join(there()), help="which; all, if none")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default: 3)")
    parser.add_argument("--minutes", type=float, help=f"of one bench at most (default: its own, or {MINUTES:g})")
    parser.add_argument("--json", type=Path, help="where to keep the figures; those of benches that do not run stay")
    arguments = parser.parse_args()
    if unknown := set(arguments.benches) - set(there()):
        parser.error(f"no bench is named {', '.join(sorted(unknown))}; there are {', '.join(there())}")
    failed = 0
    for name in arguments.benches or there():
        bench = importlib.import_module(f"tests.bench.{name}")
        why_not = bench.why_not() if hasattr(bench, "why_not") else None
        if why_not:
            print(f"{name}: left out, {why_not}", flush=True)
            continue
        sides = measure(bench, arguments.runs, arguments.minutes or getattr(bench, "MINUTES", MINUTES))
        if isinstance(sides, str):
            print(f"{name}: failed, {sides}", flush=True)
            failed = 1
            continue
        entry = Kept.now((bench.__doc__ or name).splitlines()[0], sides)
        if arguments.json:
            keep(arguments.json, name, entry)
        print(f"\n{entry.about}")
        found = columns(entry)
        widths = [max(map(len, cells)) for cells in zip(*found, strict=True)]
        for row in found:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print(f"  {'  '.join(padded)}".rstrip(), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
