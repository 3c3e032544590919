"""`python -m tests.e2e.chaos --kills N --seed S [--seconds LIMIT]`: one run with N faults, and its table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.e2e.chaos.drive import Options, run
from tests.e2e.chaos.figures import table

SHOWN = 20  # violations; one often brings many


def main() -> int:
    """Runs; returns 1 when anything was lost, counted twice or otherwise not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=12, help="how many faults (default: 12)")
    parser.add_argument("--seed", type=int, default=1, help="what they are drawn from (default: 1)")
    parser.add_argument("--seconds", type=float, help="how long it may take (default: 120 and 10 for each fault)")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--oracle", choices=["random", "bayesian", "grid", "hyperband"], default="random")
    parser.add_argument(
        "--trial-seconds", type=float, help="how long a trial takes (default: 1 s; more for many kills)"
    )
    parser.add_argument("--no-disk", action="store_true", help="leave out the full disk")
    parser.add_argument("--place", type=Path, help="an empty directory for files and logs, kept (default: none is)")
    arguments = parser.parse_args()
    if arguments.workers > 1 and arguments.oracle != "random":
        parser.error("with several workers, only the random oracle's proposals are known beforehand")
    options = Options(
        seed=arguments.seed,
        faults=arguments.kills,
        limit=arguments.seconds or 120.0 + 10.0 * arguments.kills,
        workers=arguments.workers,
        trials=arguments.trials,
        oracle=arguments.oracle,
        seconds=arguments.trial_seconds or 1.0 + arguments.kills / 50,
        disk=not arguments.no_disk,
    )
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        place = arguments.place or Path(temporary)
        place.mkdir(exist_ok=True)
        outcome = run(options, place)
    print(f"chaos with seed {options.seed}: {options.workers} workers, {options.oracle} oracle")
    print(table(outcome))
    for violation in outcome.violations[:SHOWN]:
        print(f"VIOLATION: {violation}")
    if len(outcome.violations) > SHOWN:
        print(f"… and {len(outcome.violations) - SHOWN} more")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
