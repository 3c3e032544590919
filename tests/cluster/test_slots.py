"""Slots on GPUs: between processes that really run and really die, and over directories of every kind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import slots as slots_module
from cluster.errors import DeviceError
from cluster.slots import Slot, SlotDirectory, file_system

GPU = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
OTHER = "GPU-00000000-d72c-4106-c12f-20bd9faed9f6"
SECONDS = 20.0  # for what takes milliseconds
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may do anything")


@pytest.fixture
def directory(tmp_path: Path) -> SlotDirectory:
    return SlotDirectory(tmp_path / "slots")


@contextlib.contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process with pipes to its input and from its output; it is killed at the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield child
    finally:
        child.kill()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        child.stdout.close()
        child.wait()


def heard(child: subprocess.Popen[str]) -> str:
    """The next line of a child; it is waited for."""
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, "the child has ended"
    return line.rstrip("\n")


HOLDER = """
import sys
from pathlib import Path
from cluster.slots import SlotDirectory
path, gpu, number, of = sys.argv[1:]
slot = SlotDirectory(Path(path)).take(gpu, int(number), int(of), "the child")
print("holds it" if slot else "has none", flush=True)
sys.stdin.read()
"""


# --- who may come


def test_a_slot_is_held_by_one_until_it_is_released(directory: SlotDirectory) -> None:
    slot = directory.take(GPU, 0, 1, "a")
    assert slot is not None
    assert (slot.gpu, slot.number, slot.of) == (GPU, 0, 1)
    assert directory.take(GPU, 0, 1, "b") is None
    assert SlotDirectory(directory.path).take(GPU, 0, 1, "b") is None
    slot.release()
    assert directory.take(GPU, 0, 1, "b") is not None


def test_a_slot_that_was_released_twice_leaves_others_alone(directory: SlotDirectory) -> None:
    """The numbers of its files may be another's by then."""
    first = directory.take(GPU, 0, 1, "a")
    assert first is not None
    first.release()
    second = directory.take(GPU, 0, 1, "b")
    first.release()
    assert second is not None
    assert directory.take(GPU, 0, 1, "c") is None


def test_a_gpu_has_as_many_slots_as_it_is_shared_by(directory: SlotDirectory) -> None:
    held = [directory.take(GPU, number, 3, "x") for number in range(3)]
    assert all(held)
    assert [directory.take(GPU, number, 3, "y") for number in range(3)] == [None] * 3
    assert held[1] is not None
    held[1].release()
    assert directory.take(GPU, 0, 3, "y") is None
    assert directory.take(GPU, 1, 3, "y") is not None


def test_gpus_do_not_know_of_each_other(directory: SlotDirectory) -> None:
    assert directory.take(GPU, 0, 1, "a") is not None
    assert directory.take(OTHER, 0, 2, "a") is not None
    assert directory.wish_alone(OTHER) is not None
    assert not directory.is_wished_alone(GPU)


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("second", [1, 2, 3])
@pytest.mark.parametrize("number", [0, 1])
def test_those_who_share_a_gpu_otherwise_are_never_on_it_together(
    directory: SlotDirectory, first: int, second: int, number: int
) -> None:
    """Whatever the number of the slot: one of two halves is not beside one of three thirds."""
    here = directory.take(GPU, 0, first, "a")
    assert here is not None
    beside = directory.take(GPU, number, second, "b") if number < second else None
    assert (beside is not None) == (first == second > number == 1)
    for slot in (here, beside):
        if slot is not None:
            slot.release()
    assert directory.take(GPU, second - 1, second, "b") is not None, "and it is shared anew, once all have left"


def test_who_was_refused_leaves_nothing_behind(directory: SlotDirectory) -> None:
    before = len(os.listdir("/proc/self/fd"))
    held = directory.take(GPU, 0, 2, "a")
    assert held is not None
    for number, of in ((0, 2), (0, 1), (0, 3)):
        assert directory.take(GPU, number, of, "b") is None
    held.release()
    assert len(os.listdir("/proc/self/fd")) == before
    assert directory.take(GPU, 0, 1, "b") is not None


