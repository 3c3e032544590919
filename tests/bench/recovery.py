"""What a SIGKILL costs: a worker's or a trainer's until its trial runs elsewhere, the chief's until all goes on.

Real processes: a chief and two workers, one of which runs a trial and the other waits for the next. A chief is started
again at once; the trial that ran ends while there is none, and the time is until its end is written, most of which is
the new chief loading Keras. Stock KerasTuner has no such times: a trial whose worker is gone is never granted again.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.figures import Figures
from tests.e2e.launcher import Running, children, events, starting

PROGRAM = str(Path(__file__).parent / "programs" / "timed_trials.py")
LIMIT = 60.0  # seconds until an event has to be there
WORKER = "a worker's SIGKILL to the grant elsewhere [ms]"
TRAINER = "a trainer's SIGKILL to the grant elsewhere [ms]"
CHIEF = "the chief's SIGKILL to the end of a trial that ended meanwhile"


@dataclass
class Stage:
    """A search with one trial, which lasts until `enough` is there.

    Attributes:
        project: Its project directory.
        enough: The file that ends the trial.
        start_chief: Starts a chief.
        chief: The chief.
        holder: The worker that runs the trial; the other one waits.
    """

    project: Path
    enough: Path
    start_chief: Callable[[], Running]
    chief: Running
    holder: Running

    def event(self, kind: str, number: int) -> dict[str, Any]:
        """The `number`-th event of a kind, from 1; waits until it is there."""
        deadline = time.monotonic() + LIMIT
        while len(found := events(self.project, kind)) < number:
            if time.monotonic() > deadline:
                raise SystemExit(f"no {kind} after {LIMIT:.0f} s")
            time.sleep(0.02)
        return found[number - 1]


@contextmanager
def staged() -> Iterator[Stage]:
    """A chief, a worker in the middle of a trial and one that waits."""
    with tempfile.TemporaryDirectory() as place, starting(Path(place)) as start:
        directory = Path(place)
        enough, address = directory / "enough", f"unix:{directory}/chief.sock"
        program = (PROGRAM, "--trials", "1", "--seconds", "0", "--first-until", str(enough))
        chief = start("chief", "--listen", address, *program)
        workers = {name: start("worker", "--chief", address, "--name", name, *program) for name in ("a", "b")}
        for worker in workers.values():
            worker.read_until("asks for trials")
        holder = workers[chief.read_until(r"trial 0 → (\w)").group(1)]
        project = directory / "results" / "timed"
        yield Stage(project, enough, lambda: start("chief", "--listen", address, *program), chief, holder)


def killed_worker() -> float:
    """Milliseconds."""
    with staged() as stage:
        killed = time.time()
        stage.holder.process.kill()
        return 1000 * float(stage.event("grant", 2)["time"] - killed)


def killed_trainer() -> float:
    """Milliseconds."""
    with staged() as stage:
        killed = time.time()
        os.kill(children(stage.holder.process.pid)[0], signal.SIGKILL)
        return 1000 * float(stage.event("grant", 2)["time"] - killed)


def killed_chief() -> float:
    """Seconds."""
    with staged() as stage:
        killed = time.time()
        stage.chief.process.kill()
        stage.chief.process.wait()
        stage.enough.touch()
        stage.start_chief()
        return float(stage.event("end", 1)["time"] - killed)


def main(runs: int) -> dict[str, Figures]:
    """Measures each several times; returns times of the cluster alone."""
    kinds = {WORKER: killed_worker, TRAINER: killed_trainer, CHIEF: killed_chief}
    figures: Figures = {what: [] for what in kinds}
    for _ in range(runs):
        for what, measure in kinds.items():
            figures[what].append(measure())
    return {"cluster": figures}
