"""Eight trials that sleep 1 s, on three workers as processes of this box: stock KerasTuner beside the cluster.

Both sides run the same program. The clock starts with the first process and ends with the last: what a user waits for.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.figures import Figures

PROGRAM = [str(Path(__file__).parents[1] / "programs" / "sleep_trials.py"), "--trials", "8", "--seconds", "1"]
WORKERS = 3
LIMIT = 120  # seconds for one run


def stock(directory: str) -> float:
    """KerasTuner's own chief and workers; returns seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    start = time.perf_counter()
    processes = [
        subprocess.Popen(
            [sys.executable, *PROGRAM],
            cwd=directory,
            env={**shared, "KERASTUNER_TUNER_ID": name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in ("chief", *(f"worker{n}" for n in range(WORKERS)))
    ]
    try:
        for process in processes:
            process.wait(LIMIT)
    finally:
        for process in processes:
            process.kill()
    return time.perf_counter() - start


def ours(directory: str) -> float:
    """`cluster run --workers 3`; returns seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "cluster", "run", "--workers", str(WORKERS), *PROGRAM]
    subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL, timeout=LIMIT)
    return time.perf_counter() - start


def main(runs: int) -> dict[str, Figures]:
    """Measures both sides in turn; returns seconds by side."""
    sides: dict[str, Figures] = {"stock": {"whole command": []}, "cluster": {"whole command": []}}
    for _ in range(runs):
        for name, side in {"stock": stock, "cluster": ours}.items():
            with tempfile.TemporaryDirectory() as directory:
                sides[name]["whole command"].append(side(directory))
    return sides
