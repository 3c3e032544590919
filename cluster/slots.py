"""Slots on GPUs: who holds one is known by a lock of the kernel, which ends with its holder, however that ends.

Owns the files in the slot directory, one host's own. Each GPU has a file for how it is shared, locked by all who are on
it (exclusively by one who has it alone), a file for each slot, locked by its holder, and one for who waits to have the
GPU alone. Knows GPUs by their ids only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import DeviceError

EVERYBODY = 0o1777  # as /tmp: the users of a host share its GPUs
# Locks there are answered by a server, or by each host for itself: no promise about who is on this host's GPUs.
NETWORK = re.compile(
    r"nfs\d?|wekafs|panfs|cifs|smb\w*|ceph|lustre|glusterfs|gpfs|beegfs|afs|ocfs2|gfs2?|orangefs|pvfs2|9p|virtiofs|coda|ncpfs"
    r"|fuse\.(sshfs|dfuse|glusterfs|ceph\S*|s3fs|gcsfuse|rclone|juicefs|mfs|moosefs|davfs\S*|curlftpfs|goofys|blobfuse\S*)"
)


@dataclass
class Slot:
    """A slot that this process holds, until it is released or every process with its files has ended.

    Attributes:
        gpu: The GPU's id.
        number: Which of its slots, from 0.
        of: How many slots the GPU has.
        files: The descriptors of the locked files: a child that inherits them holds the slot too.
    """

    gpu: str
    number: int
    of: int
    files: tuple[int, ...]

    def release(self) -> None:
        """Closes the files; the slot is free once nobody else has them."""
        for file in self.files:
            os.close(file)
        self.files = ()


@dataclass
class Wish:
    """The wish to have a GPU alone: nobody new comes onto it, and those who are on it make room between trials."""

    gpu: str
    file: int

    def end(self) -> None:
        """The wish is fulfilled, or given up."""
        os.close(self.file)


class SlotDirectory:
    """The slot directory of this host.

    Args:
        path: The directory, made if it is not there. It must be on a file system of this host, and the same for all
            that share its GPUs: a volume, for containers.
        mounts: The kernel's table of mounts.

    Raises:
        DeviceError: it cannot be used.
    """

    def __init__(self, path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> None:
        self.path = path
        try:
            with contextlib.suppress(FileExistsError):
                path.mkdir(parents=True)
                path.chmod(EVERYBODY)
            self.file_system = file_system(path, mounts)
            if self.file_system is not None and NETWORK.fullmatch(self.file_system):
                raise DeviceError(
                    f"the slot directory {path} is on a network file system ({self.file_system}), where a lock says "
                    "nothing about one host. Give a directory of this host with --slot-dir"
                )
            # Who cleans /tmp of old files leaves a directory alone that is locked.
            self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _lock(self._directory, fcntl.LOCK_SH)
            os.close(self._open("probe"))
        except OSError as error:
            raise _unusable(f"the slot directory {path}", error) from error

    def take(self, gpu: str, number: int, of: int, holder: str) -> Slot | None:
        """Takes slot `number` of the GPU's `of`, without waiting.

        Returns:
            The slot; None where it is held, where the GPU is shared otherwise just now, or where somebody waits to have
            it alone.
        """
        with contextlib.ExitStack() as undo:
            if self.is_wished_alone(gpu):
                return None
            shared = self._enter(gpu, of, undo)
            if shared is None:
                return None
            own = self._open(f"{_name(gpu)}.{number}", undo)
            if not _lock(own, fcntl.LOCK_EX):
                return None
            _sign(own, holder)
            undo.pop_all()
            return Slot(gpu, number, of, (shared, own))

    def wish_alone(self, gpu: str) -> Wish | None:
        """Says that this process wants the GPU alone; None where another does already."""
        with contextlib.ExitStack() as undo:
            file = self._open(f"{_name(gpu)}.wish", undo)
            if not _lock(file, fcntl.LOCK_EX):
                return None
            undo.pop_all()
            return Wish(gpu, file)

    def take_alone(self, wish: Wish, holder: str) -> Slot | None:
        """Takes the whole GPU, for which this process has wished; None while others are on it."""
        with contextlib.ExitStack() as undo:
            shared = self._open(f"{_name(wish.gpu)}.shared", undo)
            if not _lock(shared, fcntl.LOCK_EX):
                return None
            with contextlib.suppress(OSError):
                _write(shared, {"slots": 1})
            own = self._open(f"{_name(wish.gpu)}.0", undo)
            if not _lock(own, fcntl.LOCK_EX):
                return None
            _sign(own, holder)
            undo.pop_all()
            return Slot(wish.gpu, 0, 1, (shared, own))

    def is_wished_alone(self, gpu: str) -> bool:
        """Whether somebody waits to have the GPU alone."""
        with contextlib.ExitStack() as close:
            return not _lock(self._open(f"{_name(gpu)}.wish", close), fcntl.LOCK_SH)

    def holder(self, gpu: str, number: int) -> str | None:
        """Who holds a slot, in words; None where it is free."""
        with contextlib.ExitStack() as close:
            file = self._open(f"{_name(gpu)}.{number}", close)
            if _lock(file, fcntl.LOCK_SH):
                return None
            facts = _read(file)
            return f"{facts.get('worker', 'somebody')} (process {facts.get('pid', '?')} on {facts.get('host', '?')})"

    def _enter(self, gpu: str, of: int, undo: contextlib.ExitStack) -> int | None:
        """Comes onto a GPU with `of` slots, together with those who share it in the same way."""
        shared = self._open(f"{_name(gpu)}.shared", undo)
        if _lock(shared, fcntl.LOCK_EX):
            try:
                _write(shared, {"slots": of})
            except OSError as error:
                if of > 1:  # others have to read it
                    raise _unusable(f"{self.path / _name(gpu)}.shared", error) from error
            if of == 1:
                return shared
        # The first one gives up its exclusive lock here, and for a moment has none: what is true is read after it.
        if not _lock(shared, fcntl.LOCK_SH) or of == 1:
            return None
        return shared if _read(shared).get("slots") == of else None

    def _open(self, name: str, close: contextlib.ExitStack | None = None) -> int:
        """Opens a file of this directory.

        Raises:
            DeviceError: it cannot be opened, or something else is in its place.
        """
        try:
            file = self._open_or_make(self.path / name)
        except OSError as error:
            raise _unusable(f"{self.path / name}", error) from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise DeviceError(f"{self.path / name} is no file. Give another directory with --slot-dir")
        if close is not None:
            close.callback(os.close, file)
        return file

    def _open_or_make(self, place: Path) -> int:
        """Opens a file, made by whichever user comes first."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            try:
                # Without O_CREAT at first: in a directory as open as /tmp the kernel refuses it for another's file.
                return os.open(place, flags)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    file = os.open(place, flags | os.O_CREAT | os.O_EXCL, 0o666)
                    os.fchmod(file, 0o666)
                    return file


