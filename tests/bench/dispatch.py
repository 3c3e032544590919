"""Dispatch: trials a second, how long a grant takes, the chief's own time, and whether a long search makes them dearer.

    python -m tests.bench dispatch

The chief is a process of its own: `cluster chief`, or KerasTuner's own. Workers are threads of this one, each with the
client of its side and a connection of its own, which make the calls of KerasTuner's loop around a trial that does
nothing, or that sleeps. Both sides run the same program: the same oracle, space and seed. A run is ended after `LIMIT`
seconds, with as many trials as there were by then.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.credentials import VARIABLE
from tests.access import CALLER
from tests.bench.figures import Figures

PROGRAM = str(Path(__file__).parents[1] / "programs" / "sleep_trials.py")
NOTHING = 1_000  # trials that do nothing, for each number of workers
WORKERS = (1, 4, 16, 64)
MANY = 10_000
WINDOW = 200  # trials over which the cost of one is taken
SLEEPERS = 64
ROUNDS = 6  # of trials that sleep a second, for each worker
LIMIT = 60.0  # seconds for the trials of one run
MINUTES = 45.0  # for three runs of both sides, at most
START_SECONDS = 60.0
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Log:
    """What the workers of one run have seen.

    Attributes:
        grants: How long each grant took, from the call to the answer, in seconds.
        ends: When each trial had ended, on the bench's clock, and the chief's CPU seconds by then.
    """

    pid: int
    grants: list[float] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def per_trial(self, last: int, number: int = WINDOW) -> tuple[float, float]:
        """Seconds, and the chief's CPU seconds, of one trial in the `number` before the `last`-th."""
        (began, cpu_before), (ended, cpu) = self.ends[last - number - 1], self.ends[last - 1]
        return (ended - began) / number, (cpu - cpu_before) / number


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICK


def work(oracle: Any, name: str, seconds: float, late: float, log: Log) -> None:
    """What a worker does until its search, or the time, is over."""
    try:
        _work(oracle, name, seconds, late, log)
    except Exception:
        if not log.stop.is_set():  # else its chief has been killed
            raise


def _work(oracle: Any, name: str, seconds: float, late: float, log: Log) -> None:
    """KerasTuner's loop around a trial: `BaseTuner.search`, `_try_run_and_update_trial` and `on_trial_end`.

    Workers that sleep come one after another over a second: no two machines start at the same instant.
    """
    time.sleep(late)
    while not log.stop.is_set():
        asked = time.perf_counter()
        trial = oracle.create_trial(name)
        granted = time.perf_counter()
        if trial.status == "STOPPED":
            return
        if trial.status == "IDLE":
            continue
        log.grants.append(granted - asked)
        if seconds:
            time.sleep(seconds)
        x = trial.hyperparameters.values["x"]
        oracle.get_trial(trial.trial_id).metrics.exists("score")
        oracle.update_trial(trial.trial_id, {"score": x * x}, step=0)
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        log.ends.append((time.perf_counter(), cpu_seconds(log.pid)))


def our_client(place: int, port: int, trials: int) -> Any:
    """What a worker of ours has in the place of its oracle."""
    import keras_tuner

    from cluster import seams
    from cluster.chief import Description
    from cluster.rpc.client import ChiefClient, RemoteSession
    from cluster.trainer import OracleProxy

    client = ChiefClient(f"127.0.0.{place + 1}:{port}", CALLER, patience=START_SECONDS)
    space = keras_tuner.HyperParameters()
    space.Float("x", -1.0, 1.0)
    about = Description(
        "SleepTuner", "RandomSearchOracle", "score (min)", trials, "", tuple(space.get_config()["space"])
    )
    *_, search_id = client.open_search(0, about)
    session = RemoteSession(client, 0, f"w{place}", f"t{place}", search_id)
    return OracleProxy(keras_tuner.oracles.RandomSearchOracle(), session, seams.trial_class())


def stock_client(place: int, port: int, trials: int) -> Any:
    """KerasTuner's own client of a chief."""
    import keras_tuner
    from keras_tuner.src.distribute.oracle_client import OracleClient

    with _SETTING:
        os.environ.update(_stock_environment(f"127.0.0.{place + 1}", port, f"w{place}"))
        return OracleClient(keras_tuner.oracles.RandomSearchOracle(objective=keras_tuner.Objective("score", "min")))


_SETTING = threading.Lock()


