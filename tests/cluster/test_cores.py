"""The cores of a host: who gets which, what a control group allows, and that threads really stay where they are put."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import cores
from cluster.cores import allowed_cores, deal, from_text, group_id, host_id, pin, quota, to_text

some_cores = st.lists(st.integers(0, 300), min_size=1, max_size=70, unique=True)
quick = settings(max_examples=200, deadline=None)


# --- shares


@quick
@given(some_cores, st.integers(1, 90))
def test_cores_are_dealt_fairly(all_cores: list[int], places: int) -> None:
    shares = [deal(all_cores, place, places) for place in range(places)]
    held = Counter(core for share in shares for core in share)
    sizes = [len(share) for share in shares]
    if places <= len(all_cores):
        assert held == Counter(all_cores), "every core is in one share"
        assert max(sizes) - min(sizes) <= 1
    else:
        assert set(sizes) == {1}
        assert set(held) == set(all_cores), "no core is idle while others are crowded"
        assert max(held.values()) - min(held.values()) <= 1


@quick
@given(some_cores, st.integers(1, 90))
def test_neighbours_stay_together(all_cores: list[int], places: int) -> None:
    for place in range(places):
        share = deal(all_cores, place, places)
        first = all_cores.index(share[0])
        assert list(share) == all_cores[first : first + len(share)]


@quick
@given(some_cores, st.integers(1, 20), st.integers(0, 19), st.floats(0.01, 100))
def test_a_share_is_no_larger_than_its_quota(all_cores: list[int], places: int, place: int, limit: float) -> None:
    share, limited = deal(all_cores, place % places, places), deal(all_cores, place % places, places, limit)
    assert limited == share[: len(limited)]
    assert 1 <= len(limited) <= max(1.0, limit)
    assert len(limited) == len(share) or len(limited) + 1 > limit, "nor smaller than it needs to be"


def test_a_place_that_is_out_of_range_gets_a_share_too() -> None:
    """The numbers come over the network, from a chief that counts otherwise for a moment."""
    eight = range(8)
    assert deal(eight, 0, 0) == tuple(eight)
    assert deal(eight, 5, 2) == (4, 5, 6, 7)
    assert deal(eight, -1, 2) == (0, 1, 2, 3)


# --- as text


def test_cores_are_written_as_the_kernel_writes_them() -> None:
    assert to_text([8, 0, 1, 3, 2]) == "0-3,8"
    assert to_text([5]) == "5"
    assert to_text([]) == ""
    assert from_text("") == ()
    assert from_text("0-3,8") == (0, 1, 2, 3, 8)


@quick
@given(st.sets(st.integers(0, 1000)))
def test_what_was_written_is_read_back(some: set[int]) -> None:
    text = to_text(some)
    assert from_text(text) == tuple(sorted(some))
    assert to_text(from_text(text)) == text
    parts = [part.split("-") for part in text.split(",") if part]
    ends = [(int(part[0]), int(part[-1])) for part in parts]
    assert all(high + 1 < low for (_, high), (low, _) in itertools.pairwise(ends)), "as short as can be"


def test_the_kernels_own_list_is_read() -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    own = next(line.split()[1] for line in lines if line.startswith("Cpus_allowed_list:"))
    assert from_text(own) == tuple(sorted(os.sched_getaffinity(0)))
    assert to_text(os.sched_getaffinity(0)) == own


# --- which there are


def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topology: dict[int, tuple[int, int]], allowed: Sequence[int]
) -> Path:
    """A host with these cores: package and core by number."""
    for core, (package, physical) in topology.items():
        place = tmp_path / f"cpu{core}" / "topology"
        place.mkdir(parents=True)
        (place / "physical_package_id").write_text(f"{package}\n")
        (place / "core_id").write_text(f"{physical}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(allowed))
    return tmp_path


def test_the_threads_of_one_core_are_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As most Intel and AMD hosts number them: core `i` and core `i + N/2` are one."""
    system = host(tmp_path, monkeypatch, {n: (0, n % 4) for n in range(8)}, range(8))
    assert allowed_cores(system) == (0, 4, 1, 5, 2, 6, 3, 7)
    shares = [set(deal(allowed_cores(system), place, 4)) for place in range(4)]
    assert shares == [{0, 4}, {1, 5}, {2, 6}, {3, 7}], "no two trainers are on one core"


