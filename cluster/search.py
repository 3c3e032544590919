"""One search: an oracle and its leases behind one lock.

Owns what a search promises: a trial is granted to one worker at a time, each end is counted once, a trial whose worker
is gone runs again, and the search ends. Knows no gRPC and no process; `chief.py` holds one for each `tuner.search()`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from cluster import resume
from cluster.errors import CannotSave, LeaseLost, SearchFailed
from cluster.leases import Lease, LeaseTable
from cluster.past import Past
from cluster.policy import Policy
from cluster.pruning import Pruning, Verdict
from cluster.seams import CHANGE, FINISHED, OwnedOracle
from cluster.state import EPOCHS, EventLog, cannot_save, is_of_the_disk, mark
from cluster.thinking import Thinking
from cluster.transfer.store import Store

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 1.0  # an oracle that had nothing is asked again after this, even when nothing has changed
THOUGHT_SECONDS = 5.0  # a thought that nobody wants any more has ended by then
BEHIND_SECONDS = 5.0  # how often those wake who wait behind the one that asks it


@dataclass(frozen=True)
class Grant:
    """A trial and the number of this attempt at it.

    Attributes:
        trial: The trial.
        attempt: The fencing number.
        ran_out: Whether an attempt before ran out of its device's memory; this one has the device alone.
    """

    trial: Any
    attempt: int
    ran_out: bool = False


class Answer(Enum):
    """What a worker gets where there is no trial for it."""

    WAIT = "wait"
    OVER = "over"
    ALONE = "alone"  # what is left needs a device that its trainer has alone


class Search:
    """One call of `tuner.search()`, served to workers. Any thread may call any method.

    Attributes:
        id: Its name among all searches of all programs; a trainer that was in another one has to begin again.
        files: What workers without this disk send of trials' files, and fetch.

    Args:
        oracle: The oracle, owned from now on until `close`.
        directory: The project directory; the event log is there.
        policy: What the user decides.
        clock: A monotonic clock, in seconds.
        after_crash: Whether this goes on from a process that died in the middle: a search that was over is over, and a
            lease that was open is open, for as long as its worker needs to be heard of again.
    """

    def __init__(
        self,
        oracle: OwnedOracle,
        directory: Path,
        policy: Policy,
        clock: Callable[[], float] = time.monotonic,
        *,
        after_crash: bool = False,
    ) -> None:
        past = Past.read(EventLog(directory))
        self.directory = directory
        self.id = past.search if after_crash and past.search else uuid.uuid4().hex[:12]
        self.failure: Exception | None = None
        self.granted: Counter[str] = Counter()  # grants by worker
        self._owned = oracle
        self._policy = policy
        self._clock = clock
        self._events = EventLog(directory)
        self._epochs = EventLog(directory, name=EPOCHS, durable=False)
        epochs = self._epochs.read() if policy.prune else []
        told = {trial_id: Verdict(*verdict) for trial_id, verdict in past.pruned.items()}
        self._pruning = Pruning(oracle, policy, told, (x for x in epochs if not past.is_undone(x)))
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._thinking = Thinking(lambda: self._owned.ahead, lock, self._changed)
        self._line: list[object] = []  # who waits for a trial, the first first
        self._dry_until = 0.0  # the oracle has nothing before this time, unless something changes
        self._failures_in_a_row = 0
        self._max_failures = policy.max_failures or oracle.max_consecutive_failures
        self._losses_in_a_row: Counter[str] = Counter()  # by worker
        self._restored: set[tuple[str, int]] = set()  # trials and attempts that an earlier process granted
        self._with_checkpoint: list[Any] | None = None  # completed trials whose checkpoint may be there
        self._text: str | None = None  # of the state that nothing changes any more
        self._dismissed: dict[str, str] = {}  # why a trainer has to end, by its id
        self._closing: str | None = None  # why no further trial is begun
        self._closed = False
        self._torn = False  # a step was left in its middle: memory is no whole state, and the log has all that is
        self._began: dict[str, float] = {}
        self._heard: dict[str, float] = {}  # when a running trial last got anywhere
        self._losses = past.losses
        self._ran_out = past.ran_out  # trials that an attempt ran out of memory with: none of them shares a device
        self.leases = LeaseTable(clock, policy.lease_seconds, past.attempts)
        for trial_id, trial in oracle.oracle.trials.items():
            oracle.has_run(trial_id, past.ends[trial_id])
            if trial.status in FINISHED and trial_id in past.held:
                # The crash came before it. `begin` saves what it has changed.
                self._events.append(
                    "end", trial=trial_id, **_end_of(trial, past.attempts[trial_id], past.held[trial_id][0])
                )
                past.ended[trial_id] = past.attempts[trial_id]
            if trial_id in past.ended and past.ended[trial_id] == past.attempts[trial_id]:
                self.leases.remember_end(trial_id)
            elif after_crash and trial_id in past.held:
                worker, trainer, granted = past.held[trial_id]
                log.info(
                    "trial %s is still %s's, if it is heard of within %.0f s", trial_id, worker, policy.lease_seconds
                )
                self.leases.restore(trial_id, worker, trainer)
                self._restored.add((trial_id, past.attempts[trial_id]))
                self._began[trial_id] = clock() - max(0.0, time.time() - granted)
                oracle.resume(trial_id, worker)
        limits = int(1e9 * policy.upload_gb), int(1e9 * policy.free_gb)
        self.files = Store(directory, self.leases, self._step, *limits)
        self.files.keep_only((lease.trial_id, lease.attempt) for lease in self.leases.open)
        self._over = after_crash and past.over
        self._seconds_before = past.seconds
        self._began_at = clock()

    # --- for workers

    def next_trial(
        self,
        worker: str,
        trainer: str,
        timeout: float = 0.0,
        active: Callable[[], bool] = lambda: True,
        lease_seconds: float | None = None,
        device: str = "",
        packed: bool = False,
    ) -> Grant | Answer:
        """Waits for a trial.

        Args:
            worker: The worker's name.
            trainer: The id of its trainer process. One trainer holds one trial: asking again while it holds one gives
                the same trial and attempt again, for the answer to the first call was lost.
            timeout: How long to wait, in seconds.
            active: Whether the caller still waits; looked at before each grant, and now and then.
            lease_seconds: How long the lease lives without a heartbeat, where it differs from the policy's.
            device: What the trainer runs on, in words, for the log.
            packed: Whether others may be on that device.

        Returns:
            A grant; `WAIT` when the time is up (ask again); `OVER` when the search is; `ALONE` where all that can be
            granted has run out of memory before, and the trainer's device is not its own.
        """
        deadline = self._clock() + timeout
        asked: float | None = None
        with self._step(), self._in_line() as wait:
            # Who has given up must not take a trial, nor its successor's.
            while active():
                if isinstance(self.failure, CannotSave):
                    raise self.failure
                for lease in self.leases.held_by(trainer=trainer):
                    return Grant(self._trial(lease.trial_id), lease.attempt, lease.trial_id in self._ran_out)
                for lease in self.leases.held_by(worker=worker):
                    self._lose(lease, "its trainer was replaced")
                self.watch()
                willing = not self._over and self._dry_until <= self._clock() and self.set_aside(worker) is None
                if willing:
                    asked = asked or time.perf_counter()
                    if not self._may_ask(packed):
                        self._changed.wait(ASK_AGAIN_SECONDS)  # a thought ends soon, whatever the caller's patience
                        continue
                    grant = self._grant(worker, trainer, lease_seconds, device, packed, asked)
                    if grant is not None:
                        return grant
                    asked = None
                if self._over:
                    return Answer.OVER
                left = deadline - self._clock()
                if left <= 0:
                    return Answer.WAIT
                wait(left)
            return Answer.WAIT

    def update_trial(self, trial_id: str, attempt: int, metrics: dict[str, float], step: int) -> Any:
        """Takes metrics of a running trial; returns the oracle's copy of it.

        Raises:
            LeaseLost: the attempt is over.
        """
        with self._step():
            self.leases.check(trial_id, attempt)
            self._heard[trial_id] = self._clock()
            return self._owned.oracle.update_trial(trial_id, metrics, step=step)

    def report_epoch(
        self, trial_id: str, attempt: int, epoch: int, logs: dict[str, float], of: int = 0, execution: int = 0
    ) -> bool:
        """Takes the metrics of one epoch, for the eye and for `--prune`: they are not the oracle's.

        Args:
            trial_id: The trial.
            attempt: The attempt.
            epoch: The epoch, counted from 0.
            logs: Its metrics.
            of: How many epochs there are; 0 where that is not known.
            execution: Which execution of the trial, from 0.

        Returns:
            Whether the trial is stopped early: it trains no more, and ends with what it has.

        Raises:
            LeaseLost: the attempt is over, and the worker stops training.
        """
        self.report_progress(trial_id, attempt)
        with self._changed, contextlib.suppress(CannotSave):  # a disk that is full is met by what counts soon enough
            if not self._closed:
                finite = {name: value if math.isfinite(value) else None for name, value in logs.items()}
                about = {"trial": trial_id, "attempt": attempt, "epoch": epoch}
                which = {"execution": execution} if execution else {}
                self._epochs.append("epoch", **about, of=of, logs=finite, **which)
                why = self._pruning.verdict(trial_id, execution, epoch, logs, of)
                if why is not None and trial_id not in self._pruning.told:
                    self._events.append("pruned", **about, reason=why)  # before anybody is told of it
                    self._pruning.told[trial_id] = Verdict(epoch, why)
                    log.info("trial %s is stopped early: it was %s", trial_id, why)
                return why is not None
        return False

    def report_progress(self, trial_id: str, attempt: int) -> None:
        """The trial has got somewhere, in the middle of an epoch or at its end.

        Raises:
            LeaseLost: the attempt is over, and the worker stops training.
        """
        now = self._clock()
        self.leases.check(trial_id, attempt)
        overdue = self._policy.overdue(now - self._began.get(trial_id, now), 0.0)
        if overdue is not None:
            with self._step():
                self._lose(self.leases.check(trial_id, attempt), overdue)
            raise LeaseLost(f"attempt {attempt} at trial {trial_id} is over: {overdue}")
        self._heard[trial_id] = now

    def note_progress(self, trial_id: str, attempt: int) -> None:
        """A trial whose files are on their way gets somewhere, for as long as its attempt holds it."""
        with contextlib.suppress(LeaseLost):
            self.report_progress(trial_id, attempt)

    def end_trial(self, trial: Any, attempt: int) -> None:
        """Takes the end of an attempt: its status, hyperparameters and message. A repeat changes nothing.

        Raises:
            LeaseLost: the attempt was over before; the result is dropped.
        """
        with self._step():
            if self.leases.was_ended(trial.trial_id, attempt):
                return
            lease = self.leases.check(trial.trial_id, attempt)
            try:
                # In this order: the trial's file, the event, and the oracle's file where it is due. A crash between any
                # two is mended when the project is opened again, and a repeat of this call is then known as one.
                self._pruning.end(trial)
                kept = self._owned.end(trial)
                self.leases.end(trial.trial_id, attempt)
                seconds = self._clock() - self._began.pop(trial.trial_id, self._clock())
                self._note_end(kept, attempt, lease.worker, seconds=round(seconds, 3))
            except Exception as error:
                self._torn = True
                if not is_of_the_disk(error):
                    self.fail(error)
                raise
            resume.forget(self.directory / f"trial_{trial.trial_id}")
            self.files.forget(trial.trial_id)
            self._losses_in_a_row.pop(lease.worker, None)
            if kept.status == "INVALID":
                self._pruning.forget(trial.trial_id)
            self._keep_checkpoints(kept)
            self._tell_end(kept, lease.worker, seconds)
            self._count_failures(kept)
            self._note_change()

    def trial(self, trial_id: str) -> Any:
        """The oracle's copy of a trial.

        Raises:
            KeyError: there is no such trial.
        """
        with self._changed:
            return self._trial(trial_id)

    def best_trials(self, number: int) -> list[Any]:
        """The best trials, the best first."""
        with self._changed:
            return list(self._owned.oracle.get_best_trials(number))

    def space(self) -> Any:
        """A copy of the search space."""
        with self._changed:
            return self._owned.oracle.get_space()

    def update_space(self, hyperparameters: Any) -> None:
        """Adds hyperparameters that are not in the space yet."""
        with self._step():
            if not self._closed and self._owned.update_space(hyperparameters):
                self._owned.save()

    def state(self) -> dict[str, Any]:
        """All that the oracle knows, as KerasTuner saves it: `{"oracle": …, "trials": […]}`."""
        with self._changed:
            oracle = self._owned.oracle
            return {"oracle": oracle.get_state(), "trials": [x.get_state() for x in oracle.trials.values()]}

    def state_text(self) -> str:
        """`state` as JSON. At the end every worker reads it: it is made once for all of them."""
        with self._changed:
            if not (self._over and not self.leases.open):
                return json.dumps(self.state())
            self._text = self._text or json.dumps(self.state())
            return self._text

    # --- for the chief

    def begin(self, **about: Any) -> None:
        """Writes that the search goes on from here, and what is known about it."""
        objective = self._owned.oracle.objective
        with self._step():
            mark(self.directory, self.id)
            self._owned.save()
            self._events.append(
                "search_begin",
                search=self.id,
                objective=objective.name,
                direction=objective.direction,
                max_trials=self._owned.expected_trials(),
                **about,
            )

    def note_worker(self, worker: str, host: str, *, here: bool) -> None:
        """Writes that a worker has come or gone, for the eye."""
        with self._changed, contextlib.suppress(CannotSave):
            if not self._closed:
                self._events.append("joined" if here else "left", worker=worker, host=host)

    def lose_trainer(self, trainer: str, reason: str, *, counted: bool = True, out_of_memory: bool = False) -> None:
        """A trainer is gone: its trial runs again elsewhere.

        Args:
            trainer: Its id.
            reason: Why, in words for the user.
            counted: False where nobody is to blame (a worker that was told to leave).
            out_of_memory: Whether its device had no memory left: from now on the trial shares no device.
        """
        with self._step():
            for lease in self.leases.held_by(trainer=trainer):
                self._lose(lease, reason, counted=counted, out_of_memory=out_of_memory)

    def lose_worker(self, worker: str, reason: str, *, counted: bool = True) -> None:
        """A worker is gone: its trial runs again elsewhere."""
        with self._step():
            for lease in self.leases.held_by(worker=worker):
                self._lose(lease, reason, counted=counted)

    def give_back(self, reason: str) -> None:
        """The run is stopped in order: every trial that runs will run again, and nobody is to blame."""
        with self._step():
            self._closing = reason
            for lease in self.leases.open:
                self._lose(lease, reason, counted=False)
            self._events.append("stopped", reason=reason)

    def watch(self) -> None:
        """Takes back the trials whose lease has run out, or whose attempt takes too long; to be called now and then."""
        with self._step():
            for lease in self.leases.expired():
                self._lose(lease, f"{lease.worker} was not heard of in time")
            now = self._clock()
            for lease in self.leases.open:
                running = now - self._began.setdefault(lease.trial_id, now)
                overdue = self._policy.overdue(running, now - self._heard.setdefault(lease.trial_id, now))
                if overdue is not None:
                    self._dismissed[lease.trainer] = f"trial {lease.trial_id}: {overdue}"
                    self._lose(lease, overdue)
            self._close_if_spent()

    def dismissed(self, trainer: str) -> str | None:
        """Why a trainer has to end, or None: its attempt was taken back, and it may be stuck in it."""
        return self._dismissed.get(trainer)

    def set_aside(self, worker: str) -> str | None:
        """Why a worker gets no more trials, or None."""
        losses = self._losses_in_a_row[worker]
        limit = self._policy.losses_in_a_row
        return f"{worker} has lost {losses} trials in a row" if limit is not None and losses >= limit else None

    def fail(self, error: Exception) -> None:
        """Ends the search: `error` is what `tuner.search()` raises on the chief."""
        with self._changed:
            if not self._over:
                self.failure = error
                self._over = True
                if not isinstance(error, CannotSave):
                    with contextlib.suppress(CannotSave):
                        self._events.append("search_failed", error=f"{type(error).__name__}: {error}"[:2000])
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Waits until the search is over, `seconds` at most; returns whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: self._over, timeout=seconds)
            return self._over

    def end(self) -> None:
        """Writes that the search has come to its end."""
        with self._step():
            self._owned.save()
            counts = Counter(trial.status for trial in self._owned.oracle.trials.values())
            self._events.append("search_end", trials=dict(counts))

    def close(self) -> None:
        """Gives the oracle back and closes the log; what the program reads next, it reads from its own oracle."""
        with self._changed:
            was_closed, self._closed = self._closed, True
            self._closing = self._closing or "the search is closed"
            if not isinstance(self.failure, CannotSave):  # else the next chief takes them up
                for lease in self.leases.open:
                    self.leases.drop(lease.trial_id)  # whoever comes too late is refused, and its trial runs again
                if not was_closed and not self._torn and self._owned.is_behind:
                    with contextlib.suppress(CannotSave):  # its changes are in the log
                        self._owned.save()
            self._thinking.close()
            self._owned.release()
            self.files.keep_only((lease.trial_id, lease.attempt) for lease in self.leases.open)
            self._events.close()
            self._epochs.close()
        self._thinking.join(THOUGHT_SECONDS)

    @property
    def over(self) -> bool:
        """Whether every trial is done, or the search has failed."""
        return self._over

    # --- under the lock

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """Holds the lock. What cannot be written ends the search: memory is ahead of the disk, which is what counts.

        Raises:
            CannotSave: in this step or in one before.
        """
        with self._changed:
            if isinstance(self.failure, CannotSave):
                raise self.failure
            try:
                yield
            except CannotSave as error:
                self.fail(error)
                raise
            except OSError as error:
                if not is_of_the_disk(error):
                    raise
                unsaved = cannot_save(error.filename or self.directory, error)
                self.fail(unsaved)
                raise unsaved from error
            except BaseException as error:
                self._torn = self._torn or not isinstance(error, Exception)  # interrupted
                raise

    def _trial(self, trial_id: str) -> Any:
        return self._owned.oracle.trials[trial_id]

    @contextlib.contextmanager
    def _in_line(self) -> Iterator[Callable[[float], None]]:
        """A place among those who wait; yields what waits for news, so many seconds at most.

        The first asks the oracle again, and one is enough: the others wake for news, and hardly by themselves.
        """
        me = object()

        def wait(seconds: float) -> None:
            first = self._line[0] is me
            self._changed.wait(min(seconds, ASK_AGAIN_SECONDS if first else BEHIND_SECONDS))

        self._line.append(me)
        try:
            yield wait
        finally:
            self._line.remove(me)
            if not self._line:
                self._thinking.nobody_waits()

    def _note_change(self) -> None:
        self._dry_until = 0.0
        self._changed.notify_all()
        self._thinking.look()

    def _may_ask(self, packed: bool) -> bool:
        """Whether the oracle's next answer is there, or takes no thought: a trial that runs again, or none at all."""
        again = self._owned.waiting - (self._ran_out if packed else set())
        return self._closing is not None or bool(again) or self._thinking.ready()

    def _grant(
        self, worker: str, trainer: str, lease_seconds: float | None, device: str, packed: bool, asked: float
    ) -> Grant | Answer | None:
        if self._closing is not None:
            self._dry_until = self._clock() + ASK_AGAIN_SECONDS
            return None
        try:
            trial = self._owned.create(worker, self._ran_out if packed else frozenset())
        except Exception as error:
            if is_of_the_disk(error):
                raise
            self.fail(error)
            return None
        if trial.status == "RUNNING":
            attempt = self.leases.next_attempt(trial.trial_id)
            values = dict(trial.hyperparameters.values)
            about: dict[str, Any] = {"suggest_seconds": round(time.perf_counter() - asked, 6)}
            about |= {"device": device} if device else {}
            facts = {"attempt": attempt, "worker": worker, "trainer": trainer, "values": values, **about}
            self._write("grant", trial.trial_id, facts, saved_first=True)
            self.leases.grant(trial.trial_id, worker, trainer, lease_seconds)
            self._began[trial.trial_id] = self._heard[trial.trial_id] = self._clock()
            self.granted[worker] += 1
            again = "" if attempt == 1 else f", attempt {attempt}"
            on = f" on {device}" if device else ""
            log.info("trial %s → %s%s%s: %s", trial.trial_id, worker, on, again, _short(values))
            self._thinking.look()
            return Grant(trial, attempt, trial.trial_id in self._ran_out)
        if packed and self._owned.waiting & self._ran_out:
            return Answer.ALONE
        if trial.status == "STOPPED" and not self.leases.open:
            self._events.append("over")
            self._over = True
            self._changed.notify_all()
        # Otherwise the oracle waits for running trials, or one of them may still come back to be run again.
        self._dry_until = self._clock() + ASK_AGAIN_SECONDS
        return None

    def _note_end(self, trial: Any, attempt: int, worker: str, **more: Any) -> None:
        self._write("end", trial.trial_id, {**_end_of(trial, attempt, worker), **more})

    def _write(self, event: str, trial_id: str, facts: dict[str, Any], *, saved_first: bool = False) -> None:
        """Writes an event about a trial, and with it what its step has changed in the oracle.

        Args:
            event: Its name.
            trial_id: The trial.
            facts: What it tells.
            saved_first: Whether the oracle comes before the event, where it has to be saved whole: else a crash between
                the two would leave a grant of a trial that the oracle does not know.
        """
        change = self._owned.change(trial_id)
        if change is None and saved_first:
            self._owned.save()
        self._events.append(event, trial=trial_id, **facts, **({} if change is None else {CHANGE: change}))
        if self._owned.is_due or (change is None and not saved_first):
            self._owned.save()

    def _lose(self, lease: Lease, reason: str, *, counted: bool = True, out_of_memory: bool = False) -> None:
        trial_id = lease.trial_id
        if self._trial(trial_id).status in FINISHED:
            self.leases.drop(trial_id)
            return  # interrupted between its end and this: it has ended, and nothing is lost
        counted = counted and (trial_id, lease.attempt) not in self._restored
        losses = self._losses[trial_id] + int(counted)
        again = losses < self._policy.max_attempts
        if again:
            self._owned.requeue(trial_id)
        about = {"out_of_memory": True} if out_of_memory else {}
        facts = {"attempt": lease.attempt, "worker": lease.worker, "reason": reason, "counted": counted, **about}
        # Before the trial's file: else the next chief might hold for its worker still what has forgotten its metrics.
        self._write("lost", trial_id, facts)
        if out_of_memory:
            self._ran_out.add(trial_id)
        self.leases.drop(trial_id)  # not before it is on disk, for the same reason
        self.files.forget(trial_id)
        self._losses[trial_id] = losses
        self._losses_in_a_row[lease.worker] += int(counted)
        if counted and (aside := self.set_aside(lease.worker)) is not None:
            self._events.append("set_aside", worker=lease.worker)
            log.error("%s and is set aside; look at its machine", aside)
        if again:
            log.warning("trial %s is lost (%s) and will run again", trial_id, reason)
            self._owned.save_trial(trial_id)
        else:
            log.error("trial %s failed: it has lost %d workers; the last: %s", trial_id, losses, reason)
            self._losses_in_a_row.pop(lease.worker, None)  # the trial is to blame, not who ran it last
            trial = self._trial(trial_id)
            trial.status = "FAILED"
            trial.message = f"The trial lost {losses} workers. The last: {reason}"
            self._owned.end(trial)
            self._note_end(trial, lease.attempt, lease.worker, by_chief=True)
            self._count_failures(trial)
        self._note_change()

    def _count_failures(self, trial: Any) -> None:
        if trial.status == "INVALID":
            return
        self._failures_in_a_row = self._failures_in_a_row + 1 if trial.status == "FAILED" else 0
        if self._failures_in_a_row >= self._max_failures:
            self.fail(
                SearchFailed(
                    f"Number of consecutive failures exceeded the limit of {self._max_failures}. "
                    f"The last: {(trial.message or 'no message').rstrip().rsplit(chr(10), 1)[-1]}"
                )
            )

    def _close_if_spent(self) -> None:
        """Ends the search in order once its budget is spent: what runs may finish, and nothing is begun."""
        if self._over or (self._policy.max_minutes is None and self._policy.stop_at is None):
            return
        if self._closing is None:
            seconds = self._seconds_before + self._clock() - self._began_at
            best = self._owned.best
            direction = self._owned.oracle.objective.direction
            reason = self._policy.budget_spent(seconds, None if best is None else best.score, direction)
            if reason is None:
                return
            self._closing = reason
            self._events.append("closing", reason=reason)
            log.info("no further trial is begun: %s", reason)
        if not self.leases.open:
            self._over = True
            self._changed.notify_all()

    def _keep_checkpoints(self, ended: Any) -> None:
        """Removes the checkpoints of all but the best trials, and of those that the oracle still needs."""
        if self._policy.keep_checkpoints is None:
            return
        if self._with_checkpoint is None:  # of an earlier process, any may have one
            self._with_checkpoint = [x for x in self._owned.oracle.trials.values() if x.status == "COMPLETED"]
        elif ended.status == "COMPLETED":
            self._with_checkpoint.append(ended)
        done = self._owned.best_first(self._with_checkpoint)
        needed = self._owned.needed_checkpoints() | {x.trial_id for x in done[: self._policy.keep_checkpoints]}
        for trial in done:
            if trial.trial_id not in needed:
                (self.directory / f"trial_{trial.trial_id}" / "checkpoint.weights.h5").unlink(missing_ok=True)
        self._with_checkpoint = [x for x in done if x.trial_id in needed]

    def _tell_end(self, trial: Any, worker: str, seconds: float) -> None:
        best = self._owned.best
        if trial.status == "COMPLETED" and best is not None:
            name = self._owned.oracle.objective.name
            log.info(
                "trial %s %s=%.5g on %s in %.1f s; best %.5g (trial %s)",
                *(trial.trial_id, name, trial.score, worker, seconds, best.score, best.trial_id),
            )
        else:
            again = " and will run again" if trial.status == "INVALID" else ""
            log.warning("trial %s failed on %s%s:\n%s", trial.trial_id, worker, again, (trial.message or "").rstrip())


def _end_of(trial: Any, attempt: int, worker: str) -> dict[str, Any]:
    score = None if trial.score is None else float(trial.score)
    return {"attempt": attempt, "worker": worker, "status": trial.status, "score": score}


def _short(values: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items()) or "defaults"
