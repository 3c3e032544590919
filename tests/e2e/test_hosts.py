"""Workers that do not see the chief's disk, over TLS: what the chief needs of a trial reaches it, whatever breaks."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.launcher import PROGRAMS, Running, children, cluster, events, trials
from tests.e2e.line import Line

PROGRAM = [str(PROGRAMS / "promoted.py")]
PROJECT = Path("results") / "promoted"


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def saved(*outputs: str) -> dict[str, str]:
    """The hash of what each trial's last attempt has saved, as it said itself."""
    return dict(re.findall(r"saved=(\w+) bytes=\d+ sha=(\w+)", "\n".join(outputs)))


def bests(*outputs: str) -> set[str]:
    """What each process said of the best model."""
    return set(re.findall(r"best=.*", "\n".join(outputs)))


class Box:
    """A chief in a directory of its own, and workers in others, each on a line of its own."""

    def __init__(self, directory: Path, start: Callable[..., Running], port: int, *options: str) -> None:
        self.directory = directory
        self._start = start
        self.tls = directory / "lab"
        made = cluster(directory, "certs", str(self.tls))
        assert made.returncode == 0, made.stdout
        self.address = f"127.0.0.1:{port}"
        self.options = options
        self.chief = self.start_chief()
        self.project = directory / "chief" / PROJECT

    def start_chief(self) -> Running:
        (self.directory / "chief").mkdir(exist_ok=True)
        tls = ["--tls-cert", str(self.tls / "chief.pem"), "--tls-key", str(self.tls / "chief.key")]
        words = ["--listen", self.address, *tls, "--no-plots", "--no-tensorboard", *self.options]
        return self._start("chief", *words, *PROGRAM, *ARGUMENTS, cwd=self.directory / "chief")

    def worker(
        self, name: str, address: str | None = None, *, before: Sequence[str] = (), apart: Sequence[str] = ("--apart",)
    ) -> Running:
        place = self.directory / name
        place.mkdir(exist_ok=True)
        words = [*apart, "--scratch", str(place / "scratch"), "--tls-ca", str(self.tls / "ca.pem"), "--name", name]
        words += ["--chief", address or self.address]
        return self._start("worker", *words, *PROGRAM, *ARGUMENTS, cwd=place, before=before)

    def await_piece(self, least: int = 10_000) -> tuple[str, str, int]:
        """Waits until so much of a file that has yet to come whole is there; returns trial, attempt and how much."""
        while True:
            for part in (self.project / "uploads").glob("*/*.part"):
                try:
                    size = part.stat().st_size
                    if size >= least:
                        trial, _, attempt = part.parent.name.rpartition(".")
                        return trial, attempt, size
                except FileNotFoundError:
                    pass
            assert self.chief.process.poll() is None, self.chief.output
            time.sleep(0.002)

    def check(self, *outputs: str) -> None:
        """Every trial has completed, what it saved is on the chief, bit for bit, and all say the same of the best."""
        found = trials(self.project)
        assert {trial["status"] for trial in found.values()} == {"COMPLETED"}
        said = saved(*outputs)
        assert said == {name: sha(self.project / f"trial_{name}" / "checkpoint.weights.h5") for name in found}
        for parent, digest in re.findall(r"from=(\w+) sha=(\w+)", "\n".join(outputs)):
            assert said[parent] == digest
        [best] = bests(self.chief.output, *outputs)
        assert best.endswith("same=True")
        assert not list(self.project.glob("uploads*"))
        assert not list(self.project.glob("trial_*/resume"))


ARGUMENTS = ["--epochs", "4", "--units", "400"]


@pytest.fixture
def make(start: Callable[..., Running], tmp_path: Path) -> Callable[..., Box]:
    return lambda port, *options: Box(tmp_path, start, port, *options)


def test_hyperband_goes_on_though_workers_are_killed_in_mid_upload(make: Callable[..., Box]) -> None:
    box = make(18901)
    with Line(box.address) as line:
        line.rate = 1e6
        first = box.worker("first", line.address)
        trial, attempt, _ = box.await_piece()
        os.kill(first.process.pid, signal.SIGKILL)  # its trainer goes with it
        first.process.wait()
        second, third = box.worker("second"), box.worker("third")
        assert (box.chief.end(), second.end(), third.end()) == (0, 0, 0), box.chief.output + second.output
    box.check(first.output, second.output, third.output)
    [lost] = events(box.project, "lost")
    assert (lost["trial"], str(lost["attempt"]), lost["worker"]) == (trial, attempt, "first")
    assert len(re.findall(r"from=", second.output + third.output)) >= 4, "trials began from others' checkpoints"


