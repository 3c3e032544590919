"""The same programs on Ray Tune: what they propose, what is lost, what makes no sense."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.launcher import PROGRAMS, Running, check_completed, cluster, events, trials

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.ray

SPACE = str(PROGRAMS / "conditional_space.py")
SLOW = str(PROGRAMS / "slow_epochs.py")
ONE_AT_ONCE = {"local": [], "cluster": ["--workers", "1"], "ray": ["--ray", "--workers", "1"]}


def proposed(directory: Path) -> list[dict[str, Any]]:
    """The hyperparameters of every trial, in the order of their grants."""
    return [event["values"] for event in events(directory / "results" / "space", "grant")]


@pytest.mark.parametrize("oracle", ["random", "grid", "bayesian", "tpe", "cmaes", "qmc"])
def test_every_backend_proposes_the_same_trials(tmp_path: Path, oracle: str) -> None:
    found = {}
    for backend, options in ONE_AT_ONCE.items():
        (tmp_path / backend).mkdir()
        done = cluster(tmp_path / backend, "run", *options, SPACE, "--oracle", oracle)
        assert done.returncode == 0, done.stdout
        check_completed(tmp_path / backend / "results" / "space", 7 if oracle == "grid" else 8)
        found[backend] = proposed(tmp_path / backend)
    assert found["local"] == found["cluster"] == found["ray"]
    kinds = {values["kind"]: "extra" in values for values in found["ray"]}
    assert kinds == {"narrow": False, "wide": True}, "the conditions were met and not met"


def test_hyperband_runs_its_brackets_to_the_end_on_ray(tmp_path: Path) -> None:
    done = cluster(tmp_path, "run", "--ray", SPACE, "--oracle", "hyperband")
    assert done.returncode == 0, done.stdout
    project = tmp_path / "results" / "space"
    found = trials(project)
    assert {trial["status"] for trial in found.values()} == {"COMPLETED"}
    promoted = [t for t in found.values() if "tuner/trial_id" in t["hyperparameters"]["values"]]
    assert promoted
    for backend, options in (("local", ONE_AT_ONCE["local"]), ("cluster", ["--workers", "2"])):
        (tmp_path / backend).mkdir()
        done = cluster(tmp_path / backend, "run", *options, SPACE, "--oracle", "hyperband")
        assert done.returncode == 0, done.stdout
        check_completed(tmp_path / backend / "results" / "space", len(found))
    assert all((project / f"trial_{name}" / "checkpoint.weights.h5").exists() for name in found)
    assert not (project / "ray").exists(), "what Ray kept is no longer needed"


def test_what_the_program_reads_after_a_search(tmp_path: Path) -> None:
    done = cluster(tmp_path, "run", "--ray", str(PROGRAMS / "hyper_model.py"))
    assert done.returncode == 0, done.stdout
    check_completed(tmp_path / "results" / "hm", 4)
    assert "seen 4 remaining 0" in done.stdout
    assert "output (64, 1)" in done.stdout
    assert "4 trials completed" in (tmp_path / "results" / "hm" / "report.md").read_text()


def test_a_killed_process_of_rays_loses_nothing(start: Callable[..., Running], tmp_path: Path) -> None:
    run = start("run", "--ray", "--workers", "1", SLOW, "--epochs", "6")
    found = run.read_until(r"pid=(\d+).*epoch 3 at step")
    os.kill(int(found[1]), signal.SIGKILL)
    assert run.end() == 0, run.output
    check_completed(tmp_path / "results" / "slow", 1)
    assert [e["attempt"] for e in events(tmp_path / "results" / "slow", "grant")] == [1, 2]
    again = [int(x) for x in re.findall(r"epoch (\d) at step", run.output.split("is lost")[1])]
    assert again == [3, 4, 5], run.output
    assert "epoch 3 at step 12" in run.output.split("is lost")[1], "with the optimizer's steps"


def test_a_killed_driver_goes_on(start: Callable[..., Running], tmp_path: Path) -> None:
    words = ("run", "--ray", "--workers", "1", SLOW, "--trials", "2", "--epochs", "6")
    run = start(*words)
    run.read_until(r"epoch 5 at step")
    run.read_until(r"epoch 3 at step")
    run.process.kill()
    run.end()
    again = cluster(tmp_path, *words)
    assert again.returncode == 0, again.stdout
    check_completed(tmp_path / "results" / "slow", 2)
    assert [int(x) for x in re.findall(r"epoch (\d) at step", again.stdout)] == [3, 4, 5]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_driver_gives_its_trial_back(
    start: Callable[..., Running], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = start("run", "--ray", "--workers", "1", SLOW, "--epochs", "12")
    run.read_until(r"epoch 2 at step")
    run.process.send_signal(number)
    assert run.end() == code, run.output
    assert "Traceback" not in run.output
    assert "cluster: interrupted; run the same command again to go on" in run.output
    project = tmp_path / "results" / "slow"
    assert [event["counted"] for event in events(project, "lost")] == [False]
    assert events(project, "run_end") == [], "the search has not come to an end of its own"


def test_a_trial_that_raises_is_failed_as_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(RAISES)
    done = cluster(tmp_path, "run", "--ray", "program.py")
    assert done.returncode == 0, done.stdout
    statuses = sorted(t["status"] for t in trials(tmp_path / "results" / "p").values())
    assert statuses == ["COMPLETED", "COMPLETED", "FAILED"]


RAISES = """
import keras_tuner
class Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial, *args, **kwargs):
        if trial.trial_id == "1":
            raise ValueError("not this one")
        return trial.hyperparameters.Float("x", 0.0, 1.0)
