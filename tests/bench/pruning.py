"""The flagship's wide space by random search, every trial to its end beside `--prune asha`: whole time, best accuracy.

    python -m tests.bench pruning

Both sides run on two workers, with the same trials on the same part of the real data; each run has a seed of its own.
The clock starts with the first process and ends with the last.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.figures import OURS, Figures, in_turn
from tests.bench.flagship import CLUSTER, why_not

__all__ = ["main", "why_not"]

WHOLE = "every trial to its end"
SIDES = {WHOLE: [], OURS: ["--prune", "asha"]}
TRIALS, EPOCHS = 30, 9  # at most so many epochs a trial: how many is part of the space
SAMPLES = 12_000  # of the 54,000 training images, so that three runs of both sides take less than an hour
TUNE = ["-m", "fashion", "tune", "--data", "real", "--oracle", "random", "--space", "wide"]
TUNE += ["--max-trials", str(TRIALS), "--epochs", str(EPOCHS), "--train-samples", str(SAMPLES)]
MINUTES = 120.0  # for all runs of both sides
LIMIT = 3600  # seconds for one run


def run(side: str, seed: int) -> dict[str, float]:
    """Runs one search; returns its figures."""
    with tempfile.TemporaryDirectory() as directory:
        words = [sys.executable, *CLUSTER, *SIDES[side], *TUNE, "--seed", str(seed), "--directory", directory]
        start = time.perf_counter()
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
        project = Path(directory) / "fashion-random"
        best = json.loads((project / "best" / "hyperparameters.json").read_text())
        return {
            "whole search [s]": seconds,
            "best validation accuracy [%]": 100 * float(best["val_accuracy"]),
            "epochs trained []": float(len(_events(project / "epochs.jsonl", "epoch"))),
            "trials stopped []": float(len(_events(project / "events.jsonl", "pruned"))),
        }


def _events(path: Path, kind: str) -> list[dict[str, Any]]:
    return [event for line in path.read_text().splitlines() if (event := json.loads(line))["event"] == kind]


def main(runs: int) -> dict[str, Figures]:
    """Measures both sides in turn; returns figures by side."""
    return in_turn(SIDES, runs, run)
