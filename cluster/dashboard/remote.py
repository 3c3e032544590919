"""The page's searches where their files are not: they are asked of their chief, wherever it runs.

Owns what is asked of a chief, and keeping what it has told when it goes. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cluster.changes import merged
from cluster.dashboard.feed import OVER
from cluster.dashboard.sources import Away, Directory, Source, id_of
from cluster.errors import ChiefUnreachable, ClusterError
from cluster.rpc.client import Credentials
from cluster.rpc.looking import connect, is_address
from cluster.watched import Reading

WAIT_SECONDS = 1.0  # how long a chief is asked to wait for something new


class RunningChief:
    """The searches of a chief, wherever it runs. What it has told stays known when it goes.

    Args:
        address: Its HOST:PORT.
        credentials: What one is let in with.
        seconds: How long to wait for it at first.

    Raises:
        UsageError: the address is none.
        ChiefUnreachable: no chief answers.
        WrongToken: it does not take the token.
    """

    def __init__(self, address: str, credentials: Credentials, seconds: float = 5.0) -> None:
        self._client = connect(address, credentials, seconds)
        try:
            self._client.watch()  # whether it lets us in, before anything is served
        except ClusterError:
            self._client.close()
            raise
        self._readings: dict[str, Reading] = {}
        self._directories: dict[str, str] = {}
        self._names: list[str] = []  # its searches, the newest last

    @property
    def name(self) -> str:
        """The chief's address."""
        return f"the chief at {self._client.address}"

    def poll(self) -> dict[str, Reading]:
        """The searches as they stand; waits a moment for something new."""
        newest = self._names[-1] if self._names else ""
        try:
            self._names = self._ask(newest, WAIT_SECONDS if newest else 0.0)
            for name in self._names:
                known = self._readings.get(name)
                if name != newest and (known is None or known.record.state not in OVER):
                    self._ask(name, 0.0)
        except KeyError:  # it is another chief by now, and has not come to that search
            self._names = []
        except ChiefUnreachable as error:
            raise Away(f"{self.name} does not answer") from error
        except ClusterError as error:
            raise Away(f"{self.name}: {error}") from error
        ordered = sorted(self._readings, key=lambda x: self._names.index(x) if x in self._names else -1)
        return {id_of(Path(name)): self._readings[name] for name in ordered}

    def log(self, search: str, trial: str) -> str:
        """The end of what a trial has printed."""
        directory = self._directories[search]
        try:
            return self._client.log(directory, trial)
        except ClusterError as error:
            raise Away(str(error)) from error

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    def _ask(self, name: str, wait: float) -> list[str]:
        """Asks for what is new in a search; returns the names of all there are."""
        known = self._readings.get(name)
        mark, version = ("", 0) if known is None else (known.mark, known.record.version)
        facts = self._client.watch(name, mark, version, wait)
        if "project" in facts:
            found, before = str(facts["project"]), None
            known = self._readings.get(found)
            if known is not None and not facts["whole"]:
                before = known.record
            record = merged(before, facts)
            if known is None or facts["whole"] or record.version > known.record.version:
                self._readings[found] = Reading(record, str(facts["mark"]))
            self._directories[id_of(Path(found))] = found
        return [str(x) for x in facts["projects"]]


def source_of(place: str, caller: Callable[[], Credentials], *, empty: bool = False, seconds: float = 5.0) -> Source:
    """The source that a word of the command line names.

    Args:
        place: A directory, or a chief's HOST:PORT.
        caller: Gives what one is let in with, where it is a chief.
        empty: Whether a directory may be without a search as yet.
        seconds: How long to wait for a chief.

    Raises:
        UsageError: it is neither; or there is no search in the directory.
        ChiefUnreachable: no chief answers.
    """
    if is_address(place):
        return RunningChief(place, caller(), seconds)
    return Directory(Path(place), empty=empty)
