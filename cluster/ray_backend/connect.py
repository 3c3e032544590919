"""Finds the Ray cluster, or starts one on this host, and checks that a trial can run there.

Every check comes before the search, and ends with a clear error: Ray itself would wait.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cluster import cores
from cluster.address import RAYS_OWN, check_ray, split
from cluster.errors import ChiefUnreachable, MissingDependency, UsageError
from cluster.ray_backend.signals import own_sigterm

log = logging.getLogger(__name__)

SAME_EVERYWHERE = ("keras", "keras-tuner", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy", "cloudpickle")
CONNECT_SECONDS = 10.0
ASK_SECONDS = 30.0
JOIN_SECONDS = 120.0
LOOK_SECONDS = 2.0
SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the project's own files are the record
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # how many there are at once is decided by `Places`
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # programs name files from where they were started
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_V2_ENABLED": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",  # else Ray itself begins a trial anew whose host was taken away
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends a run as it does elsewhere
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # SIGTERM while Ray starts is not waited upon
}


@dataclass(frozen=True)
class Wanted:
    """What the user decides about Ray.

    Attributes:
        address: The cluster's, such as `auto`, `host:6379` or `ray://host:10001`; empty: one of this host's, for this
            run.
        workers: How many trials run at once, at most; None: as many as there is room for.
        cpus: Cores of one trial; None: an equal part of what there is.
        gpus: GPUs of one trial, which may be a part of one; None: one, or an equal part where there are fewer.
        storage: Where Ray keeps what trials save; None: in the project directory, which all hosts must see.
        scheduler: Which of Ray's schedulers stops trials early; empty: none.
        search: Which of Ray's searchers proposes trials; empty: the program's own oracle does.
        shown: Whether what trials print is printed here too.
    """

    address: str = ""
    workers: int | None = None
    cpus: float | None = None
    gpus: float | None = None
    storage: str | None = None
    scheduler: str = ""
    search: str = ""
    shown: bool = True


@dataclass(frozen=True)
class Room:
    """What one trial gets, and how many run at once."""

    cpus: float
    gpus: float
    at_once: int


@contextlib.contextmanager
def connected(wanted: Wanted, environ: Mapping[str, str]) -> Iterator[Room]:
    """A Ray cluster; one that was started for this is stopped.

    Raises:
        MissingDependency: Ray is not installed, or the cluster has other versions.
        ChiefUnreachable: no cluster answers at the address.
        UsageError: one trial needs more than any host has.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise MissingDependency(
            "--ray needs Ray Tune, which is not installed. Mend it with: pip install 'keras-tuning-cluster[ray]'"
        ) from error
    address = wanted.address or environ.get("RAY_ADDRESS", "")
    options: dict[str, Any] = {"log_to_driver": wanted.shown, "logging_level": logging.WARNING}
    if address:
        _knock(address)
        options["address"] = address
    else:
        quota = cores.quota()
        available = len(cores.allowed_cores())
        options |= {"num_cpus": max(1, available if quota is None else min(available, int(quota)))}
        options |= {"include_dashboard": False}
    with own_sigterm() as take_back:
        try:
            ray.init(**options)
            take_back()
        except SystemExit:
            take_back()
            signal.raise_signal(signal.SIGTERM)  # it came while Ray started
            raise
        except ConnectionError as error:
            raise ChiefUnreachable(f"no Ray cluster answers at {address}: {_first_line(error)}") from error
        except RuntimeError as error:
            if "version" not in str(error).lower():
                raise
            raise MissingDependency(f"the Ray cluster at {address} is another version: {_first_line(error)}") from error
        try:
            if address:
                _compare_versions(ray, address)
                _await_host(ray, address)
            room = _room(wanted, _hosts(ray))
            log.info("on Ray: %d at once, each with %g CPUs and %g GPUs", room.at_once, room.cpus, room.gpus)
            yield room
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Looks whether anybody listens; Ray would try for minutes."""
    if check_ray(address) in RAYS_OWN:
        return
    try:
        socket.create_connection(split(address.removeprefix("ray://")), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ChiefUnreachable(
            f"no Ray cluster answers at {address}: {error}. Start one with: ray start --head"
        ) from error


def versions() -> dict[str, str]:
    """The versions that driver and trials have to share."""
    found = {"Python": ".".join(map(str, sys.version_info[:2]))}
    for name in SAME_EVERYWHERE:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _compare_versions(ray: Any, address: str) -> None:
    here = versions()
    question = ray.remote(versions).options(num_cpus=0)
    try:
        there = ray.get(question.remote(), timeout=ASK_SECONDS)
    except Exception as error:
        raise MissingDependency(
            f"the Ray cluster at {address} cannot load this package: {_first_line(error)}. Install "
            "keras-tuning-cluster on its hosts, or use the same image"
        ) from error
    names = ("Python", "keras", "keras-tuner", "numpy")
    other = [f"{x} {there.get(x, 'none')} there, {here.get(x)} here" for x in names if there.get(x) != here.get(x)]
    if other:
        raise MissingDependency(f"the Ray cluster at {address} has other versions: {'; '.join(other)}")


class Places:
    """How many trials run at once: as many as fit on the hosts that are there, which come and go.

    Args:
        room: What one trial gets.
        most: How many there may be.
    """

    def __init__(self, room: Room, most: int | None) -> None:
        self._room = room
        self._most = most
        self._count = room.at_once
        self._looked = self._seen = time.monotonic()

    def __call__(self) -> int:
        """The number, as it was a moment ago at most.

        Raises:
            ChiefUnreachable: there has been no place for a trial for too long.
        """
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            import ray

            self._looked = now
            fitting = sum(_fitting(host, self._room.cpus, self._room.gpus) for host in _hosts(ray))
            count = min(fitting, self._most or fitting)
            if count != self._count:
                log.info("on Ray: %d at once", count)
            self._count = count
        if self._count:
            self._seen = now
        elif now - self._seen > JOIN_SECONDS:
            raise ChiefUnreachable(f"no host of the Ray cluster has had room for a trial for {JOIN_SECONDS:g} s")
        return self._count


def _hosts(ray: Any) -> list[dict[str, float]]:
    """What each host of the cluster offers."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _await_host(ray: Any, address: str) -> None:
    """Waits until a host offers anything: a head may offer nothing, and its workers come later."""
    deadline = time.monotonic() + JOIN_SECONDS
    said = False
    while not any(host.get("CPU") or host.get("GPU") for host in _hosts(ray)):
        if time.monotonic() > deadline:
            raise ChiefUnreachable(
                f"no worker has joined the Ray cluster at {address} within {JOIN_SECONDS:g} s. Start some with: "
                "ray start --address HOST:6379"
            )
        if not said:
            log.info("waiting for a worker to join the Ray cluster, %g s at most", JOIN_SECONDS)
            said = True
        time.sleep(0.5)