oracle = keras_tuner.oracles.RandomSearchOracle(objective=keras_tuner.Objective("s", "min"), max_trials=3, seed=1)
Tuner(oracle=oracle, directory="results", project_name="p").search()
"""
DATASET = """
import threading
import keras, keras_tuner
def build(hp):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(hp.Int("u", 1, 2))])
    model.compile("sgd", "mse")
    return model
tuner = keras_tuner.RandomSearch(build, "loss", max_trials=1, directory="results", project_name="p")
tuner.search(x=threading.Lock())
"""


# --- bad input


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--ray", "127.0.0.1:1"], 7, "no Ray cluster answers at 127.0.0.1:1"),
        (["--ray-address", "nonsense", "--ray"], 2, "'nonsense' is no address of a Ray cluster"),
        (["--ray", "--cpus-per-trial", "1000"], 2, "one trial needs 1000 CPUs and 0 GPUs"),
        (["--ray", "--gpus-per-trial", "1"], 2, "and no host of this Ray cluster has them"),
        (["--ray", "--cpus-per-trial", "0"], 2, "--cpus-per-trial"),
    ],
)
def test_bad_input_gets_one_clear_line(tmp_path: Path, options: list[str], code: int, text: str) -> None:
    done = cluster(tmp_path, "run", *options, SPACE)
    assert (done.returncode, "Traceback" in done.stdout) == (code, False), done.stdout
    assert text in " ".join(done.stdout.split())


def test_what_cannot_be_sent_is_named(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(DATASET)
    done = cluster(tmp_path, "run", "--ray", "program.py")
    assert (done.returncode, "Traceback" in done.stdout) == (2, False), done.stdout
    assert "the argument 'x' of tuner.search() is a _thread.lock, which cannot be sent" in done.stdout


def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray here')")
    done = cluster(tmp_path, "run", "--ray", SPACE, PYTHONPATH=str(tmp_path))
    assert (done.returncode, "Traceback" in done.stdout) == (9, False), done.stdout
    assert "pip install 'keras-tuning-cluster[ray]'" in done.stdout


def test_the_driver_names_its_python(tmp_path: Path) -> None:
    from cluster.ray_backend.connect import versions

    found = versions()
    assert found["Python"] == ".".join(map(str, sys.version_info[:2]))
    assert json.dumps(found)
