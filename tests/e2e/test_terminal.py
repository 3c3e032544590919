"""The launcher on a real terminal: what is shown, what is hidden, Ctrl-C; and the logs of trials, wherever they ran."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.lines import plain
from tests.e2e.launcher import CLUSTER, ENVIRONMENT, PROGRAMS, Running, check_completed, children, cluster

SLEEP = str(PROGRAMS / "sleep_trials.py")
PRINTS = """
import os, sys, time
import keras_tuner
class Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial):
        print("said in trial", trial.trial_id)
        print("\\r 1/2", end="", flush=True)
        print("\\r 2/2")
        os.write(2, b"past Python\\n")
        if os.environ.get("DEADLY") == trial.trial_id and not os.path.exists("dead"):
            open("dead", "w").close()
            os.kill(os.getpid(), 9)
        if os.environ.get("FAILING") == trial.trial_id:
            raise ValueError("it fails")
        return trial.hyperparameters.Float("x", 0, 1)
oracle = keras_tuner.oracles.RandomSearchOracle(objective=keras_tuner.Objective("score", "min"), max_trials=3, seed=1)
print("before the search")
tuner = Tuner(oracle=oracle, directory="results", project_name="p")
tuner.search()
print("after the search")
tuner.results_summary(1)
"""
OF_A_TRIAL = ["said in trial {}", " 2/2", "past Python"]


class OnTerminal:
    """`cluster <words>` on a terminal of its own.

    Attributes:
        shown: All that was written to it.
    """

    def __init__(self, directory: Path, *words: str, **environment: str) -> None:
        self.shown = ""
        self._parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [*CLUSTER, *words],
            cwd=directory,
            env={**ENVIRONMENT, "TERM": "xterm-256color", **environment},
            stdin=child,
            stdout=child,
            stderr=child,
            preexec_fn=_own_terminal,
        )
        os.close(child)

    @property
    def text(self) -> str:
        """The same, without codes for the terminal."""
        return "\n".join(plain(line) for line in re.split(r"[\r\n]+", self.shown))

    def read_until(self, pattern: str) -> None:
        """Reads until the text matches; the test fails when the process ends before."""
        while not re.search(pattern, self.text):
            try:
                self.shown += os.read(self._parent, 100_000).decode(errors="replace")
            except OSError:
                raise AssertionError(f"nothing matches {pattern!r} in:\n{self.text}") from None

    def press(self, key: bytes) -> None:
        """Presses a key."""
        os.write(self._parent, key)

    def end(self) -> int:
        """Reads the rest and returns the exit code."""
        with contextlib.suppress(OSError):  # the last process on it has ended
            while True:
                self.shown += os.read(self._parent, 100_000).decode(errors="replace")
        return self.process.wait(timeout=60)

    def close(self) -> None:
        """Kills what still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._parent)


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal


