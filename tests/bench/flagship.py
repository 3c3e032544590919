"""The flagship's random search on the real data, 8 trials: one process of KerasTuner beside `cluster run --workers 2`.

Both sides run the same program with the same seed, so they train the same models. The clock starts with the first
process and ends with the last. The real data is found as `fashion/` finds it; see FASHION_MNIST_DIR.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.containers import Figures

PROGRAM = ["-m", "fashion", "tune", "--data", "real", "--oracle", "random", "--max-trials", "8", "--seed", "1"]
SIDES = {"one": [sys.executable], "cluster": [sys.executable, "-m", "cluster", "run", "--workers", "2"]}
LIMIT = 3600  # seconds for one run


def run(side: str, directory: str) -> tuple[float, float]:
    """Runs the search; returns its seconds and its best validation accuracy in [0, 1]."""
    start = time.perf_counter()
    words = [*SIDES[side], *PROGRAM, "--directory", directory]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
    best = json.loads((Path(directory) / "fashion-random" / "best" / "hyperparameters.json").read_text())
    return seconds, float(best["val_accuracy"])


def main(runs: int) -> dict[str, Figures]:
    """Measures both sides in turn; returns seconds by side."""
    sides: dict[str, Figures] = {side: {"whole search": []} for side in SIDES}
    for _ in range(runs):
        found = []
        for side in SIDES:
            with tempfile.TemporaryDirectory() as directory:
                seconds, accuracy = run(side, directory)
            sides[side]["whole search"].append(seconds)
            found.append(accuracy)
            print(f"{side}: {seconds:.0f} s, best validation accuracy {accuracy:.4f}", flush=True)
        if abs(found[0] - found[1]) > 0.005:
            raise SystemExit(f"the sides have not trained the same models: {found}")
    return sides
