"""What `tuner.search()` does in each role, and running a program under one.

Owns the meeting of program, KerasTuner and search: `LocalRole` runs trials in this process, `ChiefRole` serves them,
`WorkerRole` pulls them from a chief. How each gets between program and KerasTuner is `seams/`'s.
"""

from __future__ import annotations

import abc
import contextlib
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cluster
from cluster import cores, report, seams
from cluster.asides import Asides
from cluster.chief import Chief, Description
from cluster.coreshare import CoreShare
from cluster.errors import PROGRAM_RAISED, ClusterError, DirectoryError, NoSearch, SearchFailed, TrainerAhead
from cluster.logs import Output, Told, Unkept
from cluster.observer import Looker, Observer
from cluster.policy import Policy
from cluster.program import Identity, Program, own_traceback
from cluster.record import Record
from cluster.report.background import Drawings, should_prepare
from cluster.rpc.client import ChiefClient, RemoteSession
from cluster.rpc.files import RemoteFiles
from cluster.search import Search
from cluster.state import LOCK, EventLog, ensure_writable, hold_project, mark_of
from cluster.trainer import ANYTHING, DRAINED, RECYCLED, Device, Leave, LocalSession, OracleProxy
from cluster.transfer.mirror import Mirror, sees

log = logging.getLogger(__name__)

RECLAIM_SECONDS = 0.5
AWAY_SECONDS = 5.0  # how long files are asked of a chief that is away, when the search is over
Lookers = Sequence[Callable[[Path], Looker]]


class OwnerRole(abc.ABC):
    """What a chief, a local run and a driver on Ray share: they own the project directories of the program's tuners.

    Args:
        identity: The program.
        policy: What the user decides.
        fresh: Start every search anew, whatever is there.
        lookers: Make, for a project directory, who is told how its search goes.
    """

    is_chief = True
    plots = True  # whether the report is drawn, and not only its tables written
    verbose = False  # whether KerasTuner prints what it prints by itself
    tuner_id = seams.TUNER_ID
    owns_files = True

    def __init__(self, identity: Identity, policy: Policy, *, fresh: bool = False, lookers: Lookers = ()) -> None:
        self.searches = 0
        self._lookers = lookers
        self._observer: Observer | None = None
        self._identity = identity
        self._policy = policy
        self._fresh = fresh
        self._held: dict[Path, contextlib.ExitStack] = {}
        self._begun: set[Path] = set()
        self._tuners = 0  # how many the program has made
        self._interrupted: dict[Path, str] = {}  # the role of the run that died, by project
        self._drawings = Drawings()
        self._made: dict[Path, int] = {}  # which tuner of the program was the last over a project, from 1

    def prepare(self, project: Path, overwrite: bool) -> None:
        """A tuner is being made: takes the project directory, and empties it where the program or the user says so."""
        if re.match(r"\w+:/", str(project)):
            raise DirectoryError(
                f"the project directory {project} is remote. Leases and whole files need a file system: choose a local "
                "or a shared directory"
            )
        ensure_writable(project)
        place = project.resolve()
        self._tuners += 1
        self._made[place] = self._tuners
        first = place not in self._held
        if first:
            stack = contextlib.ExitStack()
            stack.enter_context(hold_project(place))
            self._held[place] = stack
        if first:
            self._interrupted[place] = self._role_of_dead_run(place)
        if self._fresh and first:
            self._interrupted[place] = ""
            self._empty(place)
        elif overwrite and place not in self._begun and self._interrupted[place] and self._same_tuner(place):
            log.warning(
                "the last run in %s was interrupted: it goes on, in spite of overwrite=True (or use --fresh)", project
            )
        elif overwrite:
            self._empty(place)

    def _empty(self, place: Path) -> None:
        self._drawings.drop(place)
        _empty(place)

    def finish(self, outcome: str) -> None:
        """The program has come to an end of its own: from now on `overwrite=True` means what it says."""
        for place in self._begun:
            events = EventLog(place)
            events.append("run_end", outcome=outcome)
            events.close()

    def release(self) -> None:
        """Lets go of the project directories, when the reports in them are drawn."""
        self._drawings.wait()
        for stack in self._held.values():
            stack.close()
        self._held.clear()

    def raised(self, traceback: str) -> bool:
        """Whether this process shows the program's traceback."""
        return True

    @abc.abstractmethod
    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        """The program called `tuner.search()`."""

    def _begin(self, tuner: Any, role: str) -> Search:
        self.searches += 1
        place = Path(tuner.project_dir).resolve()
        tuner.save()
        resumed = len(tuner.oracle.trials)
        # A chief's workers may still be running what it granted; what a local run was doing, nobody is.
        after_crash = self._interrupted.get(place) == role and role == "chief" and place not in self._begun
        search = Search(
            seams.OwnedOracle(tuner.oracle, verbose=self.verbose), place, self._policy, after_crash=after_crash
        )
        search.begin(
            role=role, program=asdict(self._identity), oracle=type(tuner.oracle).__name__, tuner=self._made.get(place)
        )
        self._begun.add(place)
        lookers = [make(place) for make in self._lookers]
        self._observer = Observer(place, [*lookers, self._prepare_report])
        there = f"; {resumed} trials are there already" if resumed else ""
        log.info("search %d: %s in %s%s", self.searches, type(tuner.oracle).__name__, tuner.project_dir, there)
        return search

    def _prepare_report(self, record: Record) -> None:
        """Towards the end of a search, what draws its report is loaded beside it."""
        if self.plots and should_prepare(record):
            self._drawings.prepare(Path(record.directory))

    def _close(self, search: Search) -> None:
        """Whatever came of it, the search is over for this process."""
        search.close()
        if self._observer is not None:
            self._observer.close()

    def _end(self, search: Search, tuner: Any) -> None:
        if search.failure is not None:
            raise search.failure
        search.end()
        try:
            log.info("%s", report.write(search.directory))
        except Exception:
            log.exception("the report could not be written; the results are whole")
        else:
            if self.plots:
                self._drawings.begin(search.directory)

    def _same_tuner(self, place: Path) -> bool:
        """Whether it was this tuner of the program that ran last here: each turn of a loop may have overwritten it."""
        begins = [event for event in EventLog(place).read() if event["event"] == "search_begin"]
        return bool(begins) and begins[-1].get("tuner") == self._made[place]

    def _role_of_dead_run(self, place: Path) -> str:
        """The role of the last run here, if it was this very program and did not come to its end; else empty."""
        role = ""
        for event in EventLog(place).read():
            if event["event"] == "search_begin":
                same = event.get("program") == json.loads(json.dumps(asdict(self._identity)))
                role = str(event.get("role")) if same else ""
            elif event["event"] == "run_end":
                role = ""
        return role