def test_a_trial_goes_on_on_another_host_where_it_was(make: Callable[..., Box]) -> None:
    box = make(18902)
    first = box.worker("first")
    first.read_until("saved=")
    box.chief.read_until(r"trial 0001 → first")
    state = box.project / "trial_0001" / "resume" / "attempt-1" / "state.json"
    while not state.exists():
        time.sleep(0.01)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = box.worker("second")
    assert (box.chief.end(), second.end()) == (0, 0), box.chief.output + second.output
    box.check(first.output, second.output)
    assert [event["trial"] for event in events(box.project, "lost")] == ["0001"]
    assert "cluster: the trial goes on at epoch 2" in second.output


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[[Path], list[str]]:
    """Words before a command that let it see another host: of another id, and with an empty directory in some place."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    (tmp_path / "boot_id").write_text("00000000-0000-4000-8000-000000000002\n")

    def words(hidden: Path) -> list[str]:
        return ["unshare", "--mount", sys.executable, "-c", ELSEWHERE, str(tmp_path / "boot_id"), str(hidden)]

    return words


ELSEWHERE = """
import os, subprocess, sys
_, boot_id, hidden, *command = sys.argv
subprocess.run(["mount", "--bind", boot_id, "/proc/sys/kernel/random/boot_id"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "none", hidden], check=True)
os.execv(command[0], command)
"""


def test_an_upload_goes_on_where_its_line_was_cut_and_its_chief_killed(
    make: Callable[..., Box], elsewhere: Callable[[Path], list[str]]
) -> None:
    box = make(18903)
    with Line(box.address) as line:
        line.rate = 0.5e6
        worker = box.worker("w", line.address, before=elsewhere(box.directory / "chief"))
        first = box.await_piece()
        line.cut()
        second = box.await_piece(first[2] + 1)
        assert second[:2] == first[:2], "it goes on, and does not begin again"
        os.kill(box.chief.process.pid, signal.SIGKILL)
        box.chief.process.wait()
        before = box.chief.output
        line.rate = None
        box.chief = box.start_chief()
        assert (box.chief.end(), worker.end()) == (0, 0), box.chief.output + worker.output
    box.check(worker.output)
    assert events(box.project, "lost") == []
    assert "Traceback" not in before + box.chief.output + worker.output


def test_a_trainer_that_is_killed_in_mid_upload_is_replaced(make: Callable[..., Box]) -> None:
    box = make(18907)
    with Line(box.address) as line:
        line.rate = 1e6
        worker = box.worker("w", line.address)
        trial, _, _ = box.await_piece()
        [trainer] = children(worker.process.pid)
        os.kill(trainer, signal.SIGKILL)
        line.rate = None
        assert (box.chief.end(), worker.end()) == (0, 0), box.chief.output + worker.output
    box.check(worker.output)
    assert [event["trial"] for event in events(box.project, "lost")] == [trial]


def test_a_trial_that_only_sends_has_not_stalled(make: Callable[..., Box]) -> None:
    """What its epochs save takes far longer to send than it may be silent."""
    box = make(18908, "--stall-seconds", "2")
    with Line(box.address) as line:
        line.rate = 1.5e6
        worker = box.worker("w", line.address)
        box.chief.read_until(r"trial 0001 val_loss")
        line.rate = None
        assert (box.chief.end(), worker.end()) == (0, 0), box.chief.output + worker.output
    box.check(worker.output)
    assert events(box.project, "lost") == []


def test_what_trials_print_is_in_the_chiefs_logs(make: Callable[..., Box]) -> None:
    box = make(18904)
    worker = box.worker("w")
    assert (box.chief.end(), worker.end()) == (0, 0), box.chief.output + worker.output
    for name, digest in saved(worker.output).items():
        text = (box.project / "logs" / f"{name}.log").read_text()
        assert text.startswith("=== attempt 1, w, ")
        assert re.search(rf"saved={name} bytes=\d+ sha={digest}\n", text)
        assert text.endswith("=== completed ===\n")
    assert not list((box.directory / "w" / "scratch").iterdir()), "nothing stays on the worker's host"


def test_a_chief_that_takes_no_files_says_so_and_is_whole(make: Callable[..., Box]) -> None:
    box = make(18905, "--upload-gb", "0.001", "--max-failures", "2")
    worker = box.worker("w")
    assert (box.chief.end(), worker.end()) == (3, 3), box.chief.output + worker.output
    assert "the chief takes 0.001 GB of a trial (--upload-gb)" in box.chief.output
    assert "Traceback" not in worker.output


def test_a_directory_that_is_only_called_the_same_is_not_taken_for_the_chiefs(
    make: Callable[..., Box], elsewhere: Callable[[Path], list[str]]
) -> None:
    """As on two hosts with the same paths: the worker's is another disk, mounted over the chief's in its own view."""
    box = make(18906)
    while not (box.project / "oracle.json").exists():
        assert box.chief.process.poll() is None
        time.sleep(0.05)
    worker = box.worker("w", before=elsewhere(box.directory / "chief"), apart=())
    assert (box.chief.end(), worker.end()) == (0, 0), box.chief.output + worker.output
    assert f"the chief's {box.project} is not here: files of trials go to the chief" in worker.output
    box.check(worker.output)
