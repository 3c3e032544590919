"""Trials of nothing and of 1 s, two at a time: Ray Tune alone, `cluster run --ray` and `cluster run --workers 2`.

The whole command, from its first process to its last. Ray Tune alone loads no Keras; the other two load it in every
process, as a KerasTuner program does.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.figures import Figures

HERE = Path(__file__).parent
SLEEP = str(HERE.parent / "programs" / "sleep_trials.py")
CLUSTER = [sys.executable, "-m", "cluster", "run"]
SIDES = {
    "ray": [sys.executable, str(HERE / "programs" / "plain_ray.py")],
    "cluster on ray": [*CLUSTER, "--ray", "--workers", "2", SLEEP],
    "cluster": [*CLUSTER, "--workers", "2", SLEEP],
}
LOADS = {"100 trials of nothing": ("100", "0"), "8 trials of 1 s": ("8", "1")}
LIMIT = 300  # seconds for one run


def why_not() -> str | None:
    """Why this cannot run here."""
    return None if importlib.util.find_spec("ray") else "Ray is not installed (the extra `ray`)"


def run(words: list[str], trials: str, seconds: str) -> float:
    """Runs one side to its end; returns its seconds."""
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        done = subprocess.run(
            [*words, "--trials", trials, "--seconds", seconds],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
        return time.perf_counter() - start


def main(runs: int) -> dict[str, Figures]:
    """Measures the sides in turn; returns seconds by side."""
    sides: dict[str, Figures] = {side: {load: [] for load in LOADS} for side in SIDES}
    for _ in range(runs):
        for load, (trials, seconds) in LOADS.items():
            for side, words in SIDES.items():
                sides[side][load].append(run(words, trials, seconds))
    return sides
