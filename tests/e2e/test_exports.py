"""What other programs read of a search, in real processes: Prometheus, TensorBoard, Optuna and pandas."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cluster as package
from tests.access import BEARER
from tests.e2e.launcher import PROGRAMS, Running, cluster
from tests.e2e.test_dashboard import free_port


def scrape(address: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    answer = httpx.get(f"http://{address}/metrics", headers=BEARER)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_chief_that_is_killed_goes_on_for_all_of_them(start: Callable[..., Running], tmp_path: Path) -> None:
    listen, page = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    program = [str(PROGRAMS / "slow_epochs.py"), "--trials", "3", "--epochs", "3"]
    words = ["chief", "--listen", listen, "--dashboard", "--dashboard-address", page, *program]
    chief = start(*words)
    start("worker", "--chief", listen, "--name", "only", *program)
    chief.read_until("trial 0 .*loss=")
    before = scrape(page)
    assert before["cluster_trials", "slow", "completed"] >= 1
    assert before["cluster_workers", "slow"] == 1
    assert before["cluster_rpc_seconds_count", "EndTrial"] == 1
    chief.process.send_signal(signal.SIGKILL)
    chief.process.wait()

    chief = start(*words)
    chief.read_until("trial 2 → only")
    after = scrape(page)
    for name in ("cluster_attempts_total", "cluster_epochs_total", "cluster_trial_seconds_count"):
        assert after[name, "slow"] > before[name, "slow"]
    assert after["cluster_search_state", "slow", "running"] == 1
    assert chief.end() == 0, chief.output

    project = tmp_path / "results" / "slow"
    search = package.load(project)
    assert list(search.trials.status) == ["COMPLETED"] * 3
    for trial in search.record.ordered:
        found = EventAccumulator(str(project / "tensorboard" / trial.id))
        found.Reload()
        # What was reported while there was no chief is nowhere; nothing is there twice.
        steps = [x.step for x in found.Scalars("loss")]
        assert steps == sorted({x.number for x in trial.epochs})
        assert steps[-1] == 3
        assert [x.value for x in found.Scalars("score")] == pytest.approx([trial.score])

    optuna = pytest.importorskip("optuna")
    done = cluster(tmp_path, "export", "--optuna", "sqlite:///study.db", "results/slow")
    assert done.returncode == 0, done.stdout
    study = optuna.load_study(study_name="slow", storage=f"sqlite:///{tmp_path}/study.db")
    assert search.best is not None
    assert study.best_value == search.best.score
    assert study.best_params == search.best.hyperparameters


@pytest.mark.parametrize(
    ("options", "environment", "there"),
    [([], {}, True), (["--no-tensorboard"], {}, False), ([], {"CLUSTER_TENSORBOARD": "false"}, False)],
)
def test_tensorboards_files_are_written_unless_nobody_wants_them(
    options: list[str], environment: dict[str, str], there: bool, tmp_path: Path
) -> None:
    program = [str(PROGRAMS / "sleep_trials.py"), "--trials", "2", "--seconds", "0"]
    done = cluster(tmp_path, "run", *options, *program, **environment)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "results" / "sleep" / "tensorboard").exists() is there


def test_the_launcher_passes_it_on(tmp_path: Path) -> None:
    program = [str(PROGRAMS / "sleep_trials.py"), "--trials", "2", "--seconds", "0"]
    done = cluster(tmp_path, "run", "--workers", "1", "--no-tensorboard", *program)
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "results" / "sleep" / "tensorboard").exists()


def test_what_cannot_be_exported_is_said_in_a_line(tmp_path: Path) -> None:
    done = cluster(tmp_path, "export", "--optuna", "sqlite:///study.db", "nowhere")
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 1), done.stdout
    assert not (tmp_path / "study.db").exists()