def test_a_sockets_cores_are_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even numbers on one socket, odd ones on the other, and two threads each."""
    system = host(tmp_path, monkeypatch, {n: (n % 2, n // 2 % 2) for n in range(8)}, range(8))
    assert allowed_cores(system) == (0, 4, 2, 6, 1, 5, 3, 7)
    assert [set(deal(allowed_cores(system), place, 2)) for place in range(2)] == [{0, 2, 4, 6}, {1, 3, 5, 7}]


def test_only_cores_that_the_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = host(tmp_path, monkeypatch, {n: (0, n % 8) for n in range(16)}, [9, 1, 2, 11])
    assert allowed_cores(system) == (1, 9, 2, 11)


def test_a_host_that_says_nothing_about_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = host(tmp_path, monkeypatch, {}, [3, 0, 10, 2])
    assert allowed_cores(system) == (0, 2, 3, 10)


def test_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sched_setaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert allowed_cores(tmp_path) == (0, 1, 2)
    pin((0,))


def test_the_cores_of_this_host() -> None:
    assert sorted(allowed_cores()) == sorted(os.sched_getaffinity(0))


# --- the quota


def kernel(tmp_path: Path, cgroup: str | None, **files: str) -> tuple[Path, Path]:
    """What the kernel says: the groups of the process, and files of control groups by their paths."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    if cgroup is not None:
        (proc / "self" / "cgroup").write_text(cgroup)
    cgroups.mkdir()
    for name, text in files.items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, cgroups


