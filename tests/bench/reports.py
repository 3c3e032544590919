"""Epochs reported over TLS with a token: 64 workers, each every 50 ms, beside the same in clear.

    python -m tests.bench reports

The chief is a process of its own; workers are threads of four more, with the real clients and a connection each, to an
address of 127.0.0.0/8 each, for gRPC shares connections to one address within a process. Every report is a call that
waits for its answer. They begin at random moments, as workers do. The chief has a core for itself, and the workers the
others, since theirs are those of other hosts: where all share two, it is the workers' own waiting that is measured. At
the end all that was reported must be in the search's files.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from cluster.credentials import VARIABLE
from cluster.rpc.client import ChiefClient, Credentials, RemoteSession
from cluster.rpc.tls import ClientTls
from cluster.search import Answer, Grant
from tests.access import CALLER
from tests.bench import fleet
from tests.bench.figures import OURS, Figures, in_turn

PROCESSES, THREADS = 4, 16
WORKERS = PROCESSES * THREADS
EVERY = 0.05  # seconds
REPORTS = 400  # of each worker
JOIN_SECONDS = 120.0  # for all to have their trials
SIDES = {OURS: True, "in clear": False}


def address_of(worker: int) -> str:
    """By which a worker calls the chief."""
    return f"127.0.0.{1 + worker}"


def divide() -> tuple[set[int], set[int]]:
    """The chief's cores and the workers'."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, set(cores[1:]) or {cores[0]}


def stay_on(cores: set[int]) -> None:
    """This process, and all the threads that it has by now, have these cores."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def certificates(directory: Path) -> None:
    """An authority, and the chief's certificate."""
    from cluster import certificates

    certificates.make(
        directory, [address_of(number) for number in range(WORKERS)], 1, datetime.datetime.now(datetime.UTC)
    )


def report(port: int, ca: Path | None, first: int, begin_at: float) -> list[float]:
    """So many workers of one process; returns how long each report took, in seconds."""
    stay_on(divide()[1])
    tls = None if ca is None else ClientTls.of(ca, None, None)
    caller = Credentials(CALLER.token, CALLER.place, tls)
    description = fleet.describe(WORKERS)
    took: list[float] = []

    def work(number: int) -> None:
        client = ChiefClient(f"{address_of(number)}:{port}", caller, JOIN_SECONDS)
        leave = threading.Event()
        presence = fleet.attend(client, fleet.words(WORKERS, 0), f"w{number}", leave)
        _, _, search_id = client.open_search(0, description)
        session = RemoteSession(client, 0, f"w{number}", f"t{number}", search_id)
        grant = session.next_trial(20.0)
        assert isinstance(grant, Grant)
        due = begin_at + random.random() * EVERY
        for epoch in range(REPORTS):
            time.sleep(max(0.0, due - time.monotonic()))
            asked = time.perf_counter()
            session.report_epoch(grant.trial.trial_id, grant.attempt, epoch, {"score": 1.0 / (1 + epoch)}, REPORTS)
            took.append(time.perf_counter() - asked)
            due += EVERY
        session.update_trial(grant.trial.trial_id, grant.attempt, {"score": 0.0}, 0)
        grant.trial.status = "COMPLETED"
        session.end_trial(grant.trial, grant.attempt)
        while session.next_trial(20.0) is not Answer.OVER:
            pass
        session.state()
        leave.set()
        presence.join(10)
        client.close()

    threads = [threading.Thread(target=work, args=(first + number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def run(side: str, seed: int) -> dict[str, float]:
    """One search; returns its figures."""
    with tempfile.TemporaryDirectory() as place, socket.socket() as free:
        directory = Path(place)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "cluster", "chief", "--listen", f"0.0.0.0:{port}", "--insecure", "--no-plots"]
        ca = None
        if SIDES[side]:
            certificates(directory / "tls")
            ca = directory / "tls" / "ca.pem"
            command += ["--tls-cert", f"{place}/tls/chief.pem", "--tls-key", f"{place}/tls/chief.key"]
        command += fleet.words(WORKERS, 0)
        environment = {**os.environ, VARIABLE: CALLER.token}
        with (
            fleet.running(command, directory, environment) as chief,
            ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool,
        ):
            os.sched_setaffinity(chief.pid, divide()[0])
            list(pool.map(fleet.describe, [1] * PROCESSES))  # KerasTuner is loaded before anything is timed
            begin_at = time.monotonic() + 8.0
            firsts = range(0, WORKERS, THREADS)
            reports = [pool.submit(report, port, ca, first, begin_at) for first in firsts]
            took = sorted(x for one in reports for x in one.result())
            chief.wait(60)
        if chief.returncode != 0 or len(took) != WORKERS * REPORTS:
            raise SystemExit(f"{side}: the chief ended with {chief.returncode}:\n{(directory / 'output').read_text()}")
        lines = next(directory.rglob("epochs.jsonl")).read_text().splitlines()
        kept = {(x["trial"], x["epoch"]) for x in map(json.loads, lines) if x["event"] == "epoch"}
    cuts = statistics.quantiles(took, n=100)
    return {
        "a report, median [ms]": 1000 * statistics.median(took),
        "a report, p99 [ms]": 1000 * cuts[98],
        "longest [ms]": 1000 * took[-1],
        "reports []": len(took),
        "lost []": len(took) - len(kept),
    }


def main(runs: int) -> dict[str, Figures]:
    """Measures both sides in turn; returns figures by side."""
    return in_turn(SIDES, runs, run)
