"""The command line: help at once, one line for every mistake, an exit code for each kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fashion import data, train
from fashion.__main__ import main, make_parser
from fashion.settings import Settings


def test_defaults_are_those_of_the_settings() -> None:
    parsed = vars(make_parser().parse_args(["tune"]))
    parsed.pop("command")
    assert Settings(**parsed) == Settings()
    assert vars(make_parser().parse_args(["compare"]))["oracles"] == ("random", "grid", "bayesian")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune", "--oracle", "magic"], "--oracle: invalid choice: 'magic'"),
        (["compare", "--oracles", "random,magic"], "unknown oracle 'magic' (choose from random, grid, bayesian, hyper"),
        (["compare", "--oracles", ""], "unknown oracle ''"),
        (["tune", "--max-trials", "-3"], "--max-trials: must be at least 1, not -3"),
        (["tune", "--epochs", "0"], "--epochs: must be at least 1, not 0"),
        (["train", "--batch-size", "many"], "--batch-size: must be a whole number at least 1, not 'many'"),
        (["train", "--train-samples", "54001"], "--train-samples: must be in 1..54000, not 54001"),
        (["train", "--seed", "0"], "--seed: must be in 1..4294967295, not 0"),
        (["train", "--oracle", "grid"], "unrecognized arguments: --oracle grid"),
        (["tune", "--dir", "x"], "unrecognized arguments: --dir x"),
        ([], "train|tune|compare"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    printed, error = capsys.readouterr()
    assert printed == ""
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["tune", "--help"], ["compare", "--help"]])
def test_help_shows_no_default_that_is_none(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert "None" not in capsys.readouterr().out


def test_help_does_not_wait_for_keras() -> None:
    code = "import sys; from fashion.__main__ import make_parser; make_parser(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"keras", "keras_tuner", "tensorflow", "numpy"} & set(modules)


@pytest.mark.parametrize("command", ["train", "tune", "compare"])
def test_wrong_data_are_code_3(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main([command]) == 3
    error = capsys.readouterr().err
    assert error.startswith("fashion: error: FASHION_MNIST_DIR is ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupt)
    assert main(["train"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_worker_does_not_train_the_baseline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "is_chief", lambda: False)
    assert main(["train"]) == 0
    assert capsys.readouterr().out == ""


def test_a_run_without_data_says_so_and_nothing_else(tmp_path: Path) -> None:
    """The program as users start it: no data, a network that goes nowhere, notices of TensorFlow kept away."""
    hidden = {"FASHION_MNIST_DIR", "TF_CPP_MIN_LOG_LEVEL"}
    environ = {name: value for name, value in os.environ.items() if name not in hidden} | {
        "KERAS_HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "https_proxy": "http://127.0.0.1:9",
    }
    run = subprocess.run(
        [sys.executable, "-m", "fashion", "train", "--train-samples", "64", "--epochs", "1"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    information, warning = run.stderr.splitlines()
    assert information.startswith("INFO: Downloading https://")
    assert warning.startswith("WARNING: No Fashion-MNIST here (train-images-idx3-ubyte.gz could not be downloaded")
    assert "generated data, NOT Fashion-MNIST; 64 images for training" in run.stdout
    assert "test accuracy" in run.stdout
