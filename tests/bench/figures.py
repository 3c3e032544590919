"""What a bench measures: figures with units, by side, and the file in which they are kept.

A bench is a module of this package with `main(runs)`, which returns figures by side; where it cannot run here, its
`why_not()` says why, and `MINUTES` is how long all of it may take, where that differs. A figure is named in words, with
its unit in brackets at the end: `grant p99 [ms]`. Without one it is in seconds; `[]` is for one that has none.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, list[float]]  # by name, one value a run
OURS = "cluster"  # the side that is ours
PACKAGES = ("keras-tuner", "keras", "tensorflow-cpu", "tensorflow", "jax", "grpcio", "ray", "optuna", "scikit-learn")
NAME = re.compile(r"(?P<words>.*?)\s*\[(?P<unit>[^\]]*)\]")


@dataclass(frozen=True)
class Machine:
    """Where something was measured.

    Attributes:
        cpu: The processor's name.
        cores: How many cores this process may use.
        memory: The machine's memory, in bytes.
        system: The operating system.
        python: Python's version.
        packages: The versions of what matters here.
    """

    cpu: str
    cores: int
    memory: int
    system: str
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        system = f"{platform.system()} {platform.release()}"
        cores = len(os.sched_getaffinity(0))
        return cls(_cpu(), cores, memory, system, platform.python_version(), _versions())


@dataclass(frozen=True)
class Kept:
    """What one bench has measured.

    Attributes:
        about: What it measures, in a line.
        date: The day, as YYYY-MM-DD.
        machine: Where.
        sides: The figures of each side.
    """

    about: str
    date: str
    machine: Machine
    sides: dict[str, Figures]

    @classmethod
    def now(cls, about: str, sides: dict[str, Figures]) -> Kept:
        """Measured here, and today."""
        return cls(about, datetime.date.today().isoformat(), Machine.here(), sides)


def read(path: Path) -> dict[str, Kept]:
    """What is kept in a file, by bench; nothing where there is no file."""
    if not path.exists():
        return {}
    kept: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return {name: Kept(**{**entry, "machine": Machine(**entry["machine"])}) for name, entry in kept.items()}


def keep(path: Path, name: str, entry: Kept) -> None:
    """Writes what one bench has measured, in the place of what it had measured before; other benches' figures stay."""
    kept = read(path) | {name: entry}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps({name: asdict(entry) for name, entry in kept.items()}, indent=2) + "\n")
    os.replace(part, path)


def in_turn(sides: Iterable[str], runs: int, run: Callable[[str, int], dict[str, float]]) -> dict[str, Figures]:
    """Runs each side with one seed after another, from 1, and prints what each run gave; returns figures by side."""
    found: dict[str, Figures] = {side: {} for side in sides}
    for seed in range(1, runs + 1):
        for side, figures in found.items():
            given = run(side, seed)
            for name, value in given.items():
                figures.setdefault(name, []).append(value)
            told = ", ".join(f"{name} {value:.4g}" for name, value in given.items())
            print(f"{side}, seed {seed}: {told}", flush=True)
    return found


def unit(name: str) -> tuple[str, str]:
    """A figure's name in words, and its unit."""
    found = NAME.fullmatch(name)
    return (found["words"], found["unit"]) if found else (name, "s")


def number(value: float) -> str:
    """A figure in about three digits."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 or size == 0 else 3
    return f"{value:,.{digits}f}"


def shown(values: list[float], of: str) -> str:
    """The median of several runs with its unit, and their range."""
    space = "" if of in ("%", "") else " "
    median = f"{number(statistics.median(values))}{space}{of}"
    return median if len(values) == 1 else f"{median} ({number(min(values))} to {number(max(values))})"


def _cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
