"""This package's own oracles in real processes: without the launcher, in one process, on workers, and killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.launcher import ENVIRONMENT, PROGRAMS, Running, check_completed, cluster, events, trials

pytest.importorskip("optuna", reason="the extra `optuna` is not installed")
pytest.importorskip("cmaes", reason="the extra `optuna` is not installed")

SPACE = str(PROGRAMS / "conditional_space.py")
TPE = """
import cluster.oracles

class Tuner(cluster.oracles.TPE):
    def run_trial(self, trial):
        x = trial.hyperparameters.Float("x", -1.0, 1.0)
        y = trial.hyperparameters.Choice("y", ["a", "b"])
        return x * x + (y == "b")

tuner = Tuner(max_trials=12, num_initial_points=4, seed=2, directory="results", project_name="p")
tuner.search()
print("best", tuner.get_best_hyperparameters()[0].values)
"""


def proposed(directory: Path) -> list[dict[str, Any]]:
    """The hyperparameters of every trial, in the order of their numbers."""
    found = sorted((directory / "results" / "space").glob("trial_*/trial.json"))
    return [json.loads(path.read_text())["hyperparameters"]["values"] for path in found]


@pytest.mark.parametrize("oracle", ["tpe", "cmaes"])
def test_the_same_trials_with_the_launcher_and_without(tmp_path: Path, oracle: str) -> None:
    words = [SPACE, "--oracle", oracle, "--trials", "10"]
    found = []
    for name, options in {"local": [], "one": ["--workers", "1"]}.items():
        (tmp_path / name).mkdir()
        done = cluster(tmp_path / name, "run", *options, *words)
        assert done.returncode == 0, done.stdout
        check_completed(tmp_path / name / "results" / "space", 10)
        found.append(proposed(tmp_path / name))
    (tmp_path / "plain").mkdir()
    subprocess.run([sys.executable, *words], cwd=tmp_path / "plain", env=ENVIRONMENT, check=True, capture_output=True)
    assert found[0] == found[1] == proposed(tmp_path / "plain")
    assert {values["kind"]: "extra" in values for values in found[0]} == {"narrow": False, "wide": True}


def test_a_tuner_on_two_workers(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TPE)
    done = cluster(tmp_path, "run", "--workers", "2", "program.py")
    assert done.returncode == 0, done.stdout
    check_completed(tmp_path / "results" / "p", 12)
    assert "best {'x': " in done.stdout
    assert "[I " not in done.stdout, "Optuna has told of its study"


def test_a_run_that_was_killed_proposes_what_would_have_come(start: Callable[..., Running], tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    words = [SPACE, "--oracle", "tpe", "--trials", "9"]
    assert cluster(tmp_path / "whole", "run", *words).returncode == 0
    run = start("run", "--workers", "1", *words, "--seconds", "0.3")
    run.read_until("trial 5 →")
    run.process.kill()
    run.end()
    assert len(trials(tmp_path / "results" / "space")) < 9
    again = cluster(tmp_path, "run", "--workers", "1", *words)
    assert again.returncode == 0, again.stdout
    assert len(events(tmp_path / "results" / "space", "search_begin")) == 2
    assert proposed(tmp_path) == proposed(tmp_path / "whole")


def test_a_package_that_is_missing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(f"import importlib.util\nimportlib.util.find_spec = lambda name: None\n{TPE}")
    done = cluster(tmp_path, "run", "program.py")
    assert (done.returncode, "Traceback" in done.stdout) == (9, False), done.stdout
    assert "TPEOracle needs the package optuna: pip install 'keras-tuning-cluster[optuna]'" in done.stdout