@pytest.mark.parametrize("other", [1, 2, 3])
def test_another_way_to_share_may_come_in_the_moment_between_two_locks(
    directory: SlotDirectory, monkeypatch: pytest.MonkeyPatch, other: int
) -> None:
    """The kernel does not trade an exclusive lock for a shared one in one step."""
    lock = slots_module._lock
    between: list[Slot | None] = []

    def with_a_gap(file: int, kind: int) -> bool:
        name = Path(os.readlink(f"/proc/self/fd/{file}")).name
        if kind == fcntl.LOCK_SH and name.endswith(".shared") and not between:
            between.append(None)
            fcntl.flock(file, fcntl.LOCK_UN)
            between[0] = SlotDirectory(directory.path).take(GPU, 0, other, "b")
        return lock(file, kind)

    monkeypatch.setattr(slots_module, "_lock", with_a_gap)
    first = directory.take(GPU, 1, 2, "a")
    assert between[0] is not None
    assert (first is not None) == (other == 2)


# --- alone


class TestWhoNeedsAGpuAlone:
    def test_nobody_new_comes_meanwhile_and_all_is_as_before_afterwards(self, directory: SlotDirectory) -> None:
        others = SlotDirectory(directory.path)
        held = [others.take(GPU, number, 3, "x") for number in range(2)]
        assert not others.is_wished_alone(GPU)
        wish = directory.wish_alone(GPU)
        assert wish is not None
        assert others.is_wished_alone(GPU)
        assert directory.wish_alone(GPU) is None, "one at a time"
        assert others.take(GPU, 2, 3, "new") is None, "though it is free"
        for slot in held:
            assert directory.take_alone(wish, "needs it") is None
            assert slot is not None
            slot.release()
        alone = directory.take_alone(wish, "needs it")
        assert alone is not None
        assert (alone.gpu, alone.number, alone.of) == (GPU, 0, 1)
        wish.end()
        assert not others.is_wished_alone(GPU)
        for number, of in ((0, 1), (0, 3), (2, 3)):
            assert others.take(GPU, number, of, "x") is None
        second = others.wish_alone(GPU)
        assert second is not None, "the next one may wish already"
        assert others.take_alone(second, "the next one") is None
        second.end()
        alone.release()
        assert all(others.take(GPU, number, 3, "x") for number in range(3))

    def test_a_wish_that_is_given_up_leaves_no_trace(self, directory: SlotDirectory) -> None:
        wish = directory.wish_alone(GPU)
        assert wish is not None
        wish.end()
        assert not directory.is_wished_alone(GPU)
        assert directory.take(GPU, 1, 2, "x") is not None

    def test_a_wish_dies_with_who_had_it(self, directory: SlotDirectory) -> None:
        code = """
import sys
from pathlib import Path
from cluster.slots import SlotDirectory
wish = SlotDirectory(Path(sys.argv[1])).wish_alone(sys.argv[2])
print(wish is not None, flush=True)
sys.stdin.read()
"""
        with process(code, directory.path, GPU) as child:
            assert heard(child) == "True"
            assert directory.is_wished_alone(GPU)
            assert directory.take(GPU, 0, 2, "x") is None
            child.send_signal(signal.SIGKILL)
            child.wait()
            assert not directory.is_wished_alone(GPU)
            assert directory.take(GPU, 0, 2, "x") is not None


# --- who holds it, in words


def test_a_holder_is_told_in_words(directory: SlotDirectory) -> None:
    assert directory.holder(GPU, 0) is None
    slot = directory.take(GPU, 0, 2, "worker-7")
    assert slot is not None
    assert directory.holder(GPU, 0) == f"worker-7 (process {os.getpid()} on {socket.gethostname()})"
    assert directory.holder(GPU, 1) is None
    slot.release()
    assert directory.holder(GPU, 0) is None
    assert directory.take(GPU, 0, 2, "worker-8") is not None, "who looks holds nothing"


def test_who_has_a_gpu_alone_is_told_too(directory: SlotDirectory) -> None:
    wish = directory.wish_alone(GPU)
    assert wish is not None
    assert directory.take_alone(wish, "worker-9") is not None
    assert str(directory.holder(GPU, 0)).startswith("worker-9 (process")


