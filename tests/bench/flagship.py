"""The flagship's Bayesian search on the real data, 8 trials of at most 5 epochs: KerasTuner beside the cluster.

    python -m tests.bench flagship

`script` is what a user would write first, in one process of KerasTuner; `program` is `python -m fashion tune` in one
process of KerasTuner, without the launcher; `cluster` is that very program under `cluster run --workers 2`, and
`bfloat16` the same with `--precision mixed_bfloat16`. Each run has a seed of its own, the same for all sides. The clock
starts with the first process and ends with the last; memory is the most that all processes of a side have at a time,
pages that they share counted once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fashion.data import VARIABLE, keras_caches
from fashion.diagnose import diagnose
from tests.bench.figures import Figures, in_turn

SCRIPT = Path(__file__).parent / "programs" / "stock_flagship.py"
CLUSTER = ["-m", "cluster", "run", "--workers", "2"]
TUNE = ["-m", "fashion", "tune", "--data", "real", "--oracle", "bayesian", "--max-trials", "8"]
MINUTES = 180.0  # for all runs of all sides
LIMIT = 3600  # seconds for one run
LOOK_SECONDS = 5.0  # how often memory is looked at
SIDES = ("script", "program", "cluster", "bfloat16")


def why_not() -> str | None:
    """Why this cannot run here."""
    found = any(state == "ok" for state, *_ in diagnose())
    return None if found else "the real data is not here (FASHION_MNIST_DIR)"


def command(side: str, directory: str, seed: int) -> list[str]:
    """The words of one side."""
    if side == "script":
        folder = os.environ.get(VARIABLE) or str(keras_caches(os.environ)[0])
        return [sys.executable, str(SCRIPT), folder, directory, str(seed)]
    launcher = [] if side == "program" else CLUSTER
    precision = ["--precision", "mixed_bfloat16"] if side == "bfloat16" else []
    return [sys.executable, *launcher, *TUNE, *precision, "--seed", str(seed), "--directory", directory]


def result(side: str, directory: str) -> dict[str, float]:
    """The accuracies in [0, 1] and the loss that a side has reached."""
    place = "result.json" if side == "script" else "fashion-bayesian/best/hyperparameters.json"
    found = json.loads((Path(directory) / place).read_text())
    return {name: float(found[name]) for name in ("val_accuracy", "test_accuracy", "test_loss")}


def memory_of(process: int) -> int:
    """The bytes that a process and its descendants have, those that several share counted once."""
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(") ")[2].split()[1])

    def is_of_it(one: int | None) -> bool:
        return one is not None and (one == process or is_of_it(parents.get(one)))

    total = 0
    for one in filter(is_of_it, parents):
        with contextlib.suppress(OSError):
            shares = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)
            total += 1024 * int(shares[1]) if shares else 0
    return total


def run(side: str, seed: int) -> dict[str, float]:
    """Runs one side; returns its figures."""
    peak = 0
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        words = command(side, directory, seed)
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        while time.perf_counter() - start < LIMIT:
            try:
                process.wait(LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                peak = max(peak, memory_of(process.pid))
        seconds = time.perf_counter() - start
        process.terminate()
        process.wait()
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{output.read()}")
        found = result(side, directory)
    return {
        "whole search [s]": seconds,
        "validation accuracy [%]": 100 * found["val_accuracy"],
        "test accuracy [%]": 100 * found["test_accuracy"],
        "test loss []": found["test_loss"],
        "peak memory [GB]": peak / 10**9,
    }


def main(runs: int) -> dict[str, Figures]:
    """Measures all sides in turn; returns figures by side."""
    return in_turn(SIDES, runs, run)