class LocalRole(OwnerRole):
    """One process: KerasTuner's own loop, with the promises of a search.

    Args:
        identity: The program.
        policy: What the user decides.
        fresh: Start every search anew, whatever is there.
        lookers: Make, for a project directory, who is told how its search goes.
        output: Makes, for a project directory, what becomes of the output of its trials.
    """

    def __init__(
        self,
        identity: Identity,
        policy: Policy,
        *,
        fresh: bool = False,
        lookers: Lookers = (),
        output: Callable[[Path], Output] = lambda project: Unkept(),
    ) -> None:
        # There is nobody else to run what the only worker has lost.
        super().__init__(identity, replace(policy, losses_in_a_row=None), fresh=fresh, lookers=lookers)
        self._output = output
        self._inside = False  # a search is going on

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        """Runs the loop over a search of this process; a search within a trial is KerasTuner's own."""
        if self._inside:
            loop()
            return
        search = self._begin(tuner, "local")
        oracle = tuner.oracle
        output = self._output(search.directory)
        tuner.oracle = OracleProxy(oracle, LocalSession(search), seams.trial_class(), output=output)
        self._inside = True
        try:
            try:
                try:
                    loop()
                finally:
                    output.end()  # what is said from here on is no trial's
            except BaseException:
                search.give_back("the run was stopped")
                raise
            finally:
                tuner.oracle = oracle
                self._inside = False
            self._end(search, tuner)
        finally:
            self._close(search)