@pytest.mark.parametrize("name", ["w" * 700, "w" * 5000, "Zoë \U0001f431" * 60, 'a "quoted"\nname\\'])
def test_a_strange_name_does_not_hide_the_next_one(directory: SlotDirectory, name: str) -> None:
    first = directory.take(GPU, 0, 1, name)
    assert first is not None
    assert directory.holder(GPU, 0) is not None
    first.release()
    assert directory.take(GPU, 0, 1, "worker-8") is not None
    assert str(directory.holder(GPU, 0)).startswith("worker-8 (process")


@pytest.mark.parametrize("text", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b"null"])
def test_a_file_with_nonsense_in_it_is_held_all_the_same(directory: SlotDirectory, text: bytes) -> None:
    slot = directory.take(GPU, 0, 1, "worker-7")
    (directory.path / f"{GPU}.0").write_bytes(text)
    assert directory.holder(GPU, 0) == "somebody (process ? on ?)"
    assert slot is not None
    slot.release()
    (directory.path / f"{GPU}.shared").write_bytes(text)
    assert directory.take(GPU, 1, 2, "worker-8") is not None


# --- processes


def test_a_slot_is_free_when_its_holder_is_killed(directory: SlotDirectory) -> None:
    with process(HOLDER, directory.path, GPU, 0, 1) as child:
        assert heard(child) == "holds it"
        assert directory.take(GPU, 0, 1, "next") is None
        assert directory.holder(GPU, 0) == f"the child (process {child.pid} on {socket.gethostname()})"
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert directory.holder(GPU, 0) is None
        assert directory.take(GPU, 0, 1, "next") is not None


def test_a_slot_is_free_when_its_holder_is_killed_among_others(directory: SlotDirectory) -> None:
    with process(HOLDER, directory.path, GPU, 0, 2) as first:
        assert heard(first) == "holds it"
        assert directory.take(GPU, 1, 2, "beside") is not None
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert directory.take(GPU, 0, 1, "alone") is None
        assert directory.take(GPU, 0, 2, "next") is not None


WORKER_WITH_TRAINER = """
import signal, subprocess, sys
from pathlib import Path
from cluster.slots import SlotDirectory
slot = SlotDirectory(Path(sys.argv[1])).take(sys.argv[2], 0, 2, "worker")
subprocess.Popen(
    [sys.executable, "-c", "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"], pass_fds=slot.files
)
signal.pause()
"""


def test_a_slot_is_held_as_long_as_a_child_that_inherited_it_lives(directory: SlotDirectory) -> None:
    """The worker is killed, and its trainer is on the GPU still."""
    with process(WORKER_WITH_TRAINER, directory.path, GPU) as worker:
        trainer = os.pidfd_open(int(heard(worker)))
        try:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            assert directory.take(GPU, 0, 2, "next") is None
            assert directory.take(GPU, 0, 1, "next") is None, "nor is the GPU free to be shared otherwise"
            assert directory.take(GPU, 1, 2, "next") is not None
            assert worker.stdin is not None
            worker.stdin.close()  # the trainer's input too
            assert select.select([trainer], [], [], SECONDS)[0], "the trainer has ended"
            assert directory.take(GPU, 0, 2, "next") is not None
        finally:
            os.close(trainer)


def test_a_child_that_inherits_nothing_holds_nothing(directory: SlotDirectory) -> None:
    slot = directory.take(GPU, 0, 1, "a")
    wish = directory.wish_alone(OTHER)
    with process("import sys; print('here', flush=True); sys.stdin.read()") as child:
        heard(child)
        assert slot is not None
        assert wish is not None
        slot.release()
        wish.end()
        assert directory.take(GPU, 0, 1, "b") is not None
        assert not directory.is_wished_alone(OTHER)


