"""The comparison: every process makes the same searches, the chief measures each row once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fashion import compare
from fashion.__main__ import main
from fashion.settings import Settings
from fashion.train import Baseline
from fashion.tune import Best

SMALL = ["--data", "generated", "--train-samples", "50", "--epochs", "1"]


class Calls:
    """Stands in for everything that takes time, and counts it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chief = True
        self.baselines = 0
        self.searches: list[str] = []
        self.measured: list[str] = []
        self.interrupt_at: str | None = None
        monkeypatch.setattr(compare, "is_chief", lambda: self.chief)
        monkeypatch.setattr(compare, "train", self.train)
        monkeypatch.setattr(compare, "search", self.search)
        monkeypatch.setattr(compare, "evaluate_best", self.evaluate_best)
        monkeypatch.setattr(compare, "save_best", lambda *args: None)

    def train(self, settings: Settings, dataset: object) -> Baseline:
        self.baselines += 1
        return Baseline(0.9, 0.9123, 0.251, 70.0, 75.0)

    def search(self, settings: Settings, dataset: object) -> object:
        if settings.oracle == self.interrupt_at:
            raise KeyboardInterrupt
        self.searches.append(settings.project_name)
        return object()

    def evaluate_best(self, tuner: object, settings: Settings, dataset: object) -> tuple[None, Best]:
        self.measured.append(settings.oracle)
        return None, Best("0", {"units": 64}, 0.91, 0.9, 0.27, settings.max_trials)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


def run(directory: Path, *more: str) -> int:
    return main(["compare", *SMALL, "--directory", str(directory), *more])


def test_writes_the_table_in_three_forms(calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    printed = capsys.readouterr().out
    written = (tmp_path / "compare.md").read_text()
    for text in (printed, written):
        assert "generated data, NOT Fashion-MNIST; 50 images for training" in text
        assert "cannot be compared" in text
        for figure in ("91.23 %", "90.19 %", "89.59 %", "12 min 8 s", "1 min 15 s"):
            assert figure in text
    assert "| baseline | 91.23 % | 0.25 | 1 min 15 s | - | - | 90.19 % | - | - |" in written
    content = json.loads((tmp_path / "compare.json").read_text())
    assert content["data"] == "generated"
    assert (content["epochs"], content["max_trials"], content["train_samples"]) == (1, 8, 50)
    assert [row["name"] for row in content["rows"]] == ["baseline", "random", "grid", "bayesian"]
    assert content["rows"][1]["trials"] == 8
    assert content["original"]["grid"]["test_accuracy"] == 0.8934
    assert calls.searches == ["compare-random", "compare-grid", "compare-bayesian"]


def test_goes_on_after_an_interruption(calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls.interrupt_at = "grid"
    assert run(tmp_path) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert "| random |" in (tmp_path / "compare.md").read_text()
    calls.interrupt_at = None
    calls.searches.clear()
    assert run(tmp_path) == 0
    assert calls.baselines == 1
    assert calls.searches == ["compare-random", "compare-grid", "compare-bayesian"]
    assert calls.measured == ["random", "grid", "bayesian"]


def test_a_row_with_other_settings_is_measured_again(calls: Calls, tmp_path: Path) -> None:
    assert run(tmp_path, "--oracles", "random") == 0
    assert run(tmp_path, "--oracles", "random", "--max-trials", "9") == 0
    assert calls.measured == ["random", "random"]
    assert calls.baselines == 1  # it does not depend on the number of trials
    assert run(tmp_path, "--oracles", "random", "--max-trials", "9", "--seed", "2") == 0
    assert calls.baselines == 2


def test_rows_of_oracles_not_asked_for_stay(calls: Calls, tmp_path: Path) -> None:
    assert run(tmp_path, "--oracles", "grid,random") == 0
    assert run(tmp_path, "--oracles", "hyperband") == 0
    rows = json.loads((tmp_path / "compare.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["baseline", "random", "grid", "hyperband"]


def test_a_worker_makes_every_search_and_writes_nothing(
    calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    calls.searches.clear()
    calls.measured.clear()
    calls.chief = False
    assert run(tmp_path) == 0
    assert calls.searches == ["compare-random", "compare-grid", "compare-bayesian"]
    assert calls.measured == []
    assert calls.baselines == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert capsys.readouterr().out == ""


def test_a_real_comparison(tmp_path: Path) -> None:
    assert run(tmp_path, "--oracles", "grid", "--max-trials", "1") == 0
    baseline, grid = json.loads((tmp_path / "compare.json").read_text())["rows"]
    # The first trial of a grid has the default hyperparameters, and every training its own fresh seed.
    assert grid["test_accuracy"] == baseline["test_accuracy"]
    assert 0 < grid["trials_seconds"] < grid["run_seconds"]
    assert (tmp_path / "compare-grid" / "best" / "model.keras").exists()