class ChiefRole(OwnerRole):
    """The chief: `search()` serves the oracle until the search is over."""

    def __init__(
        self,
        chief: Chief,
        policy: Policy,
        *,
        fresh: bool = False,
        lookers: Lookers = (),
        alone_seconds: float | None = None,
    ) -> None:
        super().__init__(chief.identity, policy, fresh=fresh, lookers=lookers)
        self._chief = chief
        self._alone_seconds = alone_seconds

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        """Serves the search to workers."""
        resumed = bool(tuner.oracle.trials)
        search = self._begin(tuner, "chief")
        self._chief.begin(search, describe(tuner, whole=not resumed))
        try:
            try:
                alone_since: float | None = None
                while not search.wait(RECLAIM_SECONDS):
                    search.watch()
                    alone_since = None if self._chief.present else alone_since or time.monotonic()
                    if self._alone_seconds is not None and alone_since is not None:
                        self._give_up_alone(search, time.monotonic() - alone_since)
            except BaseException:
                search.give_back("the chief was stopped")
                raise
            self._end(search, tuner)
        finally:
            self._close(search)

    def _give_up_alone(self, search: Search, seconds: float) -> None:
        """Ends a search that nobody is left to run, where no worker will come any more."""
        if self._alone_seconds is not None and seconds > self._alone_seconds and self._chief.anybody_came:
            search.fail(SearchFailed("every worker has left before the search had come to its end"))

    def raised(self, traceback: str) -> bool:
        """Whether this process shows the program's traceback: not when a worker's, the same, is in the log."""
        return self._chief.tell_once(traceback)


class WorkerRole:
    """A trainer: `search()` pulls trials from the chief until the search is over.

    Args:
        client: The connection to the chief.
        worker: The worker's name.
        trainer: The id of this process.
        recycle_after: After how many trials this process makes room for a new one; None: never.
        recycle_gb: At how many gigabytes of resident memory it does; None: never.
        device: What this process runs on.
        share: Its share of the host's cores.
        scratch: Where the files of trials are kept where the chief's directory is not here.
        apart: Whether they are kept there in any case.
        asides: The way to the supervisor, who keeps the output of trials; None: nobody does.
    """

    is_chief = False
    verbose = False
    owns_files = False

    def __init__(
        self,
        client: ChiefClient,
        worker: str,
        trainer: str,
        recycle_after: int | None = None,
        recycle_gb: float | None = None,
        device: Device = ANYTHING,
        share: CoreShare | None = None,
        asides: Asides | None = None,
        scratch: Path | None = None,
        apart: bool = False,
    ) -> None:
        self._asides = asides
        self._scratch = scratch
        self._apart = apart
        self.tuner_id = worker
        self.searches = 0
        self._client = client
        self._trainer = trainer
        self._recycle_after = 1 if device.alone else recycle_after  # others wait for the device
        self._device = device
        self._share = share or CoreShare()
        self._makes_room = False
        self._recycle_gb = recycle_gb
        self._granted_before = 0  # trials of the searches before this one
        self._proxy: OracleProxy | None = None
        self._draining = False

    def drain(self) -> None:
        """Told to leave: at once, or where a trial is in hand, when its epoch is over and saved.

        Raises:
            Leave: no trial is in hand.
        """
        self._draining = True
        if self._proxy is None or not self._proxy.busy:
            raise Leave(DRAINED)

    def hear(self, line: str) -> None:
        """What the supervisor tells: `cores 0-3`, a new share of them; `make room`, for one who needs the GPU alone."""
        what, _, rest = line.partition(" ")
        if what == "cores":
            self._share.change(cores.from_text(rest))
        elif line == "make room":
            self._makes_room = True

    def _between_epochs(self) -> None:
        if self._draining:
            if self._proxy is not None and self._proxy.busy:
                self._proxy.keep_files()
            raise Leave(DRAINED)

    def _between_trials(self) -> None:
        self._between_epochs()
        granted = self._granted_before + (self._proxy.granted if self._proxy else 0)
        full = self._recycle_gb is not None and resident_gb() > self._recycle_gb
        if self._makes_room or (
            granted and (full or granted == self._recycle_after or self._share.needs_new_process())
        ):
            raise Leave(RECYCLED)
        self._share.between_trials()

    def prepare(self, project: Path, overwrite: bool) -> None:
        """The files are the chief's; but from here on models are built, and the backend has its threads."""
        self._share.settle()

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        """Runs KerasTuner's loop over the chief's search; then the tuner's own oracle holds what the chief's does."""
        if self._proxy is not None and self._proxy.busy:
            loop()  # a search within a trial is KerasTuner's own
            return
        index = self.searches
        self.searches += 1
        directory, project, search_id = self._client.open_search(index, describe(tuner))
        mirror = None
        if self._apart or not sees(Path(directory) / project, mark_of(search_id)):
            mirror = self._mirror(Path(directory) / project, index, search_id)
            directory, project = str(mirror.project.parent), mirror.project.name
        seams.adopt_directory(tuner, directory, project, None if mirror is None else mirror.need)
        oracle = tuner.oracle
        device, packed = self._device.name, self._device.packed
        session = RemoteSession(self._client, index, self.tuner_id, self._trainer, search_id, device, packed)
        output = self._output(Path(directory) / project, (index, search_id) if mirror is not None else None)
        hooks = self._between_trials, self._between_epochs
        tuner.oracle = self._proxy = OracleProxy(
            oracle, session, seams.trial_class(), *hooks, self._device, output, mirror
        )
        try:
            loop()
            if mirror is not None:
                best = [trial.trial_id for trial in session.best_trials(1)]
                remote = RemoteFiles(self._client, index, search_id, patience=AWAY_SECONDS)
                mirror.finish(remote, best[0] if best else None)
            state = session.state(stays=mirror is not None)
        except TrainerAhead as ahead:
            log.info("%s; the program begins again", ahead)
            raise Leave(RECYCLED) from None
        except ClusterError:
            raise
        except Exception as error:
            session.abort(own_traceback(error))
            raise SearchFailed(f"the program raised in the search: {error}") from error
        finally:
            output.end()
            tuner.oracle = oracle
            self._granted_before += self._proxy.granted
        seams.restore(oracle, state["oracle"], state["trials"])

    def _mirror(self, chief: Path, index: int, search_id: str) -> Mirror:
        """Where this process keeps the files of a search whose directory it does not see."""
        if self._scratch is None:
            raise DirectoryError(f"the chief's project directory {chief} is not here, and there is no --scratch")
        log.info("the chief's %s is not here: files of trials go to the chief, and come from it", chief)
        project = self._scratch / f"{index}-{search_id}" / chief.name
        return Mirror(project, RemoteFiles(self._client, index, search_id))

    def _output(self, project: Path, sent: tuple[int, str] | None) -> Output:
        if self._asides is None:
            return Unkept()
        return Told(self._asides, project, self.tuner_id, self._device.name, sent)

    def raised(self, traceback: str) -> bool:
        """Whether this process shows the program's traceback: only where the chief cannot."""
        try:
            self._client.program_raised(self.tuner_id, traceback)
        except ClusterError:
            return True
        return False


