"""What a command costs before its first trial and after its last: 8 trials of 1 s on two workers of this box.

Both sides run the same program, which writes when its trials begin and end. Most of the start is every process loading
Keras. After the end, the cluster's processes stay until the report is drawn; stock KerasTuner draws none. A supervisor
is measured from its start until the chief says that it has joined, beside a chief that loads Keras.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.figures import Figures
from tests.e2e.launcher import PLAIN, starting

PROGRAM = [str(Path(__file__).parent / "programs" / "timed_trials.py"), "--trials", "8", "--seconds", "1"]
WORKERS = 2
LIMIT = 180  # seconds for one run
START, END, WHOLE = "start to the first trial", "last trial to the last exit", "whole command"


def free_port() -> int:
    """A port of this host that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def stock(directory: Path) -> None:
    """KerasTuner's own chief and workers, to their end."""
    shared = {**PLAIN, "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free_port())}
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
            process.wait()


def ours(directory: Path, *options: str) -> None:
    """`cluster run --workers 2`, to its end."""
    command = [sys.executable, "-m", "cluster", "run", "--workers", str(WORKERS), *options, *PROGRAM]
    done = subprocess.run(
        command, cwd=directory, env=PLAIN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout.decode(errors='replace')}")


def timed(run: Callable[[Path], None]) -> dict[str, float]:
    """Runs a side; returns what it took, in seconds."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        start = time.time()
        run(directory)
        end = time.time()
        spells = [json.loads(line) for line in (directory / "spells").read_text().splitlines()]
    first, last = min(x["begin"] for x in spells), max(x["end"] for x in spells)
    return {START: first - start, END: end - last, WHOLE: end - start}


def joining() -> float:
    """How long a supervisor takes from its start until the chief says that it has joined, in seconds."""
    with tempfile.TemporaryDirectory() as place, starting(Path(place)) as start:
        address = f"127.0.0.1:{free_port()}"
        chief = start("chief", "--listen", address, *PROGRAM)
        chief.read_until("the chief listens")
        begun = time.perf_counter()
        start("worker", "--chief", address, "--name", "one", *PROGRAM)
        chief.read_until("one joined")
        return time.perf_counter() - begun


def command_line() -> float:
    """How long `cluster --help` takes, in seconds."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cluster", "--help"], env=PLAIN, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def main(runs: int) -> dict[str, Figures]:
    """Measures the sides in turn; returns seconds by side."""
    sides: dict[str, Callable[[Path], None]] = {
        "stock": stock,
        "cluster": ours,
        "cluster --no-plots": lambda directory: ours(directory, "--no-plots"),
    }
    figures: dict[str, Figures] = {side: {START: [], END: [], WHOLE: []} for side in sides}
    own = figures["cluster"]
    own |= {"cluster --help": [], "a supervisor's start to its joining": []}
    for _ in range(runs):
        for name, run in sides.items():
            for what, seconds in timed(run).items():
                figures[name][what].append(seconds)
        own["cluster --help"].append(command_line())
        own["a supervisor's start to its joining"].append(joining())
    return figures