@pytest.fixture
def on_terminal(tmp_path: Path) -> Iterator[Callable[..., OnTerminal]]:
    """Starts `cluster <words>` on a terminal, in the test's directory; what still runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        def start(*words: str, **environment: str) -> OnTerminal:
            running = OnTerminal(tmp_path, *words, **environment)
            stack.callback(running.close)
            return running

        yield start


def log_of(directory: Path, trial: str) -> list[str]:
    return (directory / "results" / "p" / "logs" / f"{trial}.log").read_text().splitlines()


def of_trial(trial: str) -> list[str]:
    return [line.format(trial) for line in OF_A_TRIAL]


# --- the display


def test_workers_are_shown(on_terminal: Callable[..., OnTerminal], tmp_path: Path) -> None:
    run = on_terminal("run", "--workers", "2", SLEEP, "--trials", "4", "--seconds", "2")
    run.read_until(r"sleep  running +━+ +\d of 4 trials +0:0\d elapsed")
    run.read_until(r"trial +worker +device +seconds")
    run.read_until(r"\d +worker-[12] +cpu +\d")
    run.read_until(r"best score=0\.\d+ \(trial \d\): x=")
    assert run.end() == 0, run.text
    assert re.search(r"sleep  ended +━+ +4 of 4 trials +in 0:\d\d\nbest score=\S+ \(trial \d\): x=\S+", run.text)
    assert run.text.count("best x ") == 3
    lines = run.text.splitlines()
    [last] = [n for n, line in enumerate(lines) if re.match("sleep  ended", line)]
    assert not any("running" in line for line in lines[last:]), "it is drawn no more when it is over"
    assert run.shown.count("\x1b[?25l") == run.shown.count("\x1b[?25h") == 1, "the cursor is back"
    check_completed(tmp_path / "results" / "sleep", 4)


@pytest.mark.parametrize("options", [[], ["--workers", "1"]], ids=["local", "workers"])
def test_what_a_trial_prints_is_in_its_log_and_not_on_the_terminal(
    on_terminal: Callable[..., OnTerminal], tmp_path: Path, options: list[str]
) -> None:
    (tmp_path / "program.py").write_text(PRINTS)
    run = on_terminal("run", *options, "program.py", FAILING="1")
    assert run.end() == 0, run.text
    assert "said in trial" not in run.text
    assert "past Python" not in run.text
    processes = 2 if options else 1
    for line in ("before the search", "after the search", "Results summary"):
        assert run.text.count(line) == processes
    assert run.text.count("  File ") == 3, "a failed trial's traceback is shown"
    assert "the last: trial 1: ValueError: it fails" in run.text
    assert "Running Trial" not in run.text
    for trial in "02":
        assert log_of(tmp_path, trial)[1:] == [*of_trial(trial), "=== completed ==="]
    assert log_of(tmp_path, "1")[1:4] == of_trial("1")
    assert log_of(tmp_path, "1")[-2:] == ["ValueError: it fails", "=== failed ==="]


@pytest.mark.parametrize("options", [[], ["--workers", "1"]], ids=["local", "workers"])
def test_verbose_shows_all(on_terminal: Callable[..., OnTerminal], tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "program.py").write_text(PRINTS)
    run = on_terminal("run", "--verbose", *options, "program.py")
    assert run.end() == 0, run.text
    for line in ("said in trial 2", "past Python", "Search: Running Trial #3", "Trial 3 Complete"):
        assert line in run.text
    assert ("p  ended" in run.text) == bool(options)
    assert "said in trial 2" in log_of(tmp_path, "2")


def test_an_own_chief_is_shown(on_terminal: Callable[..., OnTerminal], tmp_path: Path) -> None:
    program = [SLEEP, "--trials", "2", "--seconds", "1"]
    chief = on_terminal("chief", "--listen", "127.0.0.1:18790", *program)
    chief.read_until("the chief listens")
    worker = on_terminal("worker", "--chief", "127.0.0.1:18790", "--name", "here", *program)
    chief.read_until(r"0 +here +cpu +\d")
    assert worker.end() == 0, worker.text
    assert chief.end() == 0, chief.text
    assert "2 of 2 trials" in chief.text
    assert "of 2 trials" not in worker.text


@pytest.mark.ray
def test_a_run_on_ray_is_shown_and_keeps_logs(on_terminal: Callable[..., OnTerminal], tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PRINTS)
    run = on_terminal("run", "--ray", "program.py")
    assert run.end() == 0, run.text
    assert re.search(r"p  ended +━+ +3 of 3 trials", run.text)
    assert "said in trial" not in run.text
    for trial in "012":
        lines = log_of(tmp_path, trial)
        assert re.match(r"=== attempt 1, \w+, ray 1 cpu, 20", lines[0])
        assert lines[1:] == [f"said in trial {trial}", " 2/2", "=== completed ==="]


def test_nothing_is_shown_where_there_is_none(on_terminal: Callable[..., OnTerminal]) -> None:
    run = on_terminal("run", SLEEP, "--trials", "1", "--seconds", "0", TERM="dumb")
    assert run.end() == 0, run.text
    assert "\x1b" not in run.shown
    assert "1 of 1" not in run.text


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["local", "workers"])
def test_ctrl_c_ends_it_in_order(on_terminal: Callable[..., OnTerminal], tmp_path: Path, options: list[str]) -> None:
    words = ["run", *options, SLEEP, "--trials", "4", "--seconds", "1"]
    run = on_terminal(*words)
    run.read_until("trial 0 score=")
    run.read_until("[1-3] of 4 trials")
    run.press(b"\x03")
    assert run.end() == 130, run.text
    assert "run the same command again to go on" in run.text
    assert re.search(r"sleep  (stopped|interrupted) ", run.text), run.text
    assert run.shown.count("\x1b[?25h") == 1, "the cursor is back"
    done = cluster(tmp_path, *words)
    assert done.returncode == 0, done.stdout
    check_completed(tmp_path / "results" / "sleep", 4)


def test_a_killed_chief_is_shown_on(on_terminal: Callable[..., OnTerminal], tmp_path: Path) -> None:
    run = on_terminal("run", "--workers", "1", SLEEP, "--trials", "3", "--seconds", "2")
    run.read_until("trial 1 →")
    [chief] = [x for x in children(run.process.pid) if b"--listen" in Path(f"/proc/{x}/cmdline").read_bytes()]
    os.kill(chief, signal.SIGKILL)
    assert run.end() == 0, run.text
    assert len(re.findall(r"^sleep  ended", run.text, re.MULTILINE)) == 1
    assert "interrupted" not in run.text
    check_completed(tmp_path / "results" / "sleep", 3)


# --- the logs of trials, without a terminal


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["local", "workers"])
def test_without_a_terminal_output_is_passed_on_too(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "program.py").write_text(PRINTS)
    done = cluster(tmp_path, "run", *options, "program.py")
    assert done.returncode == 0, done.stdout
    assert "\x1b" not in done.stdout
    assert "\x1e" not in done.stdout
    for trial in "012":
        assert f"said in trial {trial}\n" in done.stdout
        lines = log_of(tmp_path, trial)
        assert re.match(r"=== attempt 1, (local|worker-[12], cpu), 20", lines[0])
        # What a library writes past Python, this process cannot read of itself.
        expected = [x for x in of_trial(trial) if options or x != "past Python"]
        assert lines[1:] == [*expected, "=== completed ==="]
    assert "Running Trial" not in done.stdout
    assert "Reloading Tuner" not in cluster(tmp_path, "run", *options, "program.py").stdout


def test_the_last_lines_of_a_killed_trainer_are_kept(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PRINTS)
    done = cluster(tmp_path, "run", "--workers", "1", "program.py", DEADLY="1")
    assert done.returncode == 0, done.stdout
    first, *lines = log_of(tmp_path, "1")
    again = lines[4]
    assert first.startswith("=== attempt 1, worker-1, cpu, 20")
    assert again.startswith("=== attempt 2, worker-1, cpu, 20")
    assert lines[:4] == [*of_trial("1"), "=== the trainer was killed by SIGKILL ==="]
    assert lines[5:] == [*of_trial("1"), "=== completed ==="]


def test_a_worker_of_its_own_keeps_logs_too(start: Callable[..., Running], tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PRINTS)
    chief = start("chief", "--listen", "127.0.0.1:18791", "program.py")
    chief.read_until("the chief listens")
    worker = start("worker", "--chief", "127.0.0.1:18791", "--name", "here", "program.py")
    assert worker.end() == 0, worker.output
    assert chief.end() == 0, chief.output
    assert "said in trial 2" in worker.output
    assert "\x1e" not in worker.output + chief.output
    assert log_of(tmp_path, "2")[1:] == [*of_trial("2"), "=== completed ==="]


def test_a_log_that_cannot_be_written_disturbs_nothing(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PRINTS)
    (tmp_path / "results" / "p").mkdir(parents=True)
    (tmp_path / "results" / "p" / "logs").write_text("in the way")
    for options in ([], ["--workers", "1", "--fresh"]):
        done = cluster(tmp_path, "run", *options, "program.py")
        assert done.returncode == 0, done.stdout
        assert "said in trial 2" in done.stdout


# --- the log as JSON


@pytest.mark.parametrize("options", [[], ["--workers", "1"]], ids=["local", "workers"])
def test_the_log_as_json(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "program.py").write_text(PRINTS)
    with (tmp_path / "errors").open("w") as errors:
        done = subprocess.run(
            [*CLUSTER, "run", *options, "program.py"],
            cwd=tmp_path,
            env={**ENVIRONMENT, "CLUSTER_LOG_JSON": "true"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout
    if options:
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert {line["source"] for line in lines} == {"chief", "worker-1"}
        assert {"time", "level", "source", "message"} <= set.intersection(*(set(line) for line in lines))
        assert ("worker-1", "said in trial 0") in {(line["source"], line["message"]) for line in lines}
        of_the_log = [line for line in lines if line.get("logger", "").startswith("cluster.")]
    else:
        assert "said in trial 0\n" in done.stdout
        text = (tmp_path / "errors").read_text()
        of_the_log = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        assert {tuple(line) for line in of_the_log} == {("time", "level", "logger", "message")}
    assert any(re.match(r"trial 0 score=", line["message"]) for line in of_the_log)
    wrong = cluster(tmp_path, "run", "--log-json", *options, "nowhere.py")
    assert wrong.returncode == 2
    assert json.loads(wrong.stdout)["level"] == "ERROR"