def resident_gb(status: Path = Path("/proc/self/statm")) -> float:
    """The memory that this process holds, in gigabytes; 0 where the system does not say."""
    try:
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def describe(tuner: Any, *, whole: bool = True) -> Description:
    """What a search looks like from this process."""
    oracle = tuner.oracle
    objectives = getattr(oracle.objective, "objectives", [oracle.objective])
    return Description(
        tuner=type(tuner).__qualname__,
        oracle=type(oracle).__qualname__,
        objective=", ".join(f"{x.name} ({x.direction})" for x in objectives),
        max_trials=oracle.max_trials,
        directory=str(tuner.project_dir),
        space=tuple(json.loads(json.dumps(oracle.get_space().get_config()["space"]))),
        whole=whole,
    )


def run(program: Program, role: OwnerRole | WorkerRole, *, verbose: bool = False) -> int:
    """Runs the program under a role.

    Args:
        program: The program.
        role: The role.
        verbose: Whether KerasTuner prints what it prints by itself.

    Returns:
        The exit code: the program's own, or `PROGRAM_RAISED` when it raised (its traceback is shown, once for all).

    Raises:
        NoSearch: it ended well and never called `tuner.search()`.
        ClusterError: what ended the search, for the user.
        KeyboardInterrupt: it was interrupted.
    """
    code = 0
    role.verbose = verbose
    cluster._role = role
    try:
        with seams.installed(role, verbose=verbose):
            try:
                program.run()
            except SystemExit as leaving:
                code = _exit_code(leaving.code)
            except ClusterError:
                raise
            except Exception as error:
                text = own_traceback(error)
                if role.raised(text):
                    sys.stderr.write(text)
                code = PROGRAM_RAISED
    finally:
        cluster._role = None
    if code == 0 and role.searches == 0 and not {"-h", "--help"} & set(program.arguments):
        raise NoSearch(
            f"{program.target} ended without calling tuner.search(), so there was nothing to run. "
            "To run it without the cluster, use python"
        )
    return code


def _exit_code(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    sys.stderr.write(f"{code}\n")
    return 1


def _empty(place: Path) -> None:
    """Removes everything in a project directory but the lock that is held on it."""
    for path in place.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
