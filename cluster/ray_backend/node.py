"""A Ray cluster for one program, in containers: `cluster ray-head` and `cluster ray-worker`, which compose.yaml runs.

The head offers no cores, so that trials run on workers alone. A worker is here for as long as the head is.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from cluster.address import split
from cluster.errors import ChiefUnreachable, ClusterError, MissingDependency
from cluster.placement import Place, Placement

log = logging.getLogger(__name__)

PORT = 6379
FIRST_SECONDS = 120.0  # for a head that is only starting
AGAIN_SECONDS = 10.0  # for a head that has crashed: the engine starts it again
KNOCK_SECONDS = 2.0
LEAVE_SECONDS = 20.0
SHARED_MEMORY = Path("/dev/shm")
SETTINGS = {
    # Ray's own take up to a minute to see that a host is gone; what ran there waits for as long.
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
    # Nothing to wait for: a trial goes on elsewhere from its last epoch.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}


def lead(words: Sequence[str]) -> NoReturn:
    """Starts the head, and becomes the driver: its exit code is the container's, and the head ends with the container.

    Args:
        words: The program and its arguments.

    Raises:
        ClusterError: Ray does not start.
    """
    options = [f"--port={PORT}", "--num-cpus=0", "--include-dashboard=true", "--dashboard-host=0.0.0.0"]
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(_start("--head", *options), env=_environment(), stdout=said, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            said.seek(0)
            raise ClusterError(f"the head of the Ray cluster does not start:\n{said.read().strip()}")
    log.info("the head of the Ray cluster listens on port %d", PORT)
    os.execv(sys.executable, [sys.executable, "-P", "-m", "cluster", "run", "--ray", "auto", *words])


def follow(head: str, cpus: int, devices: Placement) -> int:
    """Offers cores, and a GPU where there are any, to the cluster until its head has gone.

    Args:
        head: The head's HOST:PORT.
        cpus: How many cores to offer.
        devices: The GPUs of this host, of which this worker takes a slot on one: others of the host have the others.

    Returns:
        The exit code: 0 when the head has gone for good, 1 when it is there and this container should start again.

    Raises:
        ChiefUnreachable: there is no head.
        UsageError: the address makes no sense.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # told to leave: what ran here runs again elsewhere
    if not _until(FIRST_SECONDS, lambda: _answers(head)):
        raise ChiefUnreachable(f"no head of a Ray cluster answers at {head}")
    place = _take(devices, lambda: _until(AGAIN_SECONDS, lambda: _answers(head)))
    if place is not None:
        _offer(head, cpus, place)
    if _until(AGAIN_SECONDS, lambda: _answers(head)):
        log.warning("this worker is no longer part of the Ray cluster at %s", head)
        return 1
    log.info("the Ray cluster at %s has ended", head)
    return 0


def _take(devices: Placement, wanted: Callable[[], bool]) -> Place | None:
    """Waits for a slot on a GPU where there are any; None where this worker is no longer wanted."""
    said = False
    while wanted():
        if (place := devices.take(socket.gethostname())) is not None:
            return place
        if not said:
            held = ", ".join(holder for holders in devices.holders().values() for holder in holders)
            log.info("waiting for a free GPU; held by %s", held or "somebody who has just come or gone")
            said = True
        time.sleep(1.0)
    return None


def _offer(head: str, cpus: int, place: Place) -> None:
    """Is a host of the cluster, until its head has gone or has dismissed this worker."""
    options = [f"--address={head}", f"--num-cpus={cpus}", f"--num-gpus={int(place.gpu is not None)}", "--block"]
    process = subprocess.Popen(_start(*options), env=_environment() | place.environment, stdout=subprocess.DEVNULL)
    log.info("joining the Ray cluster at %s with %d cores, on %s", head, cpus, place.name)
    try:
        while process.poll() is None and _until(3 * KNOCK_SECONDS, lambda: _answers(head)):
            time.sleep(1.0)
    finally:
        _end(process)
        place.release()


def _start(*options: str) -> list[str]:
    ray = shutil.which("ray", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if ray is None:
        raise MissingDependency(
            "Ray is not installed. Mend it with: pip install 'keras-tuning-cluster[ray]'; in containers, with EXTRAS"
        )
    # More than lies in shared memory Ray would put on disk, with a warning for each container.
    memory = int(shutil.disk_usage(SHARED_MEMORY).free * 0.9) if SHARED_MEMORY.is_dir() else 0
    store = [f"--object-store-memory={memory}"] if memory > 100_000_000 else []
    return [ray, "start", "--disable-usage-stats", *store, *options]


def _environment() -> dict[str, str]:
    return SETTINGS | os.environ


def _answers(address: str) -> bool:
    try:
        socket.create_connection(split(address), timeout=KNOCK_SECONDS).close()
    except OSError:
        return False
    return True


def _until(seconds: float, true: Callable[[], bool]) -> bool:
    """Whether it becomes true in this time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.5)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
