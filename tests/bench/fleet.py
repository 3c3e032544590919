"""Many workers as threads of one process, with the real clients, at a chief that is a process of its own.

Owns the spells that workers spend in trials, on the worker's own clock. So many trainers that load TensorFlow would not
fit into a small machine; what a trial costs beside its own second, between chief and client, is the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cluster.chief import Description
from cluster.credentials import VARIABLE
from cluster.program import Program
from cluster.rpc import cluster_pb2 as pb
from cluster.rpc.client import ChiefClient, RemoteSession
from cluster.search import Grant
from tests.access import CALLER

SLEEP = Path(__file__).parents[1] / "programs" / "sleep_trials.py"
START_SECONDS = 120.0  # for a chief to load Keras and begin its search
BEAT_SECONDS = 1.0


@dataclass(frozen=True)
class Spell:
    """A worker's time in one trial, in seconds on a clock that all workers share."""

    worker: int
    begin: float
    end: float


def utilisation(spells: list[Spell], workers: int) -> float:
    """Which part of the workers' time was in trials, in percent: from when all had one to the end of the last."""
    first = {worker: min(x.begin for x in spells if x.worker == worker) for worker in range(workers)}
    begin, end = max(first.values()), max(x.end for x in spells)
    busy = sum(max(0.0, x.end - max(x.begin, begin)) for x in spells)
    return 100 * busy / (workers * (end - begin))


def gaps(spells: list[Spell]) -> list[float]:
    """The time between the end of a worker's trial and the beginning of its next, in seconds."""
    found = []
    for worker in {x.worker for x in spells}:
        own = sorted((x for x in spells if x.worker == worker), key=lambda x: x.begin)
        found += [after.begin - before.end for before, after in pairwise(own)]
    return found


def words(trials: int, seconds: float) -> list[str]:
    """The program and its arguments: trials that sleep."""
    return [str(SLEEP), "--trials", str(trials), "--seconds", str(seconds)]


def ours(directory: Path, workers: int, trials: int, seconds: float) -> list[Spell]:
    """Runs a search of `cluster chief` with so many workers; returns their spells in trials."""
    program = words(trials, seconds)
    address = f"unix:{directory}/chief.sock"
    command = [sys.executable, "-m", "cluster", "chief", "--listen", address, "--expected", str(workers), *program]
    description = describe(trials)
    with running(command, directory, {**os.environ, VARIABLE: CALLER.token}) as chief:
        wait_until_there(address, chief)
        spells = _together(workers, lambda number: _our_worker(number, address, program, description, seconds))
        chief.wait(60)
        if chief.returncode != 0:
            raise SystemExit(f"the chief ended with {chief.returncode}:\n{(directory / 'output').read_text()}")
    return spells


def stock(directory: Path, workers: int, trials: int, seconds: float) -> list[Spell]:
    """The same with KerasTuner's own chief and clients."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    own = {**os.environ, **environment, "KERASTUNER_TUNER_ID": "chief"}
    os.environ.update({**environment, "KERASTUNER_TUNER_ID": "worker"})  # its client reads them
    try:
        with running([sys.executable, *words(trials, seconds)], directory, own) as chief:
            wait_until_there(f"127.0.0.1:{port}", chief)
            return _together(workers, lambda number: _stock_worker(number, seconds))
            # It would stay for up to 20 s more.
    finally:
        for name in (*environment, "KERASTUNER_TUNER_ID"):
            del os.environ[name]


@contextlib.contextmanager
def running(command: list[str], directory: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to the file `output`; it is ended on the way out."""
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def wait_until_there(address: str, chief: subprocess.Popen[bytes]) -> None:
    """Waits until a chief can be reached."""
    client = ChiefClient(address, CALLER, 1.0)
    deadline = time.monotonic() + START_SECONDS
    try:
        while not client.wait_until_there(0.5):
            if chief.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the chief at {address} has not come")
    finally:
        client.close()


def describe(trials: int) -> Description:
    """What the program's search looks like."""
    import keras_tuner

    space = keras_tuner.HyperParameters()
    space.Float("x", -1.0, 1.0)
    config = tuple(json.loads(json.dumps(space.get_config()["space"])))
    return Description("SleepTuner", "RandomSearchOracle", "score (min)", trials, "", config)


def _together(workers: int, work: Callable[[int], list[Spell]]) -> list[Spell]:
    with ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
        return [spell for spells in pool.map(work, range(workers)) for spell in spells]


def attend(client: ChiefClient, program: list[str], name: str, leave: threading.Event) -> threading.Thread:
    """A supervisor's presence: its beats, until it is to leave; returns its thread, which has begun."""
    identity = Program.parse(program).identity

    def beats() -> Iterator[pb.Beat]:
        hello = pb.Hello(host=name, program=identity.name, arguments=identity.arguments, digest=identity.digest)
        yield pb.Beat(worker=name, session=name, hello=hello)
        while not leave.wait(BEAT_SECONDS):
            yield pb.Beat(worker=name, session=name, trainer=name)
        yield pb.Beat(worker=name, session=name, goodbye="the search is over")

    def stay() -> None:
        for _ in client.attend(beats()):
            pass

    thread = threading.Thread(target=stay, name=f"beats of {name}", daemon=True)
    thread.start()
    return thread


def _our_worker(number: int, address: str, program: list[str], description: Description, seconds: float) -> list[Spell]:
    name = f"w{number}"
    client = ChiefClient(address, CALLER, 60.0)
    leave = threading.Event()
    presence = attend(client, program, name, leave)
    try:
        _, _, search_id = client.open_search(0, description)
        session = RemoteSession(client, 0, name, name, search_id)
        spells = list(_trials_of(number, session, seconds))
        session.state()
        return spells
    finally:
        leave.set()
        presence.join(10)
        client.close()


def _trials_of(number: int, session: RemoteSession, seconds: float) -> Iterator[Spell]:
    from cluster.search import Answer

    while (answer := session.next_trial(20.0)) is not Answer.OVER:
        if isinstance(answer, Grant):
            begin = time.monotonic()
            time.sleep(seconds)
            yield Spell(number, begin, time.monotonic())
            trial = answer.trial
            session.update_trial(trial.trial_id, answer.attempt, {"score": trial.hyperparameters.get("x") ** 2}, 0)
            trial.status = "COMPLETED"
            session.end_trial(trial, answer.attempt)


def _stock_worker(number: int, seconds: float) -> list[Spell]:
    from keras_tuner.src.distribute.oracle_client import OracleClient

    client: Any = OracleClient(None)
    spells = []
    while (trial := client.create_trial(f"w{number}")).status != "STOPPED":
        if trial.status == "IDLE":
            continue  # as its own loop does
        begin = time.monotonic()
        time.sleep(seconds)
        spells.append(Spell(number, begin, time.monotonic()))
        client.update_trial(trial.trial_id, {"score": trial.hyperparameters.get("x") ** 2})
        trial.status = "COMPLETED"
        client.end_trial(trial)
    return spells
