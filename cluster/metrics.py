"""Searches as Prometheus sees them: what the page's server answers at /metrics.

Owns the names, units and labels. All but the times of calls is computed from records when somebody asks, so that a
counter goes on where it was when a chief is started again. Needs `prometheus-client`, of the extra `ui`.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client import Counter as Counting
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cluster import losses
from cluster.chief import Chief
from cluster.record import FINISHED, STATUSES, Attempt, Record
from cluster.report.compare import names

__all__ = ["CONTENT_TYPE", "Metrics"]

STATES = ("running", "closing", "ended", "failed", "stopped")
NO_DEVICE = "unknown"
REFUSED = ("request", "call")  # to the page; to the chief
TRIAL_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
SUGGEST_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)
# A call for a trial waits on the chief until there is one.
RPC_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics(Collector):
    """The metrics of some searches, in a registry of their own. Any thread may call any method.

    Args:
        records: Gives the searches; nobody changes them while they are read.
        chief: The chief that serves them; None where this process has none.
        clock: Gives the time in Unix seconds.
    """

    def __init__(
        self,
        records: Callable[[], Sequence[Record]],
        chief: Chief | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._chief = chief
        self._clock = clock
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._refused = Counting(
            "cluster_refused",
            "Requests to the page and calls to the chief that came without the right token.",
            ["kind"],
            registry=self._registry,
        )
        for kind in REFUSED if chief is not None else REFUSED[:1]:
            self._refused.labels(kind)  # there from the start, so that a rate sees the first
        if chief is not None:
            self._rpc = Histogram(
                "cluster_rpc_seconds",
                "Time that the chief took to answer a call; one for a trial waits until there is one.",
                ["method"],
                registry=self._registry,
                buckets=RPC_SECONDS,
            )
            self._rpc_failures = Counting(
                "cluster_rpc_failures",
                "Calls that the chief answered with an error.",
                ["method"],
                registry=self._registry,
            )

    def text(self) -> bytes:
        """All metrics, in Prometheus's text format."""
        return generate_latest(self._registry)

    def answered(self, method: str, seconds: float, failed: bool) -> None:
        """Takes the time of a call to the chief.

        Args:
            method: One of a fixed set of names.
            seconds: How long its answer took.
            failed: Whether that was an error.
        """
        self._rpc.labels(method).observe(seconds)
        if failed:
            self._rpc_failures.labels(method).inc()

    def refused(self, kind: str) -> None:
        """Counts one that was not let in: of `REFUSED`."""
        self._refused.labels(kind).inc()

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that the records are not read when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics, one family after another."""
        yield _build()
        if self._chief is not None:
            waiting = GaugeMetricFamily("cluster_workers_waiting", "Workers that wait for a device.")
            waiting.add_metric([], len(self._chief.waiting))
            yield waiting
        records = self._records()
        named = list(zip(names(records), records, strict=True))
        now = self._clock()
        yield from _state(named, now)
        yield from _trials(named)
        yield from _attempts(named)
        yield from _workers(named)


Named = Sequence[tuple[str, Record]]


def _build() -> Metric:
    info = InfoMetricFamily("cluster_build", "The versions that run.")
    versions = {"python": platform.python_version()}
    for label, package in (("version", "keras-tuning-cluster"), ("keras_tuner", "keras-tuner"), ("keras", "keras")):
        try:
            versions[label] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout
            versions[label] = "unknown"
    info.add_metric([], versions)
    return info


def _state(named: Named, now: float) -> Iterator[Metric]:
    info = InfoMetricFamily("cluster_search", "What a search is.", labels=["search"])
    state = GaugeMetricFamily(
        "cluster_search_state", "1 for the state that a search is in.", labels=["search", "state"]
    )
    began = GaugeMetricFamily(
        "cluster_search_begin_timestamp_seconds", "When the first run of a search began.", labels=["search"]
    )
    last = GaugeMetricFamily(
        "cluster_last_event_timestamp_seconds", "When anything was last written about a search.", labels=["search"]
    )
    left = GaugeMetricFamily(
        "cluster_search_remaining_seconds", "About how long a search will still take.", labels=["search"]
    )
    for name, record in named:
        facts = {
            "directory": record.directory,
            "oracle": record.oracle,
            "objective": record.metric or "",
            "direction": record.direction,
            "role": record.role,
        }
        info.add_metric([name], facts)
        for word in STATES:
            state.add_metric([name, word], float(record.state == word))
        for family, value in (
            (began, record.began),
            (last, record.last_event),
            (left, record.seconds_left(now)),
        ):
            if value is not None:
                family.add_metric([name], value)
    yield from (info, state, began, last, left)


def _trials(named: Named) -> Iterator[Metric]:
    trials = GaugeMetricFamily("cluster_trials", "Trials by what has become of them.", labels=["search", "status"])
    limit = GaugeMetricFamily("cluster_max_trials", "How many trials a search will have.", labels=["search"])
    best = GaugeMetricFamily(
        "cluster_best_objective", "The best value of the objective so far.", labels=["search", "objective"]
    )
    epochs = CounterMetricFamily("cluster_epochs", "Epochs that trials have reported.", labels=["search"])
    for name, record in named:
        counts = record.counts
        other = sum(count for status, count in counts.items() if status not in STATUSES)
        for status in STATUSES:
            trials.add_metric([name, status], counts.get(status, 0))
        trials.add_metric([name, "other"], other)
        if record.max_trials is not None:
            limit.add_metric([name], record.max_trials)
        found = record.best
        if found is not None and found.score is not None:
            best.add_metric([name, record.metric or ""], found.score)
        epochs.add_metric([name], sum(len(x.epochs) for x in record.trials.values()))
    yield from (trials, limit, best, epochs)


def _attempts(named: Named) -> Iterator[Metric]:
    begun = CounterMetricFamily("cluster_attempts", "Attempts at trials that were begun.", labels=["search"])
    retries = CounterMetricFamily("cluster_retries", "Attempts beyond each trial's first.", labels=["search"])
    lost = CounterMetricFamily("cluster_attempts_lost", "Attempts that were lost, by why.", labels=["search", "reason"])
    slots = GaugeMetricFamily("cluster_slots_in_use", "Attempts that run on a device now.", labels=["search", "device"])
    took = HistogramMetricFamily(
        "cluster_trial_seconds", "Time that an attempt took which ended its trial.", labels=["search"]
    )
    asked = HistogramMetricFamily(
        "cluster_suggest_seconds", "Time that the oracle took to propose a trial.", labels=["search"]
    )
    for name, record in named:
        attempts = [x for trial in record.trials.values() for x in trial.attempts]
        begun.add_metric([name], len(attempts))
        retries.add_metric([name], sum(max(0, len(x.attempts) - 1) for x in record.trials.values()))
        reasons = Counter(losses.class_of(x) for x in attempts if x.outcome == "lost")
        for reason in losses.NAMES:
            lost.add_metric([name, reason], reasons[reason])
        for device, count in sorted(_in_use(record, attempts).items()):
            slots.add_metric([name, device], count)
        ended = [x.seconds for x in attempts if x.outcome in FINISHED and x.seconds is not None]
        _observe(took, name, ended, TRIAL_SECONDS)
        _observe(asked, name, [x.suggest_seconds for x in attempts if x.suggest_seconds is not None], SUGGEST_SECONDS)
    yield from (begun, retries, lost, slots, took, asked)


def _workers(named: Named) -> Iterator[Metric]:
    here = GaugeMetricFamily("cluster_workers", "Workers that are here, as events tell.", labels=["search"])
    for name, record in named:
        here.add_metric([name], sum(x.here is True for x in record.workers.values()))
    yield here


def _in_use(record: Record, attempts: Iterable[Attempt]) -> Counter[str]:
    """How many attempts run on each device; 0 on those that were used before."""
    used = Counter({x.device or NO_DEVICE: 0 for x in attempts})
    if record.state in ("running", "closing"):
        used.update(x.device or NO_DEVICE for x in attempts if x.outcome == "running")
    return used


def _observe(family: HistogramMetricFamily, name: str, values: Sequence[float], bounds: Sequence[float]) -> None:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    edges = [*(f"{x:g}" if x < 1 else f"{x:.1f}" for x in bounds), "+Inf"]
    family.add_metric([name], list(zip(edges, accumulate(counts), strict=True)), math.fsum(values))
