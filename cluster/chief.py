"""The chief: who is here, and the searches of its program one after another.

Owns the roster of workers and the list of searches. Knows no gRPC: `rpc/server.py` puts it on the wire.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cluster import cores
from cluster.errors import SET_ASIDE, CannotSave, ClusterError, Refused, SearchFailed, TrainerAhead
from cluster.program import Identity
from cluster.search import Search

log = logging.getLogger(__name__)

TAKEN_SECONDS = 2.0
BACK_SECONDS = 1.5  # shorter: who takes over a name waits for it
TOLD_SECONDS = 3.0


@dataclass(frozen=True)
class Description:
    """What a search looks like from one process; worker and chief must agree on all but the directory.

    Attributes:
        tuner: The tuner's class.
        oracle: The oracle's class.
        objective: The objective, as text.
        max_trials: The oracle's limit, or None.
        directory: The project directory.
        space: The configuration of each hyperparameter known before the first trial.
        whole: Whether `space` is what the program declares: not so on a chief that has reloaded the space of an
            earlier run, to which trials have added and whose ranges the program may have left behind. Spaces are
            compared only where it is.
    """

    tuner: str
    oracle: str
    objective: str
    max_trials: int | None
    directory: str
    space: tuple[dict[str, Any], ...]
    whole: bool = True

    def differences(self, worker: Description) -> list[str]:
        """Where a worker's view differs from this one, in words; empty when they agree."""
        found = [
            f"{name}: {there!r} on the worker, {here!r} on the chief"
            for name in ("tuner", "oracle", "objective", "max_trials")
            if (here := getattr(self, name)) != (there := getattr(worker, name))
        ]
        if not self.whole:
            return found
        chief, other = ({_key(hp): hp["config"] for hp in side.space} for side in (self, worker))
        for key, config in other.items():
            if key not in chief:
                found.append(f"hyperparameter {key[0]!r} is not on the chief")
                continue
            found += [
                f"hyperparameter {key[0]!r}: {option}={config.get(option)!r} on the worker, {value!r} on the chief"
                for option, value in chief[key].items()
                if config.get(option) != value
            ]
        return found + [f"hyperparameter {key[0]!r} is not on the worker" for key in chief if key not in other]


def _key(hp: dict[str, Any]) -> tuple[str, str]:
    return hp["config"]["name"], repr(hp["config"].get("conditions"))


@dataclass(frozen=True)
class Host:
    """Where a worker is.

    Attributes:
        name: The host's name, for the log.
        id: The kernel's boot id: containers of one host have the same.
        cores: The cores that it may use, as text.
        group: Its control group, within the host.
    """

    name: str
    id: str = ""
    cores: str = ""
    group: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """What those have in common who share the same cores; a host without an id is known by its name."""
        return self.id or f"named {self.name}", self.cores


@dataclass(frozen=True)
class Share:
    """What part of its host's cores a worker's trainer gets.

    Attributes:
        place: Which of the trainers that share the same cores it is, from 0.
        places: How many they are.
        together: How many of them are in its control group, and share its quota.
    """

    place: int
    places: int
    together: int


@dataclass
class Attendance:
    """A worker that is here.

    Attributes:
        worker: Its name.
        session: The id of its supervisor process.
        host: Where it is.
        waiting: Whether it waits for a device, and runs no trials until it has one.
        streams: How many connections it has: two for a moment, when it came back before the first was found broken.
        done: Whether its trainer has read the end of the last search.
        told: Whether its supervisor knows that the chief's program has ended.
    """

    worker: str
    session: str
    host: Host
    waiting: bool = False
    streams: int = 0
    done: bool = False
    told: bool = False


@dataclass
class Leaving:
    """Why the chief leaves: the text and the exit code for whoever waits on it."""

    reason: str
    exit_code: int