STRESS = """
import fcntl, os, random, signal, sys, time
from pathlib import Path
from cluster.slots import SlotDirectory

path, seed, rounds, deadly = sys.argv[1], *map(int, sys.argv[2:])
# Locks of another kind, on another file, where a GPU is six bytes: whoever holds a share of it that another holds too
# finds the other there. Opened first, for a process that is killed closes its files in this order, and must be gone
# from here when its slot is free.
witness = os.open(path + "/witness", os.O_RDWR | os.O_CREAT)
slots = SlotDirectory(Path(path + "/slots"))
rng = random.Random(seed)
held = {1: 0, 2: 0, 3: 0, "alone": 0}
end = time.monotonic() + 30

def hold(slot, gpu, kind):
    count = 6 // slot.of
    low = 6 * gpu + slot.number * count
    try:
        fcntl.lockf(witness, fcntl.LOCK_EX | fcntl.LOCK_NB, count, low)
    except OSError:
        print(f"TWO at once: {kind} {slot}", flush=True)
        sys.exit(3)
    held[kind] += 1
    for _ in range(rng.randrange(30)):
        os.sched_yield()
    if deadly and rng.random() < 0.05:
        os.kill(os.getpid(), signal.SIGKILL)
    fcntl.lockf(witness, fcntl.LOCK_UN, count, low)
    slot.release()

print("ready", flush=True)
sys.stdin.readline()
while sum(held.values()) < rounds and time.monotonic() < end:
    gpu, of = rng.randrange(2), rng.choice([1, 2, 2, 3, 3])
    name = f"GPU-{gpu}"
    if rng.random() < 0.05 and (wish := slots.wish_alone(name)) is not None:
        while (slot := slots.take_alone(wish, str(seed))) is None and time.monotonic() < end:
            os.sched_yield()
        if slot is None:
            break
        if rng.random() < 0.5:
            wish.end()
            hold(slot, gpu, "alone")
        else:
            hold(slot, gpu, "alone")
            wish.end()
    elif (slot := slots.take(name, rng.randrange(of), of, str(seed))) is not None:
        hold(slot, gpu, of)
    else:
        os.sched_yield()
print(*held.values(), flush=True)
"""
ROUNDS = 400


def test_no_share_of_a_gpu_is_held_twice_whoever_is_killed(tmp_path: Path) -> None:
    """Processes take and release slots of two GPUs at random, shared now so, now otherwise; some die holding one."""
    seeds = iter(random.Random(1).sample(range(10**6), 100))
    with contextlib.ExitStack() as stack:

        def start(deadly: bool) -> subprocess.Popen[str]:
            return stack.enter_context(process(STRESS, tmp_path, next(seeds), ROUNDS, int(deadly)))

        steady, deadly = [start(False) for _ in range(3)], [start(True) for _ in range(5)]
        for child in [*steady, *deadly]:
            assert heard(child) == "ready"
        for child in [*steady, *deadly]:
            assert child.stdin is not None
            child.stdin.write("go\n")
        for child in deadly:
            assert child.wait(60) == -signal.SIGKILL, child.stdout.read() if child.stdout else ""
        total = [0] * 4
        for child in steady:
            line = heard(child)
            assert line[0].isdigit(), line
            total = [a + int(b) for a, b in zip(total, line.split(), strict=True)]
            assert child.wait(60) == 0
    assert sum(total) >= 3 * ROUNDS, "none was stuck"
    assert min(total) > 5, "each kind was held: one of one, of two, of three, alone"
    after = SlotDirectory(tmp_path / "slots")
    for gpu in ("GPU-0", "GPU-1"):
        assert all(after.take(gpu, number, 2, "after") for number in range(2)), "nothing is held by the dead"


# --- the directory


def modes(path: Path) -> dict[str, int]:
    return {x.name: stat.S_IMODE(x.stat().st_mode) for x in path.iterdir()}


def test_everybody_may_use_what_one_user_has_made(tmp_path: Path) -> None:
    """Whatever that user's umask says."""
    before = os.umask(0o077)
    try:
        slots = SlotDirectory(tmp_path / "deep" / "slots")
        assert slots.take(GPU, 1, 2, "a") is not None
        assert slots.wish_alone(GPU) is not None
    finally:
        os.umask(before)
    assert stat.S_IMODE(slots.path.stat().st_mode) == 0o1777
    assert len(modes(slots.path)) >= 4
    assert set(modes(slots.path).values()) == {0o666}


def test_a_directory_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    SlotDirectory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o2770


