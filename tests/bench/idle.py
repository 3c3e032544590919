"""What an idle cluster costs: a chief and 16 workers, of which one runs a trial that sleeps and 15 wait for the next.

All are real processes, each trainer with Keras loaded. The oracle says that it waits for the running trial, as
Hyperband's does in the middle of a round. CPU time is the kernel's, of all processes together, in percent of a core.
Stock KerasTuner's workers ask again at once, and are as many.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.bench.figures import Figures
from tests.bench.startend import free_port
from tests.e2e.launcher import PLAIN, children

PROGRAM = str(Path(__file__).parent / "programs" / "timed_trials.py")
WORKERS = 16
SECONDS = 20.0  # over which CPU time is taken
SETTLE_SECONDS = 5.0  # after the last trainer has asked for a trial
START_SECONDS = 480.0  # for all to load Keras
TICK = os.sysconf("SC_CLK_TCK")
Started = list[tuple[str, subprocess.Popen[bytes]]]  # what each is, and it


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process so far; 0 of one that has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_of(pids: Iterable[int]) -> float:
    """The CPU time of several."""
    return sum(cpu_seconds(pid) for pid in pids)


@contextlib.contextmanager
def started(directory: Path, commands: list[tuple[str, list[str], dict[str, str]]]) -> Iterator[Started]:
    """Starts processes, the output of each in a file; they are killed on the way out."""
    with contextlib.ExitStack() as stack:
        found: Started = []
        for number, (kind, words, environment) in enumerate(commands):
            output = stack.enter_context((directory / f"output-{number}").open("wb"))
            process = subprocess.Popen(words, cwd=directory, env={**PLAIN, **environment}, stdout=output, stderr=output)
            stack.callback(process.wait)
            stack.callback(process.kill)
            found.append((kind, process))
        yield found


def stock(directory: Path, program: list[str], workers: int) -> list[tuple[str, list[str], dict[str, str]]]:
    """KerasTuner's own chief and workers."""
    shared = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free_port())}
    names = ["chief", *(f"worker{n}" for n in range(workers))]
    return [(name[:6], [sys.executable, *program], {**shared, "KERASTUNER_TUNER_ID": name}) for name in names]


def ours(directory: Path, program: list[str], workers: int) -> list[tuple[str, list[str], dict[str, str]]]:
    """A chief, and supervisors that start trainers."""
    command, address = [sys.executable, "-m", "cluster"], f"unix:{directory}/chief.sock"
    chief = [*command, "chief", "--listen", address, "--expected", str(workers), *program]
    worker = [*command, "worker", "--chief", address, "--connect-timeout", str(START_SECONDS), "--name"]
    unbuffered = {"PYTHONUNBUFFERED": "1"}
    return [
        ("chief", chief, unbuffered),
        *(("worker", [*worker, f"w{n}", *program], unbuffered) for n in range(workers)),
    ]


def measure(
    side: Callable[[Path, list[str], int], list[tuple[str, list[str], dict[str, str]]]], workers: int, seconds: float
) -> dict[str, float]:
    """Starts a side, waits until all are idle, and takes their CPU time; returns percents of a core."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        program = [PROGRAM, "--one-at-a-time", "--first-until", str(directory / "enough")]
        with started(directory, side(directory, program, workers)) as processes:
            _wait_until_all_ask(directory, processes, workers)
            time.sleep(SETTLE_SECONDS)
            chief = [process.pid for kind, process in processes if kind == "chief"]
            own = [process.pid for kind, process in processes if kind == "worker"]
            trainers = [child for pid in own for child in children(pid)]
            kinds = (
                {"chief": chief, "supervisors": own, "trainers": trainers}
                if trainers
                else {"chief": chief, "workers": own}
            )
            before = {kind: cpu_of(pids) for kind, pids in kinds.items()}
            begun = time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - begun
            found = {kind: 100 * (cpu_of(pids) - before[kind]) / took for kind, pids in kinds.items()}
    return {"all processes [% of a core]": sum(found.values())} | {f"{x} [% of a core]": y for x, y in found.items()}


def _wait_until_all_ask(directory: Path, processes: Started, workers: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (
        sum(file.read_text(errors="replace").count("asks for trials\n") for file in directory.glob("output-*"))
        < workers
    ):
        for number, (kind, process) in enumerate(processes):
            if process.poll() is not None:
                raise SystemExit(f"a {kind} ended:\n{(directory / f'output-{number}').read_text(errors='replace')}")
        if time.monotonic() > deadline:
            raise SystemExit(f"not all of {workers} workers had loaded Keras after {START_SECONDS:.0f} s")
        time.sleep(0.5)


def main(runs: int) -> dict[str, Figures]:
    """Measures the sides in turn; returns percents of a core by side."""
    figures: dict[str, Figures] = {"stock": {}, "cluster": {}}
    for _ in range(runs):
        for name, side in (("stock", stock), ("cluster", ours)):
            for what, share in measure(side, WORKERS, SECONDS).items():
                figures[name].setdefault(what, []).append(share)
    return figures
