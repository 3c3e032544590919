"""The cores of this host that a process may use, and what share of them a trainer gets.

Owns affinity, the quota of control groups (version 1 and 2), and the variables that size the thread pools of Keras's
backends. Pure where it can be; the files of the kernel are passed in.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

SYSTEM = Path("/sys/devices/system/cpu")
PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
# TensorFlow's two pools; OpenMP (PyTorch, oneDNN) and the BLAS libraries under NumPy; XLA on the CPU (JAX).
THREADS = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",
)


def allowed_cores(system: Path = SYSTEM) -> tuple[int, ...]:
    """The cores that this process may run on, neighbours beside each other: a socket's together, and in it a core's."""
    everywhere = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = sorted(os.sched_getaffinity(0)) if everywhere else list(range(os.cpu_count() or 1))

    def neighbourhood(core: int) -> tuple[int, int, int]:
        place = system / f"cpu{core}" / "topology"
        try:
            return int((place / "physical_package_id").read_text()), int((place / "core_id").read_text()), core
        except (OSError, ValueError):
            return 0, core, core

    return tuple(sorted(cores, key=neighbourhood))


def deal(cores: Sequence[int], place: int, places: int, quota: float | None = None) -> tuple[int, ...]:
    """The share of one of `places` trainers.

    Args:
        cores: All that there are, neighbours beside each other.
        place: Which trainer, from 0.
        places: How many there are.
        quota: How many cores' time it may use, where that is limited.

    Returns:
        Its cores, at least one. As long as there are enough, no core is in two shares, and none is left over.
    """
    places = max(1, places)
    place = min(max(0, place), places - 1)
    low, high = place * len(cores) // places, (place + 1) * len(cores) // places
    if places >= len(cores):
        low, high = place % len(cores), place % len(cores) + 1
    share = tuple(cores[low:high])
    return share if quota is None else share[: max(1, int(quota))]


def thread_variables(count: int) -> dict[str, str]:
    """The variables that size the thread pools of a trainer with so many cores."""
    return dict.fromkeys(THREADS, str(count))


def pin(cores: Iterable[int], tasks: Path = PROC / "self/task") -> None:
    """Keeps every thread of this process, and those that they start, on these cores."""
    if not hasattr(os, "sched_setaffinity"):
        return
    wanted = set(cores)
    done: set[int] = set()
    # Again, until there are no new ones: what a thread starts before its turn has come is where it was.
    while new := {int(task.name) for task in tasks.iterdir()} - done:
        for number in sorted(new):
            with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
                os.sched_setaffinity(number, wanted)
        done |= new


def to_text(cores: Iterable[int]) -> str:
    """Cores as the kernel writes them, such as `0-3,8`."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def from_text(text: str) -> tuple[int, ...]:
    """Reads `to_text` back."""
    cores: list[int] = []
    for part in text.split(",") if text else []:
        low, _, high = part.partition("-")
        cores += range(int(low), int(high or low) + 1)
    return tuple(cores)


def quota(proc: Path = PROC, cgroups: Path = CGROUPS) -> float | None:
    """How many cores' time the control group of this process may use; None without a limit."""
    return min((limit for limit, _ in _limits(_groups(proc, cgroups))), default=None)


def host_id(proc: Path = PROC) -> str:
    """A name for this boot of this kernel: containers of one host have the same. Empty where there is none."""
    with contextlib.suppress(OSError):
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    return ""


def group_id(proc: Path = PROC, cgroups: Path = CGROUPS) -> str:
    """A name, within the host, for the control group that limits this process: those in it share its quota."""
    groups = _groups(proc, cgroups)
    limited = [place for _, place in sorted(_limits(groups), key=lambda found: found[0])]
    for place in [*limited, *groups]:
        with contextlib.suppress(OSError):
            return str(place.stat().st_ino)
    return ""


def _limits(groups: Iterable[Path]) -> list[tuple[float, Path]]:
    """The quota of each control group that has one, in cores' time."""
    found = []
    for place in groups:
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            if (place / "cpu.max").exists():
                most, period = (place / "cpu.max").read_text().split()
            else:
                most, period = (place / "cpu.cfs_quota_us").read_text(), (place / "cpu.cfs_period_us").read_text()
            if most != "max" and int(most) > 0:
                found.append((int(most) / int(period), place))
    return found


def _groups(proc: Path, cgroups: Path) -> list[Path]:
    """The control groups that this process is in, its own first; those above it may have a limit too."""
    try:
        lines = [line.split(":", 2) for line in (proc / "self/cgroup").read_text().splitlines()]
    except OSError:
        return []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            root = cgroups
        elif "cpu" in controllers.split(","):
            root = cgroups / "cpu" if (cgroups / "cpu").is_dir() else cgroups / controllers
        else:
            continue
        own = root / path.strip("/")
        places = [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
        found = [place for place in places if (place / "cpu.max").exists() or (place / "cpu.cfs_quota_us").exists()]
        if found or (controllers == "" and own.is_dir()):
            return found or [own]
        # In a container without a namespace of its own for control groups, its group is mounted at the root.
        if root.is_dir():
            return [root]
    return []