AS_NOBODY = """
import os, sys
from pathlib import Path
from cluster.errors import DeviceError
from cluster.slots import SlotDirectory
gpu, nobody = sys.argv[1], int(sys.argv[2])
os.setgroups([])
os.setgid(nobody)
os.setuid(nobody)
try:
    slots = SlotDirectory(Path("slots"))
    print(slots.holder(gpu, 0), flush=True)
    slot = slots.take(gpu, 1, 2, "nobody")
    print(slot is not None and slots.take(gpu, 0, 2, "nobody") is None, flush=True)
except DeviceError as error:
    print(error, flush=True)
sys.stdin.read()
"""


@as_root
def test_two_users_share_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    directory = SlotDirectory(tmp_path / "slots")
    slot = directory.take(GPU, 0, 2, "root's")
    assert slot is not None
    root = str(Path(slots_module.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", root)
    with process(AS_NOBODY, GPU, NOBODY) as child:
        assert heard(child).startswith("root's (process")
        assert heard(child) == "True"
        assert str(directory.holder(GPU, 1)).startswith("nobody (process")
        assert directory.take(GPU, 1, 2, "root's") is None
        assert (directory.path / f"{GPU}.1").stat().st_uid == NOBODY
        child.kill()
        child.wait()
        assert directory.take(GPU, 1, 2, "root's") is not None, "a file of another user is no hindrance"


@as_root
def test_a_directory_of_another_user_that_may_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "slots").mkdir(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(slots_module.__file__).parents[1]))
    with process(AS_NOBODY, GPU, NOBODY) as child:
        text = heard(child)
    assert str(Path("slots")) in text
    assert f"cannot be used by user {NOBODY}: Permission denied" in text
    assert "--slot-dir" in text


@as_user
def test_a_directory_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(DeviceError, match=r"cannot be used by user \d+: Permission denied.*--slot-dir"):
        SlotDirectory(tmp_path)


def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "slots").write_text("")
    for path in (tmp_path / "slots", tmp_path / "slots" / "below"):
        with pytest.raises(DeviceError, match=r"cannot be used by user \d+: Not a directory.*--slot-dir"):
            SlotDirectory(path)


def replace_by(kind: str, place: Path, elsewhere: Path) -> None:
    place.unlink(missing_ok=True)
    if kind == "link":
        elsewhere.write_text("precious")
        place.symlink_to(elsewhere)
    elif kind == "dangling link":
        place.symlink_to(elsewhere / "gone")
    elif kind == "directory":
        place.mkdir()
    else:
        os.mkfifo(place)


@pytest.mark.parametrize("name", ["probe", f"{GPU}.shared", f"{GPU}.0", f"{GPU}.wish"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "pipe"])
def test_what_stands_in_the_place_of_a_file_is_told_and_not_followed(
    directory: SlotDirectory, tmp_path: Path, name: str, kind: str
) -> None:
    """In a directory that everybody may write to, a link may lead to a file of the user who follows it."""
    replace_by(kind, directory.path / name, tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match=r"--slot-dir") as caught:
        SlotDirectory(directory.path).take(GPU, 0, 1, "a")
    assert str(directory.path) in str(caught.value)
    if kind == "link":
        assert (tmp_path / "elsewhere").read_text() == "precious"
    if kind == "dangling link":
        assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_was_removed_is_told(directory: SlotDirectory) -> None:
    for path in directory.path.iterdir():
        path.unlink()
    directory.path.rmdir()
    with pytest.raises(DeviceError, match="--slot-dir"):
        directory.take(GPU, 0, 1, "a")


