"""Hosts of a Ray cluster that leave: each is a `ray start` of its own on this host."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.launcher import ENVIRONMENT, PROGRAMS, Running, check_completed, events

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.ray

SLOW = str(PROGRAMS / "slow_epochs.py")
RAY = str(Path(sys.executable).with_name("ray"))
# A token of Ray's that is there from other runs would be asked for.
SETTINGS = {"RAY_AUTH_MODE": "disabled"}


class Hosts:
    """A head without cores, and hosts that join it; each ends on SIGTERM, and then all that it has started.

    Args:
        directory: Where they write.
        drain: How long one that is told to leave waits, in seconds.
    """

    def __init__(self, directory: Path, drain: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.environment = SETTINGS | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": drain}
        self._directory = directory
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        log = (self._directory / f"host-{len(self._running)}.log").open("wb")
        process = subprocess.Popen(
            [RAY, "start", *options, "--block", "--disable-usage-stats", "--object-store-memory=100000000"],
            env={**ENVIRONMENT, **self.environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        self._running.append(process)
        return process

    def join(self) -> subprocess.Popen[bytes]:
        """A host with one core."""
        return self.start(f"--address={self.address}", "--num-cpus=1")

    def end(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            process.wait(60)


def listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def hosts(directory: Path, drain: str) -> Iterator[Hosts]:
    place = tempfile.mkdtemp(prefix="ray-")  # a short path, for the sockets in it
    cluster = Hosts(directory, drain)
    try:
        port = cluster.address.rpartition(":")[2]
        cluster.start("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={place}")
        deadline = time.monotonic() + 60
        while not listens(int(port)) and time.monotonic() < deadline:
            time.sleep(0.2)
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("drain", ["0", "1"], ids=["at-once", "drained"])
def test_a_host_told_to_leave_is_not_to_blame(start: Callable[..., Running], tmp_path: Path, drain: str) -> None:
    with hosts(tmp_path, drain) as cluster:
        first = cluster.join()
        words = ("run", "--ray", cluster.address, "--max-attempts", "1", SLOW, "--epochs", "16")
        run = start(*words, **cluster.environment)
        there = run.read_until(r"pid=(\d+)\).*epoch 2 at step")
        cluster.join()
        run.read_until(r"on Ray: 2 at once")
        first.terminate()
        assert run.end() == 0, run.output
    project = tmp_path / "results" / "slow"
    check_completed(project, 1)
    [lost] = events(project, "lost")
    assert (lost["reason"], lost["counted"]) == ("its host on Ray was told to leave", False)
    ran = re.findall(r"pid=(\d+)\).*epoch (\d+) at step", run.output)
    assert min(int(epoch) for pid, epoch in ran if pid != there[1]) > 2, "it goes on at its next epoch"
