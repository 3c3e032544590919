"""The launcher as a child process of a test: its words, its output line by line, its end, and the files it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.access import TOKEN

PROGRAMS = Path(__file__).parents[1] / "programs"
CLUSTER = [sys.executable, "-m", "cluster"]
PLAIN = {k: v for k, v in os.environ.items() if not k.startswith(("CLUSTER_", "KERASTUNER_"))}
# Hundreds of processes load Keras and few train: with JAX they load in half of TensorFlow's time. What may differ
# between backends is tested with each of them by name, and the README's programs and fashion/ run on TensorFlow.
# Their token is the tests' own, so that none is kept in the home of whoever runs them.
ENVIRONMENT = {"KERAS_BACKEND": "jax", **PLAIN, "CLUSTER_TOKEN": TOKEN.value}
BACKENDS = [[], ["--workers", "3"]]


def cluster(directory: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `cluster <words>` in `directory` to its end; stdout holds both streams."""
    return subprocess.run(
        [*CLUSTER, *words],
        cwd=directory,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


class Running:
    """A `cluster` process whose output is read line by line."""

    def __init__(self, directory: Path, *words: str, before: Sequence[str] = (), **environment: str) -> None:
        self.output = ""
        self.process = subprocess.Popen(
            [*before, *CLUSTER, *words],
            cwd=directory,
            env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read_until(self, pattern: str) -> re.Match[str]:
        """Reads on until a line matches; the test fails when the process ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"no line matches {pattern!r} in:\n{self.output}")

    def end(self) -> int:
        """Reads the rest and returns the exit code."""
        self.output += self.process.communicate(timeout=60)[0]
        return self.process.returncode


@contextlib.contextmanager
def starting(directory: Path) -> Iterator[Callable[..., Running]]:
    """Starts `cluster <words>` in a directory; what still runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        def start(*words: str, cwd: Path = directory, before: Sequence[str] = (), **environment: str) -> Running:
            running = Running(cwd, *words, before=before, **environment)
            assert running.process.stdout is not None
            stack.callback(running.process.stdout.close)
            stack.callback(running.process.wait)
            stack.callback(running.process.kill)
            return running

        yield start


def trials(project: Path) -> dict[str, dict[str, Any]]:
    """KerasTuner's own files, by trial."""
    found = [json.loads(path.read_text()) for path in project.glob("trial_*/trial.json")]
    return {trial["trial_id"]: trial for trial in found}


def events(project: Path, kind: str) -> list[dict[str, Any]]:
    lines = (project / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def check_completed(project: Path, number: int) -> None:
    """Every trial completed, each counted once."""
    assert [t["status"] for t in trials(project).values()] == ["COMPLETED"] * number
    assert set(Counter(e["trial"] for e in events(project, "end")).values()) == {1}
    oracle = json.loads((project / "oracle.json").read_text())
    assert sorted(oracle["end_order"]) == sorted(trials(project))
    assert oracle["ongoing_trials"] == {}


def arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def children(pid: int) -> list[int]:
    """The process ids of a process's children."""
    return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
