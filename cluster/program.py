"""The user's program: what it is called, where it is, and running it as Python itself would.

Owns the way a script or module becomes `__main__`. Knows nothing of KerasTuner or of roles.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from cluster.errors import UsageError

# The files whose frames are the launcher's, by the beginning of their names.
OWN = (str(Path(__file__).parent) + os.sep, runpy.__file__, "<frozen runpy>")


@dataclass(frozen=True)
class Identity:
    """By what a chief knows that a worker runs the same program.

    Attributes:
        name: `-m module`, or the script's file name.
        arguments: Its arguments.
        digest: A hash of the file that runs as `__main__`.
    """

    name: str
    arguments: tuple[str, ...]
    digest: str

    def differences(self, other: Identity) -> list[str]:
        """Where another identity (a worker's) differs from this one (the chief's), in words."""
        if self.name != other.name:
            return [f"program: {other.name!r} on the worker, {self.name!r} on the chief"]
        if self.arguments != other.arguments:
            theirs, ours = " ".join(other.arguments), " ".join(self.arguments)
            return [f"arguments: {theirs!r} on the worker, {ours!r} on the chief"]
        if self.digest != other.digest:
            return [
                f"the text of {self.name} differs (digest {other.digest} on the worker, {self.digest} on the chief)"
            ]
        return []


@dataclass(frozen=True)
class Program:
    """A script or a module with its arguments.

    Attributes:
        target: The script's path or the module's name.
        is_module: Whether it was given as `-m module`.
        arguments: What the program sees as `sys.argv[1:]`.
    """

    target: str
    is_module: bool
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, words: Sequence[str]) -> Program:
        """Reads `script.py [args]` or `-m module [args]`.

        Raises:
            UsageError: nothing was given, or what was given is not there.
        """
        words = list(words)
        if words[:1] == ["--"]:
            words = words[1:]
        if not words:
            raise UsageError("no program was given. Give a script (my_tuning.py) or a module (-m my_package)")
        if words[0] == "-m":
            if len(words) < 2:
                raise UsageError("-m needs the name of a module")
            program = cls(words[1], True, tuple(words[2:]))
        elif words[0].startswith("-"):
            raise UsageError(
                f"there is no option {words[0]!r}. Options of the cluster come before the program; see --help"
            )
        else:
            program = cls(words[0], False, tuple(words[1:]))
        program.locate()
        return program

    @property
    def words(self) -> list[str]:
        """The command line that `parse` reads back."""
        return (["-m"] if self.is_module else []) + [self.target, *self.arguments]

    def locate(self) -> Path:
        """The file that will run as `__main__`.

        Raises:
            UsageError: there is none.
        """
        if self.is_module:
            return _locate_module(self.target)
        path = Path(self.target)
        try:
            if path.is_dir():
                path = path / "__main__.py"
            there = path.is_file()
        except OSError as error:
            raise UsageError(f"the program {_short(self.target)} cannot be looked up: {error.strerror}") from error
        if not there:
            raise UsageError(f"there is no program {self.target!r} (looked in {Path.cwd()}). For a module, use -m")
        return path

    @property
    def identity(self) -> Identity:
        """What a chief and a worker compare.

        Raises:
            UsageError: the program is not there any more, or cannot be read.
        """
        file = self.locate()
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        except OSError as error:
            raise UsageError(f"the program {file} cannot be read: {error.strerror}") from error
        name = f"-m {self.target}" if self.is_module else Path(self.target).name
        return Identity(_sendable(name), tuple(map(_sendable, self.arguments)), digest)

    def run(self) -> None:
        """Runs the program as `__main__`, as `python script.py` or `python -m module` would.

        Raises:
            Whatever the program raises, `SystemExit` included.
        """
        with _as_main(self):
            if self.is_module:
                runpy.run_module(self.target, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(self.target, run_name="__main__")


def _sendable(word: str) -> str:
    """A word of the command line as text that can be sent and kept: what is no UTF-8 in it is written out."""
    return word.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _short(word: str) -> str:
    return repr(word) if len(word) <= 100 else f"{word[:100]!r}…"


@contextlib.contextmanager
def _as_main(program: Program) -> Iterator[None]:
    argv, path = sys.argv, list(sys.path)
    sys.argv = [program.target, *program.arguments]
    first = os.getcwd() if program.is_module else str(Path(program.target).resolve().parent)
    sys.path.insert(0, first)
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


def _locate_module(name: str) -> Path:
    """Finds the file of `-m name` without importing any of its packages, which may take seconds (Keras)."""
    top, *rest = name.split(".")
    with _searching_here():
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        full = top
        for part in rest:
            full = f"{full}.{part}"
            spec = PathFinder.find_spec(full, _locations(spec)) if spec is not None else None
        if spec is not None and spec.submodule_search_locations is not None:
            spec = PathFinder.find_spec(f"{name}.__main__", _locations(spec))
            if spec is None:
                raise UsageError(f"{name!r} is a package without a __main__ module; it cannot be run with -m")
    if spec is None or spec.origin is None:
        raise UsageError(f"there is no module {name!r} (looked in {Path.cwd()} and the installed packages)")
    return Path(spec.origin)


def _locations(spec: ModuleSpec | None) -> list[str]:
    return list(spec.submodule_search_locations or []) if spec is not None else []


@contextlib.contextmanager
def _searching_here() -> Iterator[None]:
    path = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = path


def own_traceback(error: BaseException) -> str:
    """The traceback of an exception as the program's user knows it: without the frames of the launcher."""
    report = traceback.TracebackException.from_exception(error)
    report.stack = traceback.StackSummary.from_list([x for x in report.stack if not x.filename.startswith(OWN)])
    return "".join(report.format())


def without_own_frames(text: str) -> str:
    """The same of a traceback that was written down already, as KerasTuner does with a trial's."""
    own = "|".join(re.escape(start) for start in OWN)
    return re.sub(rf'^  File "(?:{own}).*\n(?:    .*\n)*', "", text, flags=re.MULTILINE)