V1_BOTH = "12:cpuset:/\n5:cpu,cpuacct:/job/a\n1:name=systemd:/job/a\n0::/job/a\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        # Version 2.
        ("0::/job/a\n", {"job/a/cpu.max": "max 100000\n"}, None),
        ("0::/job/a\n", {"job/a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/job/a\n", {"job/a/cpu.max": "20000 10000\n", "job/cpu.max": "max 100000\n"}, 2.0),
        ("0::/job/a\n", {"job/a/cpu.max": "max 100000\n", "job/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/job/a\n", {"job/a/cpu.max": "400000 100000\n", "job/cpu.max": "300000 100000\n"}, 3.0),
        ("0::/job/a/leaf\n", {"job/a/leaf/cgroup.procs": "1\n", "job/a/cpu.max": "250000 100000\n"}, 2.5),
        ("0::/job/a\n", {"job/b/cpu.max": "100000 100000\n", "job/a/cgroup.procs": "1\n"}, None),
        ("0::/\n", {"cpu.max": "75000 100000\n"}, 0.75),
        ("0::/\n", {"cgroup.procs": "1\n"}, None),
        ("0::/docker/of/the/host\n", {"cpu.max": "200000 100000\n"}, 2.0),
        # Version 1.
        (V1_BOTH, {"cpu/job/a/cpu.cfs_quota_us": "150000\n", "cpu/job/a/cpu.cfs_period_us": "100000\n"}, 1.5),
        (
            V1_BOTH,
            {"cpu,cpuacct/job/a/cpu.cfs_quota_us": "5000\n", "cpu,cpuacct/job/a/cpu.cfs_period_us": "2000\n"},
            2.5,
        ),
        (V1_BOTH, {"cpu/job/a/cpu.cfs_quota_us": "-1\n", "cpu/job/a/cpu.cfs_period_us": "100000\n"}, None),
        (
            V1_BOTH,
            {
                "cpu/job/a/cpu.cfs_quota_us": "-1\n",
                "cpu/job/a/cpu.cfs_period_us": "100000\n",
                "cpu/job/cpu.cfs_quota_us": "300000\n",
                "cpu/job/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            "3:cpu,cpuacct:/docker/of/the/host\n",
            {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        ("2:cpuacct:/\n1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "7000\n", "cpu/cpu.cfs_period_us": "1000\n"}, 7.0),
        # Both, and the cores are version 2's.
        ("4:memory:/job\n1:name=systemd:/job\n0::/job\n", {"job/cpu.max": "100000 100000\n"}, 1.0),
        # A group that only counts time, or only has a name like it.
        ("3:cpuacct:/job\n2:cpuset:/job\n", {"cpuacct/job/cpu.cfs_quota_us": "1000\n"}, None),
        # Nothing, or nonsense.
        (None, {}, None),
        ("", {}, None),
        ("nonsense\n0:\n::\n", {}, None),
        ("0::/gone\n", {}, None),
        ("3:cpu:/gone\n", {}, None),
        ("0::/\n", {"cpu.max": ""}, None),
        ("0::/\n", {"cpu.max": "banana\n"}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        ("0::/job\n", {"job/cpu.max": "banana split\n", "cpu.max": "200000 100000\n"}, 2.0),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "1000\n"}, None),
        ("0::/../../elsewhere\n", {"cpu.max": "100000 50000\n"}, 2.0),
    ],
)
def test_the_quota_of_a_control_group(
    tmp_path: Path, cgroup: str | None, files: dict[str, str], expected: float | None
) -> None:
    assert quota(*kernel(tmp_path, cgroup, **files)) == expected


def test_the_quota_of_this_process_is_none_or_positive() -> None:
    found = quota()
    assert found is None or found > 0


def test_those_in_one_control_group_have_one_name_for_it(tmp_path: Path) -> None:
    def named(case: str, cgroup: str | None, **files: str) -> str:
        (tmp_path / case).mkdir()
        return group_id(*kernel(tmp_path / case, cgroup, **files))

    limit = {"a/cpu.max": "100000 100000\n", "b/cpu.max": "100000 100000\n"}
    proc, cgroups = kernel(tmp_path, "0::/a\n", **limit)
    in_a = group_id(proc, cgroups)
    assert in_a
    assert group_id(proc, cgroups) == in_a
    (proc / "self" / "cgroup").write_text("0::/b\n")
    assert group_id(proc, cgroups) not in ("", in_a)
    files = {"job/cpu.max": "100000 100000\n", "job/a/cpu.max": "max 100000\n", "job/b/cpu.max": "max 100000\n"}
    (tmp_path / "siblings").mkdir()
    siblings = kernel(tmp_path / "siblings", "0::/job/a\n", **files)
    of_a = group_id(*siblings)
    (siblings[0] / "self" / "cgroup").write_text("0::/job/b\n")
    assert group_id(*siblings) == of_a != "", "the quota is their parent's, and they share it"
    assert named("version 1", "3:cpu:/a\n", **{"cpu/a/cpu.cfs_quota_us": "-1\n"}) != ""
    assert named("none", None) == ""
    assert named("nonsense", "nonsense\n") == ""


def test_a_host_is_known_by_its_boot(tmp_path: Path) -> None:
    assert host_id(tmp_path) == ""
    place = tmp_path / "sys" / "kernel" / "random"
    place.mkdir(parents=True)
    (place / "boot_id").write_text("1dc0a7d3-6f9a-4a35-9f3c-1f2a6e5f8c11\n")
    assert host_id(tmp_path) == "1dc0a7d3-6f9a-4a35-9f3c-1f2a6e5f8c11"


# --- pinning

THREADS = """
import os, sys, threading
from pathlib import Path
from cluster.cores import pin

core = int(sys.argv[1])
end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(5)]
for thread in threads[:4]:
    thread.start()
pin((core,))
threads[4].start()  # one that comes later inherits it
for task in Path("/proc/self/task").iterdir():
    text = (task / "status").read_text()
    print(next(line.split()[1] for line in text.splitlines() if line.startswith("Cpus_allowed_list")))
end.set()
"""


def test_every_thread_is_pinned_and_those_that_come_later() -> None:
    core = max(os.sched_getaffinity(0))
    result = subprocess.run([sys.executable, "-c", THREADS, str(core)], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [str(core)] * 6


class Tasks:
    """The threads of a process that is made up, and where they are."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = tmp_path / "task"
        self.pinned: dict[int, set[int]] = {}
        self.path.mkdir()
        monkeypatch.setattr(os, "sched_setaffinity", self._set)

    def start(self, *numbers: int) -> None:
        for number in numbers:
            (self.path / str(number)).mkdir()

    def _set(self, number: int, wanted: set[int]) -> None:
        self.pinned[number] = wanted


def test_a_thread_that_ends_meanwhile_keeps_no_other_from_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks(tmp_path, monkeypatch)
    tasks.start(1, 2, 3)
    keep = tasks._set

    def ended(number: int, wanted: set[int]) -> None:
        if number == 2:
            raise ProcessLookupError
        keep(number, wanted)

    monkeypatch.setattr(os, "sched_setaffinity", ended)
    pin((4, 5), tasks.path)
    assert tasks.pinned == {1: {4, 5}, 3: {4, 5}}


def test_a_thread_that_another_starts_meanwhile_is_pinned_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thread 2 starts thread 3, which inherits all cores, while thread 1 is being pinned."""
    tasks = Tasks(tmp_path, monkeypatch)
    tasks.start(1, 2)
    keep = tasks._set

    def starting(number: int, wanted: set[int]) -> None:
        keep(number, wanted)
        if number == 1 and len(list(tasks.path.iterdir())) == 2:
            tasks.start(3)

    monkeypatch.setattr(os, "sched_setaffinity", starting)
    pin((4,), tasks.path)
    assert tasks.pinned == {1: {4}, 2: {4}, 3: {4}}


# --- threads


def test_every_backends_pool_has_one_size() -> None:
    values = cores.thread_variables(3)
    assert set(values.values()) == {"3"}
    assert {"TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"} <= set(values)