def _stock_environment(address: str, port: int, name: str) -> dict[str, str]:
    return {"KERASTUNER_ORACLE_IP": address, "KERASTUNER_ORACLE_PORT": str(port), "KERASTUNER_TUNER_ID": name}


def our_command(port: int) -> tuple[list[str], dict[str, str]]:
    """`cluster chief`."""
    return [sys.executable, "-m", "cluster", "chief", "--listen", f"0.0.0.0:{port}", "--insecure"], {
        VARIABLE: CALLER.token
    }


def stock_command(port: int) -> tuple[list[str], dict[str, str]]:
    """KerasTuner's own chief."""
    return [sys.executable], _stock_environment("0.0.0.0", port, "chief")


@dataclass(frozen=True)
class Side:
    """How a side's chief is started, and how its workers reach it."""

    command: Callable[[int], tuple[list[str], dict[str, str]]]
    client: Callable[[int, int, int], Any]


SIDES = {"stock": Side(stock_command, stock_client), "cluster": Side(our_command, our_client)}


def run(side: Side, workers: int, trials: int, seconds: float = 0.0) -> Log:
    """Runs a search of a side."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, environment = side.command(port)
    with tempfile.TemporaryDirectory() as directory:
        chief = subprocess.Popen(
            [*command, PROGRAM, "--trials", str(trials)],
            cwd=directory,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            oracles = [side.client(place, port, trials) for place in range(workers)]
            oracles[0].get_space()  # the chief is there
            log = Log(chief.pid)
            threads = [
                threading.Thread(
                    target=work, args=(oracle, f"w{place}", seconds, seconds * place / workers, log), daemon=True
                )
                for place, oracle in enumerate(oracles)
            ]
            log.ends.append((time.perf_counter(), cpu_seconds(chief.pid)))
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + LIMIT
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            log.stop.set()
        finally:
            chief.send_signal(signal.SIGKILL)
            chief.wait()
    return log


def percentile(values: Sequence[float], share: int) -> float:
    """Of the values, the one that so many percent of them are not greater than."""
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def nothing(side: Side, workers: int) -> dict[str, float]:
    """Trials that do nothing."""
    log = run(side, workers, NOTHING)
    done = len(log.ends) - 1
    seconds, cpu = log.per_trial(done + 1, done)
    return {
        f"{workers} workers: trials [/s]": 1 / seconds,
        f"{workers} workers: grant p50 [ms]": 1000 * percentile(log.grants, 50),
        f"{workers} workers: grant p99 [ms]": 1000 * percentile(log.grants, 99),
        f"{workers} workers: chief CPU a trial [ms]": 1000 * cpu,
    }


def sleeping(side: Side) -> dict[str, float]:
    """Trials that sleep a second."""
    log = run(side, SLEEPERS, SLEEPERS * ROUNDS, 1.0)
    return {
        f"{SLEEPERS} workers, trials of 1 s: grant p50 [ms]": 1000 * percentile(log.grants, 50),
        f"{SLEEPERS} workers, trials of 1 s: grant p99 [ms]": 1000 * percentile(log.grants, 99),
    }


def growing(side: Side) -> dict[str, float]:
    """One long search of trials that do nothing."""
    log = run(side, 4, MANY)
    done = len(log.ends) - 1
    early, late = log.per_trial(100 + WINDOW), log.per_trial(done)
    return {
        f"search of {MANY}: trials in {LIMIT:g} s []": done,
        f"search of {MANY}: a trial, from the 100th on [ms]": 1000 * early[0],
        f"search of {MANY}: a trial, the last ones [ms]": 1000 * late[0],
        f"search of {MANY}: chief CPU a trial, from the 100th on [ms]": 1000 * early[1],
        f"search of {MANY}: chief CPU a trial, the last ones [ms]": 1000 * late[1],
        f"search of {MANY}: the last over the 100th, time []": late[0] / early[0],
        f"search of {MANY}: the last over the 100th, chief CPU []": late[1] / early[1],
    }


def main(runs: int) -> dict[str, Figures]:
    """Measures both sides in turn; returns figures by side."""
    sides: dict[str, Figures] = {name: {} for name in SIDES}
    for _ in range(runs):
        for measure in (*(lambda side, n=n: nothing(side, n) for n in WORKERS), sleeping, growing):
            for name, side in SIDES.items():
                for what, value in measure(side).items():
                    sides[name].setdefault(what, []).append(value)
    return sides
