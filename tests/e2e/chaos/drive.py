"""One run: starts the processes, deals the faults, starts again what ended, and ends. Owns the clock."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import queue
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.chaos import verify
from tests.e2e.chaos.disk import Disk, own_disk
from tests.e2e.chaos.faults import Faults, Kill
from tests.e2e.chaos.journal import Event, Journal
from tests.e2e.chaos.plan import Fault, Kind, behind_proxy, draw
from tests.e2e.chaos.processes import Ended, Family, Line, Process
from tests.e2e.chaos.proxy import Proxy

PROGRAM = Path(__file__).parents[2] / "programs" / "chaos_trials.py"
AGAIN_SECONDS = 0.3  # a fault that finds nobody to hit comes again


@dataclass(frozen=True)
class Options:
    """What a run is.

    Attributes:
        seed: What the faults are drawn from.
        faults: How many.
        plan: The faults themselves, instead of drawn ones.
        limit: How long the run may take, in seconds.
        workers: How many workers.
        trials: How many trials.
        oracle: Which oracle.
        seconds: How long a trial takes, on average.
        lease: `--lease-seconds`.
        patience: How long a worker waits for a chief, and one that has missed the end is there after it.
        disk: Whether the disk may be filled, where one can be mounted.
    """

    seed: int
    faults: int
    limit: float
    workers: int = 4
    trials: int = 40
    oracle: str = "random"
    seconds: float = 1.0
    lease: float = 3.0
    patience: float = 40.0
    disk: bool = True
    plan: tuple[Fault, ...] | None = None

    @property
    def program(self) -> list[str]:
        """The program's words."""
        oracle = ["--oracle", self.oracle, "--trials", str(self.trials)]
        return [str(PROGRAM), *oracle, "--seconds", str(self.seconds), "--overwrite"]


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        violations: What must not be, in words; empty when all is well.
        dealt: How many faults of each kind.
        exits: How processes ended, by role and return code.
        events: The event log.
        kills: The workers that were killed while they ran a trial.
        chief_down: When the chief was killed or its disk was filled.
        seconds: How long it took.
    """

    violations: list[str]
    dealt: Counter[Kind]
    exits: Counter[str]
    events: list[Event]
    kills: list[Kill]
    chief_down: list[float]
    seconds: float


def run(options: Options, place: Path) -> Outcome:
    """Runs the program undisturbed, then with faults, and compares."""
    # KerasTuner's own proposals are the measure, where the cluster's oracle makes the same.
    launcher = ["-m", "cluster", "run"] if options.oracle == "bayesian" else []
    undisturbed = run_alone(options, place / "undisturbed", launcher)
    disturbed = place / "disturbed"
    disturbed.mkdir()
    with own_disk(disturbed / "results") if options.disk else contextlib.nullcontext() as disk:
        drive = _Drive(options, disturbed, disk, undisturbed)
        try:
            drive.until_the_end()
        finally:
            drive.end()
        outcome = drive.outcome()
        project = disturbed / "results" / "chaos"
        if not outcome.violations:
            outcome.violations += verify.files(project)
            outcome.violations += verify.trials(project, undisturbed)
            outcome.violations += verify.events(outcome.events, undisturbed, in_order=options.workers == 1)
            outcome.violations += verify.read(
                "stock KerasTuner", run_alone(options, disturbed, [], "--read"), undisturbed
            )
    return outcome


def run_alone(options: Options, place: Path, launcher: list[str], *words: str) -> list[Any]:
    """What the program prints in one process: `[trial, score, values]` of each trial, the best first."""
    place.mkdir(exist_ok=True)
    program = [word for word in options.program if word != "--overwrite"]
    command = [sys.executable, *launcher, *program, "--seconds", "0", *words]
    done = subprocess.run(
        command, cwd=place, env=Family(place).environment, capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} fails with {done.returncode}:\n{done.stdout}{done.stderr}")
    return next(found for line in done.stdout.splitlines() if (found := _printed(line)) is not None)


def _printed(line: str) -> list[Any] | None:
    return list(json.loads(line.removeprefix("trials "))) if line.startswith("trials [") else None


@dataclass(order=True)
class _Due:
    at: float
    number: int
    action: Callable[[], None] = field(compare=False)


class _Drive:
    """The processes of a run, and what happens to them.

    Args:
        options: What the run is.
        place: Its directory.
        disk: The results' own file system, where there is one.
        undisturbed: What every process should know in the end.
    """

    def __init__(self, options: Options, place: Path, disk: Disk | None, undisturbed: list[Any]) -> None:
        self._options = options
        self._undisturbed = undisturbed
        self._disk = disk
        self._family = Family(place)
        self._violations: list[str] = []
        self._exits: Counter[str] = Counter()
        self._due: list[_Due] = []
        self._numbers = itertools.count()
        self._lives: Counter[str] = Counter()
        self._processes: list[Process] = []  # every one that was ever started
        self._finished = False  # the chief has ended well
        self._trouble = False  # the disk is or was full, and no chief has come through since
        self._began = time.monotonic()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        slots = range(options.workers)
        proxies = {slot: Proxy(self._port) for slot in slots if behind_proxy(slot, options.workers)}
        self._ports = {slot: proxies[slot].port if slot in proxies else self._port for slot in slots}
        journal = Journal(place / "results" / "chaos" / "events.jsonl")
        chief, workers = self._start_chief(), [self._start_worker(slot) for slot in slots]
        self._faults = Faults(chief, workers, proxies, disk, journal, self._later)
        self._plan = list(options.plan or ()) or draw(
            options.seed,
            options.faults,
            trials=len(undisturbed),
            workers=options.workers,
            lease=options.lease,
            disk=disk is not None,
        )
        self._dealing = False  # the next fault of the plan has its moment
        self._alive = {chief, *workers}

    # --- the clock

    def until_the_end(self) -> None:
        """Runs until every process has ended, or time is up."""
        deadline = self._began + self._options.limit
        while self._alive:
            now = time.monotonic()
            if now >= deadline:
                late = ", ".join(sorted(x.name for x in self._alive))
                self._violations.append(f"the run did not end within {self._options.limit:.0f} s: {late} still there")
                return
            until = min([deadline, *(due.at for due in self._due[:1])])
            try:
                happening = self._family.happenings.get(timeout=max(0.0, until - now))
            except queue.Empty:
                self._do_what_is_due()
                continue
            if isinstance(happening, Line):
                self._read(happening)
            elif not self._follow(happening):
                return
            self._deal()
            self._do_what_is_due()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, _Due(time.monotonic() + seconds, next(self._numbers), action))

    def _do_what_is_due(self) -> None:
        while self._due and self._due[0].at <= time.monotonic():
            heapq.heappop(self._due).action()

    def _deal(self) -> None:
        """Gives the next fault its moment, once enough trials have ended."""
        if (
            self._plan
            and not self._dealing
            and not self._finished
            and self._faults.journal.ended >= self._plan[0].after
        ):
            self._dealing = True
            self._later(self._plan[0].delay, self._deal_now)

    def _deal_now(self) -> None:
        if self._finished:
            return
        fault = self._plan[0]
        if not self._faults.deal(fault):
            self._later(AGAIN_SECONDS, self._deal_now)
            return
        self._trouble |= fault.kind is Kind.DISK
        self._say(f"{fault.kind.value} {fault.slot if fault.kind not in (Kind.CHIEF, Kind.DISK) else ''}")
        self._plan.pop(0)
        self._dealing = False
        self._deal()

    # --- processes

    def _start_chief(self) -> Process:
        words = ["chief", "--listen", f"127.0.0.1:{self._port}", "--lease-seconds", str(self._options.lease)]
        return self._start("chief", [*words, "--max-attempts", "1000", *self._options.program])

    def _start_worker(self, slot: int) -> Process:
        # A worker without a name gets a new one each time that it starts; so does this one, and the test knows it.
        name = f"worker-{slot}"
        words = ["worker", "--chief", f"127.0.0.1:{self._ports[slot]}", "--name", f"{name}.{self._lives[name] + 1}"]
        patience = str(self._options.patience)
        waits = ["--patience", patience, "--connect-timeout", patience]
        return self._start(name, [*words, *waits, *self._options.program])

    def _start(self, name: str, words: list[str]) -> Process:
        self._lives[name] += 1
        process = Process(self._family, f"{name}.{self._lives[name]}", words)
        self._processes.append(process)
        return process

    def _read(self, line: Line) -> None:
        chief = self._faults.chief
        if line.process is chief:
            self._faults.journal.look()
            if line.text.startswith("cluster: search 1:") and not (self._disk and self._disk.full):
                self._trouble = False
        if "Traceback (most recent call last)" in line.text:
            self._violations.append(f"{line.process.name} shows a traceback; see {line.process.log}")
        printed = _printed(line.text)
        if printed is not None:
            self._violations += verify.read(line.process.name, printed, self._undisturbed)
        self._say(line.text, line.process.name)

    def _follow(self, end: Ended) -> bool:
        """A process has ended: starts the next, or not; returns False where the run makes no sense any more."""
        process, code = end.process, end.code
        process.ended = True
        self._alive.discard(process)
        role = process.name.partition("-")[0].partition(".")[0]
        self._exits[f"{role} {code}"] += 1
        self._say(f"ended with {code}", process.name)
        self._faults.journal.look()
        if process is self._faults.chief:
            return self._follow_chief(process, code)
        slot = self._faults.workers.index(process)
        if self._finished:
            # One that had gone when the search ended finds no chief any more.
            if code not in (0, 7) and not process.was_killed:
                self._violations.append(f"{process.name} ended with {code} after the search")
            return True
        if code == 0:
            return True  # judged when the chief ends: its program ends a moment later
        if not (process.was_killed or code == 10 or self._trouble):
            self._violations.append(f"{process.name} ended with {code}; see {process.log}")
            return False
        worker = self._start_worker(slot)
        self._faults.workers[slot] = worker
        self._alive.add(worker)
        return True

    def _follow_chief(self, process: Process, code: int) -> bool:
        if code == 0:
            self._finished = True
            self._faults.heal()
            if self._plan:
                self._violations.append(f"the search ended with {len(self._plan)} faults still to come")
            return True
        clear = "cannot be written: No space left on device" in process.log.read_text()
        if code == 6 and self._trouble and clear:
            self._faults.chief_found_full_disk()
        elif not process.was_killed:
            self._violations.append(f"the chief ended with {code}; see {process.log}")
            return False
        self._faults.chief = self._start_chief()
        self._alive.add(self._faults.chief)
        return True

    # --- the end

    def end(self) -> None:
        """Ends whatever is left."""
        self._faults.heal()
        if self._family.members() and not self._violations:
            left = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ") for pid in self._family.members()]
            self._violations.append(f"processes are left over: {left}")
        self._family.kill_all()
        for process in self._processes:
            process.wait()
        for proxy in self._faults.proxies.values():
            proxy.end()

    def outcome(self) -> Outcome:
        """What came of it."""
        faults = self._faults
        faults.journal.look()
        if faults.journal.shrunk:
            self._violations.append("the event log has lost events that it had")
        if faults.unnoticed:
            self._violations.append("the disk was full, and the chief did not end")
        seconds = time.monotonic() - self._began
        return Outcome(
            self._violations, faults.dealt, self._exits, faults.journal.events, faults.kills, faults.chief_down, seconds
        )

    def _say(self, text: str, who: str = "chaos") -> None:
        with (self._family.place / "run.log").open("a") as log:
            log.write(f"{time.monotonic() - self._began:7.2f} {who:<12} {text}\n")
