"""What an option's value must be beside its type: a number that can be counted with, an address, a name, a path.

Owns looking at each option by itself, before the command begins, so that what is said names the option, or the variable
that it comes from. What options mean together, and what is in a file, is looked at by those who use them.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path

import typer

from cluster.address import check_address, check_ray, split
from cluster.errors import UsageError
from cluster.names import check_name

PATH = "<path>"  # how --help calls the value of an option that `path` or `directory` reads
SHOWN = 100  # letters of a value, in what is said of it
MOST_CORES = 2**16


def at_most(most: float) -> Callable[[float | None], float | None]:
    """Refuses what is more, and what is no number to count with: NaN, which no bound refuses, and the infinite.

    Args:
        most: The greatest number.
    """

    def check(value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise typer.BadParameter(f"{value} is no number that can be counted with")
        if value is not None and value > most:
            raise typer.BadParameter(f"more than {most:,.0f} makes no sense here")
        return value

    return check


finite = at_most(math.inf)
seconds = at_most(1e9)  # thirty years; a little more, and the system's clocks take it no longer
minutes = at_most(1e7)
gigabytes = at_most(1e6)
count = at_most(1_000_000)
processes = at_most(10_000)


def address(value: str) -> str:
    """A chief's HOST:PORT, or `unix:PATH`."""
    return _told(check_address, value)


def page_address(value: str) -> str:
    """The HOST:PORT of a page; the port may be 0."""
    return _told(lambda text: (split(text, any_port=True), text)[1], value)


def head_address(value: str) -> str:
    """The HOST:PORT of the head of a Ray cluster."""
    return _told(lambda text: (split(text), text)[1], value)


def ray_address(value: str) -> str:
    """What Ray takes for its cluster's address; empty for a cluster of this host's own."""
    return _told(check_ray, value) if value else value


def name(value: str | None) -> str | None:
    """A name; empty is as good as none."""
    return value if value is None else _told(lambda text: check_name("value", text), value)


def text(value: str | None) -> str | None:
    """What somebody else reads, who knows what it means: some printable letters."""
    if value is not None and not value:
        raise typer.BadParameter("it is empty")
    if value is not None and not value.isprintable():
        raise typer.BadParameter(f"{_short(value)} has letters in it that cannot be shown")
    return value


def place(value: str) -> str:
    """A directory or an address: which of them, and whether it is there, is looked at later."""
    path(value)
    return value


def path(value: str | Path) -> Path:
    """A path that the system can look up, whether anything is there; an empty one would mean the directory here."""
    with contextlib.suppress(NotADirectoryError):  # who opens it says so, and of what it is the path
        _look(value)
    return Path(value)


def directory(value: str | Path) -> Path:
    """A path at which a directory is, or can be made."""
    try:
        there = _look(value)
        good = there is None or stat.S_ISDIR(there.st_mode)
    except NotADirectoryError:
        good = False
    if not good:
        raise typer.BadParameter(f"{_short(str(value))} is no directory, and none can be made there")
    return Path(value)


def core_numbers(value: str) -> str:
    """Numbers of cores and ranges of them, as `cores.to_text` writes them."""
    numbers = re.findall(r"[0-9]+", value)
    if value and not re.fullmatch(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", value):
        raise typer.BadParameter(f"{_short(value)} are no numbers of cores, such as 0-3,8")
    if any(len(number) > 5 or int(number) >= MOST_CORES for number in numbers):
        raise typer.BadParameter(f"{_short(value)} has a core beyond {MOST_CORES - 1}")
    return value


def descriptor(value: int | None) -> int | None:
    """The number of a file that this process was given open."""
    if value is not None:
        _check_open(value)
    return value


def descriptors(value: str) -> str:
    """Several such numbers, with commas."""
    for word in value.split(",") if value else []:
        if not re.fullmatch(r"[0-9]{1,9}", word):
            raise typer.BadParameter(f"{_short(value)} are no numbers of open files, such as 5,6")
        _check_open(int(word))
    return value


def _told(check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error


def _look(value: str | Path) -> os.stat_result | None:
    """What is at a path; None where nothing is.

    Raises:
        BadParameter: the system cannot look.
        NotADirectoryError: the path leads through a file.
    """
    shown = _short(str(value))
    if not str(value):
        raise typer.BadParameter("it is empty")
    if any(unicodedata.category(letter) == "Cc" for letter in str(value)):
        raise typer.BadParameter(f"{shown} has control characters in it")
    try:
        return os.stat(value)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise
    except OSError as error:
        raise typer.BadParameter(f"{shown} cannot be looked up: {error.strerror}") from error


def _check_open(number: int) -> None:
    try:
        os.fstat(number)
    except (OSError, OverflowError):
        raise typer.BadParameter(f"{number} is no file that is open in this process") from None


def _short(value: str) -> str:
    return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}…"