def test_a_full_disk_takes_no_slot_away(directory: SlotDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written about a holder is for the eye."""

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    held = directory.take(GPU, 0, 2, "a")
    monkeypatch.setattr(os, "pwrite", full)
    assert held is not None
    assert directory.take(GPU, 1, 2, "b") is not None
    assert directory.take(OTHER, 0, 1, "c") is not None


@pytest.mark.parametrize("gpu", ["MIG-GPU-8932f937/1/0", "MIG-GPU-8932f937/1/1", "../../etc/passwd", "GPU 0"])
def test_any_id_is_a_file_of_the_directory(directory: SlotDirectory, gpu: str) -> None:
    slot = directory.take(gpu, 0, 2, "a")
    assert slot is not None
    assert directory.take(gpu, 0, 2, "b") is None
    assert directory.holder(gpu, 0) is not None
    assert all(path.is_file() for path in directory.path.iterdir())
    assert len(list(directory.path.iterdir())) >= 3


def test_instances_of_one_gpu_have_slots_of_their_own(directory: SlotDirectory) -> None:
    assert directory.take("MIG-GPU-8932f937/1/0", 0, 1, "a") is not None
    assert directory.take("MIG-GPU-8932f937/2/0", 0, 1, "a") is not None


# --- file systems


def table(tmp_path: Path, *mounts: tuple[str | Path, str]) -> Path:
    """The kernel's table of mounts with these, in this order."""
    path = tmp_path / "mountinfo"
    lines = [
        f"{number} 1 8:{number} / {point} rw,relatime shared:{number} - {kind} /dev/x rw"
        for number, (point, kind) in enumerate(mounts)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.sshfs", "fuse.ceph-fuse", "lustre", "fuse.glusterfs", "9p"]
)
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DeviceError, match=rf"network file system \({kind}\).*--slot-dir"):
        SlotDirectory(tmp_path / "slots", table(tmp_path, ("/", "ext4"), (tmp_path, kind)))


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay", "xfs", "btrfs", "zfs", "fuse.lxcfs", "nfsd"])
def test_a_file_system_of_the_host_is_taken(tmp_path: Path, kind: str) -> None:
    mounts = table(tmp_path, ("/", "nfs4"), (tmp_path, kind), (tmp_path / "elsewhere", "nfs4"))
    slots = SlotDirectory(tmp_path / "slots", mounts)
    assert slots.file_system == kind
    assert slots.take(GPU, 0, 1, "a") is not None


def test_the_innermost_and_latest_mount_counts(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    assert file_system(inner, table(tmp_path, ("/", "ext4"), (inner, "tmpfs"), (tmp_path / "a", "nfs4"))) == "tmpfs"
    assert file_system(inner, table(tmp_path, ("/", "ext4"), (inner, "tmpfs"), (inner, "nfs4"))) == "nfs4"
    assert file_system(inner / "c", table(tmp_path, ("/", "ext4"), (inner, "nfs4"), ("/", "overlay"))) == "nfs4"
    assert file_system(tmp_path / "ab", table(tmp_path, ("/", "ext4"), (tmp_path / "a", "nfs4"))) == "ext4"


def test_a_mount_point_with_strange_letters(tmp_path: Path) -> None:
    place = tmp_path / "my slots\tand \\ more #1"
    escaped = str(place)
    for letter in "\\ \t#":
        escaped = escaped.replace(letter, f"\\{ord(letter):03o}")
    assert "\\040" in escaped
    assert file_system(place / "deep", table(tmp_path, ("/", "ext4"), (escaped, "nfs4"))) == "nfs4"


def test_a_link_is_where_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert file_system(tmp_path / "near", table(tmp_path, ("/", "ext4"), (tmp_path / "far", "nfs4"))) == "nfs4"


def test_a_mount_point_that_is_no_text_is_no_error(tmp_path: Path) -> None:
    mounts = table(tmp_path, ("/", "ext4"), (tmp_path, "nfs4"))
    mounts.write_bytes(mounts.read_bytes() + b"9 1 8:9 / /media/b\xe4r rw - vfat /dev/y rw\n")
    assert file_system(tmp_path, mounts) == "nfs4"


@pytest.mark.parametrize("text", ["", "nonsense\n", "1 2 3 - ext4\n", "36 35 98:0 / / rw - \n", "36 35 98:0 / / rw -"])
def test_a_table_that_says_nothing_is_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "mountinfo").write_text(text)
    assert file_system(tmp_path, tmp_path / "mountinfo") is None
    assert SlotDirectory(tmp_path / "slots", tmp_path / "mountinfo").file_system is None
    assert file_system(tmp_path, tmp_path / "gone") is None


def test_this_host_says_what_it_is(tmp_path: Path) -> None:
    assert file_system(Path("/proc")) == "proc"
    assert file_system(tmp_path)
