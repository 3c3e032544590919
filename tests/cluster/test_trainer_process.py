"""A child process, its output and why it ended."""

from __future__ import annotations

import queue
import sys
from pathlib import Path

import pytest

from cluster import roles, trainer_process
from cluster.trainer_process import TrainerProcess, oom_kills

V2 = "low 0\nhigh 0\nmax 7\noom 2\noom_kill {}\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


@pytest.mark.parametrize(
    ("cgroup", "place", "text"),
    [
        ("0::/job/worker\n", "job/worker/memory.events", V2),
        ("0::/\n", "memory.events", V2),
        ("0::/not/seen/in/a/container\n", "memory.events", V2),
        ("4:cpu,cpuacct:/x\n3:memory:/job\n0::/unified\n", "memory/job/memory.oom_control", V1),
        ("3:memory:/docker/abc\n", "memory/memory.oom_control", V1),
    ],
)
def test_the_kernels_count_is_found(tmp_path: Path, cgroup: str, place: str, text: str) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    path = tmp_path / "fs" / place
    path.parent.mkdir(parents=True)
    path.write_text(text.format(3))
    assert oom_kills(tmp_path / "cgroup", tmp_path / "fs") == 3


@pytest.mark.parametrize("cgroup", [None, "", "nonsense\n", "0::/gone\n"])
def test_no_count_is_no_error(tmp_path: Path, cgroup: str | None) -> None:
    if cgroup is not None:
        (tmp_path / "cgroup").write_text(cgroup)
    assert oom_kills(tmp_path / "cgroup", tmp_path) == 0


def started(monkeypatch: pytest.MonkeyPatch, code: str, *, hide: bool = False) -> tuple[TrainerProcess, int]:
    """Runs Python code in place of a trainer; returns the process and how it ended."""
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()

    class Leash:
        def start(self, command: list[str], files: tuple[int, ...], **options: int) -> object:
            import subprocess

            return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload]

        def let_go(self) -> None:
            pass

    monkeypatch.setattr(trainer_process, "Leash", Leash)
    process = TrainerProcess([], ended.put, hide=hide)
    return process, ended.get(timeout=30)


def test_an_exit_code_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    process, code = started(monkeypatch, "print('hello'); raise SystemExit(17)")
    assert process.reason(code) == "ended with exit code 17"
    assert capfd.readouterr().out == "hello\n"


def test_a_signal_is_told_with_the_last_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, signal\nfor n in range(30): print('line', n, flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)"
    process, ended = started(monkeypatch, code)
    reason = process.reason(ended)
    assert reason.startswith("was killed by SIGSEGV; its last lines:\nline 20\n")
    assert reason.endswith("\nline 29")


def test_a_lack_of_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter([4, 5])
    monkeypatch.setattr(trainer_process, "oom_kills", lambda: next(kills))
    process, ended = started(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert process.reason(ended) == "was killed by the kernel: out of memory"


def test_tensorflows_notices_are_left_out(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    notices = ["WARNING: All log messages before absl::InitializeLog() is called", "I0000 00:00:17 port.cc:153] x"]
    started(monkeypatch, f"print(*{[*notices, 'x']}, sep='\\n')")
    assert capfd.readouterr().out == "x\n"


def test_the_memory_in_hand(tmp_path: Path) -> None:
    assert 0.005 < roles.resident_gb() < 50
    assert roles.resident_gb(tmp_path / "none") == 0.0


TRIAL = """
import os, signal, sys
from cluster.asides import Asides
aside = Asides({word!r})
print("before", flush=True)
aside.tell(log={log!r}, heading="=== attempt 1 ===")
print("\\x1eno aside")
print("in the trial")
print("cluster: of our own log")
print(" 1/2\\r 2/2")
sys.stdout.write("no end")
{end}
print("after", flush=True)
"""
ENDS = {
    "ended": "aside.tell(log=None, closing='=== completed ===')",
    "killed": "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)",
    "another": "aside.tell(log={log!r}, heading='=== attempt 2 ===')",
}


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("end", list(ENDS))
def test_the_output_of_trials_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], end: str, hide: bool
) -> None:
    log = tmp_path / "logs" / "0.log"
    monkeypatch.setattr("cluster.asides.new_word", lambda: "word")
    code = TRIAL.format(word="word", log=str(log), end=ENDS[end].format(log=str(log)))
    process, ended = started(monkeypatch, code, hide=hide)
    trial = ["\x1eno aside", "in the trial", "cluster: of our own log", " 1/2\r 2/2", "no end"]
    kept = ["no aside", *trial[1:3], " 2/2", "no end"]
    rest = {
        "ended": ["=== completed ==="],
        "killed": ["=== the trainer was killed by SIGKILL ==="],
        "another": ["=== attempt 2 ===", "after", "=== the trainer ended with exit code 0 ==="],
    }[end]
    assert log.read_text().splitlines() == ["=== attempt 1 ===", *kept, *rest]
    after = {"ended": ["after"], "killed": [], "another": [] if hide else ["after"]}[end]
    passed = ["before", *(trial[2:3] if hide else trial), *after]
    assert capfd.readouterr().out.split("\n") == [*passed, *([] if passed[-1] == "no end" else [""])]
    if end == "killed":
        assert process.reason(ended).endswith("\nno end")


def test_what_cannot_be_kept_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cluster.asides.new_word", lambda: "word")
    log = str(tmp_path / "no project" / "logs" / "0.log")
    started(monkeypatch, TRIAL.format(word="word", log=log, end=ENDS["ended"]), hide=True)
    assert "in the trial" in capfd.readouterr().out