@dataclass
class Chief:
    """The searches of one program, and the workers that come for them. Any thread may call any method.

    Args:
        identity: The chief's own program; workers must run the same.
        expected: How many workers are about to come, where that is known: cores are dealt for as many from the start.
        host_id: The boot id of the kernel that this process is on.
    """

    identity: Identity
    expected: int = 0
    host_id: str = field(default_factory=cores.host_id)
    searches: list[tuple[Search, Description]] = field(default_factory=list)
    leaving: Leaving | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        self._here: dict[str, Attendance] = {}
        self._changed = threading.Condition()
        self._told: set[str] = set()
        self._came: set[str] = set()

    # --- workers

    def join(self, worker: str, session: str, host: Host, identity: Identity, *, waiting: bool = False) -> None:
        """A supervisor arrives, or comes back.

        Args:
            worker: Its name.
            session: The id of its process.
            host: Where it is.
            identity: Its program.
            waiting: Whether it waits for a device.

        Raises:
            Refused: it runs another program, or its name is taken.
        """
        differences = self.identity.differences(identity)
        if differences:
            raise Refused("this worker does not run the chief's program. " + "; ".join(differences))
        with self._changed:
            # A process that takes over a name may be here before the connection of the one that died is found closed.
            self._changed.wait_for(
                lambda: (taken := self._here.get(worker)) is None or taken.session == session, timeout=TAKEN_SECONDS
            )
            known = self._here.get(worker)
            if known is not None and known.session != session:
                raise Refused(f"a worker named {worker!r} is already here; give this one another --name")
            if known is None:
                log.info("%s joined from %s", worker, host.name)
                known = self._here[worker] = Attendance(worker, session, host)
                self._note(known, here=True)
            self._came.add(worker)
            known.waiting = waiting
            known.streams += 1
            self._changed.notify_all()

    def beat(self, worker: str, *, waiting: bool = False) -> Leaving | None:
        """A heartbeat; the answer says whether this worker has to leave.

        Args:
            worker: Its name.
            waiting: Whether it waits for a device.
        """
        with self._changed:
            if worker in self._here:
                known = self._here[worker]
                if waiting and not known.waiting:
                    log.info("%s waits for a device", worker)
                known.waiting = waiting
                known.told = known.told or self.ended
                self._changed.notify_all()
        for search, _ in self.searches[-1:]:
            search.leases.renew(worker)
            aside = search.set_aside(worker)
            if aside is not None and self.leaving is None:
                return Leaving(f"{aside}; look at this machine", SET_ASIDE)
        return self.leaving

    def share(self, worker: str) -> Share:
        """What part of its host's cores a worker's trainer gets, as things stand."""
        with self._changed:
            known = self._here.get(worker)
            if known is None:
                return Share(0, 1, 1)
            same = [x for x in self._here.values() if x.host.place == known.host.place]
            running = sorted({x.worker for x in same if not x.waiting} | {worker})
            together = [x for x in same if x.worker in running and x.host.group == known.host.group]
            coming = max(0, self.expected - len(self._came))
            return Share(running.index(worker), len(running) + coming, len(together) + coming)

    def dismissed(self, trainer: str) -> str | None:
        """Why a trainer has to end, or None."""
        return self.searches[-1][0].dismissed(trainer) if self.searches and trainer else None

    def left(self, worker: str, session: str, reason: str, *, counted: bool = True) -> None:
        """A supervisor's connection has ended: what it held runs again elsewhere.

        On this host that is the end of its process. From another one a connection may break and its process go on, and
        be back at once.
        """
        with self._changed:
            known = self._here.get(worker)
            if known is None or known.session != session:
                return
            known.streams -= 1
            if counted and known.host.id and known.host.id != self.host_id:
                self._changed.wait_for(
                    lambda: known.streams > 0 or self.leaving is not None or self.ended, timeout=BACK_SECONDS
                )
            if known.streams > 0 or self._here.get(worker) is not known:
                return
            del self._here[worker]
            self._changed.notify_all()
        log.info("%s left", worker)
        self._note(known, here=False)
        for search, _ in self.searches:
            with contextlib.suppress(CannotSave):  # the search has ended by it, and says so
                search.lose_worker(worker, reason, counted=counted)

    def trainer_ended(self, trainer: str, reason: str, *, counted: bool = True, out_of_memory: bool = False) -> None:
        """A supervisor says how its trainer ended."""
        for search, _ in self.searches:
            search.lose_trainer(trainer, reason, counted=counted, out_of_memory=out_of_memory)

    def tell_once(self, traceback: str) -> bool:
        """Whether this traceback is news: the program's error is shown once, however many processes raise it."""
        with self._changed:
            news = traceback not in self._told
            self._told.add(traceback)
            return news

    @property
    def anybody_came(self) -> bool:
        """Whether there ever was a worker."""
        return bool(self._came)

    @property
    def present(self) -> list[str]:
        """The names of the workers that are here."""
        with self._changed:
            return sorted(self._here)

    @property
    def waiting(self) -> list[str]:
        """The names of the workers that are here and wait for a device."""
        with self._changed:
            return sorted(x.worker for x in self._here.values() if x.waiting)

    def _note(self, attendance: Attendance, *, here: bool) -> None:
        for search, _ in self.searches[-1:]:
            search.note_worker(attendance.worker, attendance.host.name, here=here)

    # --- searches

    def begin(self, search: Search, description: Description) -> None:
        """The program has called `tuner.search()`: workers may come."""
        with self._changed:
            self.searches.append((search, description))
            for attendance in self._here.values():
                attendance.done = False
                self._note(attendance, here=True)
            self._changed.notify_all()

    def find(
        self, index: int, description: Description, timeout: float, active: Callable[[], bool] = lambda: True
    ) -> tuple[Search, Description] | None:
        """A trainer has reached its `index`-th search (from 0); waits until the chief has too.

        Returns:
            The chief's search and its description; None when the time is up (ask again).

        Raises:
            Refused: the trainer's search is not the chief's; the text names the difference.
            SearchFailed: the chief has failed.
            KeyError: there is no such search, and never will be.
        """
        if index < 0:
            raise KeyError(f"there is no search {index}")
        with self._changed:
            self._changed.wait_for(
                lambda: index < len(self.searches) or self.leaving or self.ended or not active(), timeout=timeout
            )
            if index >= len(self.searches):
                if self.leaving is not None:
                    raise SearchFailed(self.leaving.reason)
                if self.ended:
                    raise Refused(
                        f"the chief's program ended after {len(self.searches)} searches, and this worker's calls "
                        "tuner.search() once more"
                    )
                return None
        search, own = self.searches[index]
        differences = own.differences(description)
        if differences:
            raise Refused(f"search {index + 1} is not the chief's. " + "; ".join(differences))
        return search, own

    def search_at(
        self, index: int, search_id: str, timeout: float, active: Callable[[], bool] = lambda: True
    ) -> Search | None:
        """The `index`-th search, for a trainer that is in it; a chief that was restarted may have yet to come to it.

        Args:
            index: Its place in the program, from 0.
            search_id: Its id, as the trainer knows it; empty where it does not matter.
            timeout: How long to wait for it, in seconds.
            active: Whether the caller still waits.

        Returns:
            The search; None when the time is up (ask again).

        Raises:
            SearchFailed: the chief has failed before it came to it.
            TrainerAhead: the chief was restarted: it is in an earlier search, which needs trainers to come to its
                end, or this one is another than the trainer's (its directory was named by a clock, say).
        """

        def behind() -> bool:
            here = len(self.searches)
            return 0 < here <= index and not self.ended and not self.searches[-1][0].over

        with self._changed:
            self._changed.wait_for(
                lambda: index < len(self.searches) or behind() or self.leaving or self.ended or not active(),
                timeout=timeout,
            )
            if behind():
                raise TrainerAhead(f"the chief was restarted and is in search {len(self.searches)}, not {index + 1}")
            if 0 <= index < len(self.searches):
                search = self.searches[index][0]
                if search_id and search_id != search.id:
                    raise TrainerAhead(f"the chief was restarted, and its search {index + 1} is another one")
                return search
            if self.leaving is not None:
                raise SearchFailed(self.leaving.reason)
            if self.ended or index < 0:
                raise KeyError(f"there is no search {index}")
            return None

    def current(self, active: Callable[[], bool]) -> Search | None:
        """The newest search, for which a stock client waits as long as it likes; None when it has given up."""
        with self._changed:
            while not self.searches and active() and self.leaving is None and not self.ended:
                self._changed.wait(1.0)
            return self.searches[-1][0] if self.searches else None

    def read(self, worker: str, index: int, *, stays: bool = False) -> str:
        """The state of a search as JSON, for a trainer that has come to its end.

        Args:
            worker: Its worker.
            index: The search's place in the program, from 0.
            stays: Whether it has files to fetch: then the worker is done when it has left.
        """
        state = self.searches[index][0].state_text()
        with self._changed:
            if worker in self._here and index == len(self.searches) - 1 and not stays:
                self._here[worker].done = True
                self._changed.notify_all()
        return state

    # --- the end

    def leave(self, reason: str, exit_code: int) -> None:
        """The chief goes before its program's end; every worker is told, once each, by its next call."""
        with self._changed:
            if self.leaving is None:
                self.leaving = Leaving(reason, exit_code)
            self._changed.notify_all()
        for search, _ in self.searches:
            search.fail(ClusterError(reason))

    def finish(self, seconds: float) -> None:
        """The program has ended well: waits, `seconds` at most, until every worker has read the end or left."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()
            if not self._changed.wait_for(
                lambda: all(x.done or x.waiting for x in self._here.values()), timeout=seconds
            ):
                late = ", ".join(sorted(x.worker for x in self._here.values() if not (x.done or x.waiting)))
                log.warning("not waiting any longer for %s", late)
            # Those whose program goes on must know that this is the end, and no breakdown.
            self._changed.wait_for(lambda: all(x.told for x in self._here.values()), timeout=TOLD_SECONDS)

    def dismiss(self, seconds: float) -> None:
        """Waits, `seconds` at most, until every worker has left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._here, timeout=seconds)
