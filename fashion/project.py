"""What this program keeps beside KerasTuner's files in a project: the settings, and the time the search has taken.

Owns: `fashion.json` in the project's folder. Does not own: the trials, which are KerasTuner's.

KerasTuner resumes whatever project has the right name. A search that was begun with other data or other epochs would
go on as if nothing had changed, so the settings are written down and compared. The time is written down because a
search that was interrupted has taken the time of all its sessions, not only that of the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fashion.errors import SettingsError
from fashion.files import read_json, write_json


class Project:
    """The notes of one project folder. Only the chief may call what writes: `claim` and `timing`.

    Args:
        folder: The project's folder, `directory/project_name`.
        clock: Gives the time in seconds since the epoch; a wall clock, because it is compared over restarts.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.path = folder / "fashion.json"
        self._clock = clock

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raises `SettingsError` if the project was begun with other settings; one that is new is fine."""
        begun = self._read().get("settings", settings)
        differences = [
            f"{name} {begun.get(name)} (now {settings.get(name)})"
            for name in dict.fromkeys([*begun, *settings])
            if begun.get(name) != settings.get(name)
        ]
        if differences:
            raise SettingsError(
                f"the search in {self.folder} was begun with {', '.join(differences)}. "
                "Ask for the same again, choose another --project or --directory, or delete that folder."
            )

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Checks the settings and writes them down. Call it before anything else touches the folder.

        Raises:
            SettingsError: The project was begun with other settings, or its folder cannot be written.
        """
        self.check(settings)
        try:
            # What an earlier process could not close is closed now, while its last sign of life is still the last.
            write_json(self.path, {"settings": settings, "sessions": self._closed_sessions()})
        except OSError as error:
            raise SettingsError(f"cannot write in {self.folder}: {error.strerror or error}") from error

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Measures the block as one more session of this search, even if the process does not live to its end."""
        sessions = [*self._closed_sessions(), {"started": self._clock()}]
        write_json(self.path, self._read() | {"sessions": sessions})
        try:
            yield
        finally:
            sessions[-1]["ended"] = self._clock()
            write_json(self.path, self._read() | {"sessions": sessions})

    def seconds(self) -> float:
        """Returns the time of all sessions, in seconds. Time between them, when nothing ran, is not counted."""
        return sum(session["ended"] - session["started"] for session in self._closed_sessions())

    def _closed_sessions(self) -> list[dict[str, float]]:
        """Returns the sessions; one whose process was killed ends with the last sign of life in KerasTuner's files."""
        sessions: list[dict[str, float]] = self._read().get("sessions", [])
        # Written when a trial begins and when it ends.
        signs = [self.folder / "oracle.json", *self.folder.glob("trial_*/trial.json")]
        alive = max((sign.stat().st_mtime for sign in signs if sign.exists()), default=0.0)
        return [{"ended": max(session["started"], alive)} | session for session in sessions]

    def _read(self) -> dict[str, Any]:
        return read_json(self.path) or {}