def _unusable(what: str, error: OSError) -> DeviceError:
    return DeviceError(
        f"{what} cannot be used by user {os.getuid()}: {error.strerror}. Make it writable for all who share the GPUs, "
        "or give another with --slot-dir"
    )


def _name(gpu: str) -> str:
    return re.sub(r"[^\w.-]", "_", gpu)


def _lock(file: int, kind: int) -> bool:
    """Locks a file without waiting; returns whether it did."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return False
        raise
    return True


def _sign(file: int, holder: str) -> None:
    """Writes who holds a slot. It is for the eye: a full disk takes no slot away."""
    with contextlib.suppress(OSError):
        _write(file, {"worker": holder, "pid": os.getpid(), "host": socket.gethostname(), "since": time.time()})


def _write(file: int, facts: dict[str, object]) -> None:
    text = json.dumps(facts).encode().ljust(512)  # written over in place, mostly: that takes no room on the disk
    os.pwrite(file, text, 0)
    os.ftruncate(file, len(text))


def _read(file: int) -> dict[str, object]:
    try:
        facts = json.loads(os.pread(file, 4096, 0).decode())
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The kind of file system that a path is on, such as `ext4` or `nfs4`; None where the kernel does not say."""
    try:
        lines = mounts.read_text(errors="surrogateescape").split("\n")
    except OSError:
        return None
    place = path.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        before, dash, after = line.partition(" - ")
        words = before.split()
        if not dash or len(words) < 5 or not after:
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), words[4]))
        if place.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = (len(point.parts), after.split()[0])  # of two at one place, the later covers the earlier
    return best[1] if best else None
