"""Trials of 1 s on 16 workers: which part of the workers' time is in trials, and the gap between two of them.

The workers of the cluster and of stock KerasTuner are threads with the real clients, at a chief in a process of its
own. Ray Tune alone, where it is installed, runs as many at once, each in a process of its own. The clock starts when
every worker has its first trial, so that loading Ray's processes does not count, and ends with the last trial.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import fleet
from tests.bench.figures import Figures
from tests.bench.fleet import Spell

WORKERS = 16
TRIALS = 320
SECONDS = 1.0
LIMIT = 300  # seconds for one run of Ray
PLAIN_RAY = Path(__file__).parent / "programs" / "plain_ray.py"


def ray(directory: Path, workers: int, trials: int, seconds: float) -> list[Spell]:
    """Ray Tune alone; a trial is named by the process that runs it."""
    spells = directory / "spells"
    words = ["--trials", str(trials), "--seconds", str(seconds), "--at-once", str(workers), "--spells", str(spells)]
    done = subprocess.run(
        [sys.executable, str(PLAIN_RAY), *words],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode:
        raise SystemExit(f"Ray Tune ended with {done.returncode}:\n{done.stdout}")
    found = [json.loads(line) for line in spells.read_text().splitlines()]
    numbers = {process: number for number, process in enumerate(dict.fromkeys(x["process"] for x in found))}
    return [Spell(numbers[x["process"]], x["begin"], x["end"]) for x in found]


def main(runs: int) -> dict[str, Figures]:
    """Measures the sides in turn; returns percents and milliseconds by side."""
    sides: dict[str, Callable[[Path, int, int, float], list[Spell]]] = {"stock": fleet.stock, "cluster": fleet.ours}
    if importlib.util.find_spec("ray"):
        sides["Ray Tune"] = ray
    figures: dict[str, Figures] = {
        side: {"time in trials [%]": [], "between two trials, median [ms]": [], "between two trials, p99 [ms]": []}
        for side in sides
    }
    for _ in range(runs):
        for name, side in sides.items():
            with tempfile.TemporaryDirectory() as directory:
                spells = side(Path(directory), WORKERS, TRIALS, SECONDS)
            workers = len({x.worker for x in spells})
            gaps = [1000 * gap for gap in fleet.gaps(spells)]
            share, middle, late = figures[name].values()
            share.append(fleet.utilisation(spells, workers))
            middle.append(statistics.median(gaps))
            late.append(statistics.quantiles(gaps, n=100)[98])
    return figures
