"""Trials that are stopped early, as real processes: a chief that dies in the middle, and what makes no sense."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.launcher import PROGRAMS, Running, arguments, check_completed, children, cluster, events, trials

RATES = str(PROGRAMS / "rates.py")
GOOD = 0.05


def check(project: Path, fewest: int, unheard: int = 0) -> None:
    """Bad trials end at the epoch that stopped them, without a second execution; the good one has all it should.

    As many as `unheard` may have trained on: their chief died between its verdict and its answer.
    """
    check_completed(project, 6)
    epochs = [json.loads(line) for line in (project / "epochs.jsonl").read_text().splitlines()]
    stopped = {event["trial"]: event for event in events(project, "pruned")}
    assert len(stopped) == len(events(project, "pruned")) >= fewest
    trained_on = 0
    for name, trial in trials(project).items():
        own: list[dict[str, Any]] = [event for event in epochs if event["trial"] == name]
        if trial["hyperparameters"]["values"]["rate"] == GOOD:
            assert (name in stopped, trial["message"]) == (False, None)
        if name in stopped:
            assert stopped[name]["reason"] in trial["message"]
            last = own.index(next(event for event in own if event["epoch"] == stopped[name]["epoch"]))
            if own[last + 1 :] or trial["best_step"] > stopped[name]["epoch"]:
                trained_on += 1
                continue
            assert {event.get("execution", 0) for event in own} == {0}
            assert own[-1]["epoch"] == stopped[name]["epoch"] == trial["best_step"] < 3
            assert trial["score"] == pytest.approx(own[-1]["logs"]["loss"])
    assert trained_on <= unheard
    report = json.loads((project / "trials.json").read_text())
    assert {row["trial"] for row in report if row["status"] == "PRUNED"} == set(stopped)
    assert report[0]["hp:rate"] == GOOD


def test_a_chief_that_is_killed_goes_on_judging(start: Callable[..., Running], tmp_path: Path) -> None:
    run = start("run", "--workers", "2", "--prune", "asha", "--prune-min-epochs", "1", "--prune-factor", "3", RATES)
    run.read_until(r"trial \d+ is stopped early: it was not among the best 1 of \d after \d epoch")
    [chief] = [x for x in children(run.process.pid) if b"\0chief\0" in arguments(x)]
    os.kill(chief, signal.SIGKILL)
    run.read_until("chief was killed by SIGKILL and is started again")
    run.read_until(r"the report is|not all of the report")  # however long all that takes
    assert run.end() == 0, run.output
    assert run.output.count("loaded 6") == 3, "the chief and both trainers"
    check(tmp_path / "results" / "rates", 4, unheard=2)


@pytest.mark.parametrize("options", [[], ["--workers", "1"]], ids=["local", "one worker"])
def test_one_after_another(tmp_path: Path, options: list[str]) -> None:
    """The same verdicts, wherever trials run."""
    done = cluster(tmp_path, "run", *options, RATES, CLUSTER_PRUNE="asha", CLUSTER_PRUNE_MIN_EPOCHS="1")
    assert done.returncode == 0, done.stdout
    project = tmp_path / "results" / "rates"
    check(project, 5)
    assert [event["epoch"] for event in events(project, "pruned")] == [0] * 5
    assert "6 trials completed (5 stopped early); best loss=" in done.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "--prune", "hope", RATES], "--prune 'hope' is none of median, asha"),
        (["chief", "--prune", "hope", RATES], "--prune 'hope' is none of median, asha"),
        (["run", "--ray", "--prune", "asha", RATES], "on Ray it is --ray-scheduler that stops trials early"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: list[str], text: str) -> None:
    done = cluster(tmp_path, *words)
    assert (done.returncode, "Traceback" in done.stdout) == (2, False), done.stdout
    assert text in done.stdout
    assert not (tmp_path / "results").exists()