def _room(wanted: Wanted, nodes: list[dict[str, float]]) -> Room:
    """Shares what there is among the trials at once.

    Raises:
        UsageError: one trial needs more than any host has.
    """
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    each_gpu = wanted.gpus if wanted.gpus is not None else _part(gpus, wanted.workers, most=1.0)
    by_gpu = int(gpus / each_gpu + 1e-9) if each_gpu else None
    expected = wanted.workers or by_gpu or max(1, int(cpus / wanted.cpus) if wanted.cpus else int(cpus))
    each_cpu = wanted.cpus if wanted.cpus is not None else float(max(1, int(cpus / expected)))
    fitting = sum(_fitting(node, each_cpu, each_gpu) for node in nodes)
    if fitting == 0:
        best = max(nodes, key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)), default={})
        raise UsageError(
            f"one trial needs {each_cpu:g} CPUs and {each_gpu:g} GPUs (--cpus-per-trial, --gpus-per-trial), and no "
            f"host of this Ray cluster has them; the largest has {best.get('CPU', 0):g} CPUs and "
            f"{best.get('GPU', 0):g} GPUs"
        )
    return Room(each_cpu, each_gpu, min(fitting, wanted.workers or fitting))


def _part(gpus: float, workers: int | None, most: float) -> float:
    """An equal part of the GPUs: a whole one, or a fraction where there are more workers than GPUs."""
    if not gpus:
        return 0.0
    return most if workers is None or workers <= gpus else 1.0 / -(-workers // int(gpus))


def _fitting(node: dict[str, float], cpus: float, gpus: float) -> int:
    fits = [int(node.get(kind, 0.0) / each + 1e-9) for kind, each in (("CPU", cpus), ("GPU", gpus)) if each]
    return min(fits, default=1)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
