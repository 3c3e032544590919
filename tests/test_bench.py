"""How figures are kept, bounded and shown; what the benches measure, they measure themselves."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from tests.bench import __main__ as bench
from tests.bench import table
from tests.bench.figures import Figures, Kept, Machine, in_turn, keep, number, read, shown, unit

SIDES: dict[str, Figures] = {
    "stock": {"whole command": [20.0, 22.0, 21.0], "grants [trials/s]": [100.0, 110.0, 105.0]},
    "cluster": {"whole command": [4.9, 5.25, 5.5], "grants [trials/s]": [1234.0, 1200.0, 1300.0], "used [%]": [97.5]},
}
ROOT = Path(__file__).parents[1]


@pytest.fixture
def kept() -> Kept:
    return Kept.now("What is measured.", SIDES)


def test_a_units_figure_is_told_by_its_name() -> None:
    assert unit("grant p99 [ms]") == ("grant p99", "ms")
    assert unit("whole command") == ("whole command", "s")
    assert unit("test loss []") == ("test loss", "")


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (99.94, "99.9"), (5.256, "5.26"), (0.0314, "0.031"), (0.0, "0.00")]
)
def test_numbers_have_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_figure_is_its_median_with_its_range() -> None:
    assert shown([3.0, 1.0, 2.0], "s") == "2.00 s (1.00 to 3.00)"
    assert shown([97.5], "%") == "97.5%"
    assert shown([0.271], "") == "0.271"


def test_a_bench_that_runs_again_replaces_its_own_figures_alone(tmp_path: Path, kept: Kept) -> None:
    file = tmp_path / "results" / "bench.json"
    keep(file, "one", kept)
    keep(file, "two", kept)
    again = replace(kept, sides={"cluster": {"whole command": [1.0]}})
    keep(file, "one", again)
    assert read(file) == {"one": again, "two": kept}
    assert list(read(file)) == ["one", "two"]
    machine = json.loads(file.read_text())["two"]["machine"]
    assert machine["cores"] >= 1
    assert machine["packages"]["keras-tuner"]


def test_a_bench_is_a_table_with_a_column_for_each_side(kept: Kept) -> None:
    assert table.columns(kept) == [
        ["", "cluster", "stock"],
        ["whole command", "5.25 s (4.90 to 5.50)", "21.0 s (20.0 to 22.0); ratio 0.25"],
        ["grants", "1,234 trials/s (1,200 to 1,300)", "105 trials/s (100 to 110); ratio 12"],
        ["used", "97.5%", ""],
    ]
    alone = replace(kept, sides={"one": {"regret []": [0.5]}, "two": {}})
    assert table.columns(alone) == [["", "one", "two"], ["regret", "0.500", ""]]
    shown = table.markdown({"processes": kept})
    assert "| used | 97.5% |  |\n\n</details>\n" in shown
    assert f"<summary><b>processes</b>: {kept.about}</summary>\n\n|  | cluster | stock |\n| --- | --- | --- |" in shown


def test_figures_of_several_machines_say_which(kept: Kept) -> None:
    other = replace(kept, machine=replace(kept.machine, cpu="Another"))
    one = table.markdown({"a": kept})
    assert "a: 20" not in one
    assert table.described(kept.machine) in one
    two = table.markdown({"a": kept, "b": other})
    assert f"a: {kept.date}, {table.described(kept.machine)}; b: {kept.date}, on" in two
    assert "of Another" in two


def test_the_command_writes_the_table_between_the_marks(tmp_path: Path, kept: Kept) -> None:
    keep(tmp_path / "bench.json", "processes", kept)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    words = [sys.executable, "-m", "tests.bench.table", str(tmp_path / "bench.json"), "--readme", str(readme)]
    for _ in range(2):  # a second time changes nothing
        subprocess.run(words, cwd=ROOT, check=True)
        text = readme.read_text()
        assert text == f"before\n{table.BEGIN}\n\n{table.markdown({'processes': kept})}\n\n{table.END}\nafter\n"


@pytest.mark.parametrize("text", ["", table.BEGIN, table.END + table.BEGIN, 2 * (table.BEGIN + table.END)])
def test_a_file_without_the_marks_is_left_alone(tmp_path: Path, kept: Kept, text: str) -> None:
    keep(tmp_path / "bench.json", "processes", kept)
    (tmp_path / "README.md").write_text(text)
    words = [sys.executable, "-m", "tests.bench.table", "bench.json", "--readme", "README.md"]
    done = subprocess.run(words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "should be there once each" in done.stderr
    assert (tmp_path / "README.md").read_text() == text


def test_the_readme_has_the_marks() -> None:
    assert table.between_marks((ROOT / "README.md").read_text(), "figures").count("figures") >= 1


# --- running them


@pytest.mark.parametrize("name", bench.there())
def test_every_bench_can_be_run(name: str) -> None:
    module = importlib.import_module(f"tests.bench.{name}")
    assert callable(module.main)
    assert len((module.__doc__ or "").splitlines()[0]) > 20


def one(**attributes: Any) -> ModuleType:
    return cast(ModuleType, SimpleNamespace(__doc__="One bench.\n\nMore.", **attributes))


def run(monkeypatch: pytest.MonkeyPatch, benches: dict[str, ModuleType], *words: str) -> int:
    monkeypatch.setattr(bench, "NAMES", tuple(benches))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(importlib, "import_module", lambda name: benches[name.removeprefix("tests.bench.")])
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    return bench.main()


def test_one_that_fails_or_cannot_run_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(runs: int) -> dict[str, Figures]:
        raise SystemExit("its program ended with 1")

    benches = {
        "away": one(main=fails, why_not=lambda: "there is no engine"),
        "bad": one(main=fails),
        "good": one(main=lambda runs: {"cluster": {"whole command": [1.0] * runs}}, why_not=lambda: None),
    }
    assert run(monkeypatch, benches, "--runs", "2", "--json", str(tmp_path / "kept.json")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["away: left out, there is no engine", "bad: failed, its program ended with 1"]
    assert lines[3] == "One bench."
    assert [x.split() for x in lines[4:6]] == [["cluster"], ["whole", "command", "1.00", "s", "(1.00", "to", "1.00)"]]
    assert read(tmp_path / "kept.json")["good"].sides == {"cluster": {"whole command": [1.0, 1.0]}}


def test_one_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tidied: list[bool] = []

    def endless(runs: int) -> dict[str, Figures]:
        try:
            threading.Event().wait(60)
        finally:
            tidied.append(True)
        raise AssertionError("it was not ended")

    assert run(monkeypatch, {"endless": one(main=endless)}, "--minutes", "0.001") == 1
    assert "endless: failed, TooLong: it took longer than 0.001 minutes" in capsys.readouterr().out
    assert tidied


def test_an_unknown_one_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, {"good": one(main=lambda runs: {})}, "bda")
    assert "no bench is named bda; there are good" in capsys.readouterr().err


def test_the_machine_is_described() -> None:
    machine = Machine("A CPU", 2, 24_500_000_000, "Linux 6", "3.11.2", {"keras": "3.11.0", "ray": "2.60.0"})
    assert table.described(machine) == "on 2 cores of A CPU, 24 GB, with Python 3.11.2, keras 3.11.0, ray 2.60.0"


def test_sides_are_measured_in_turn_with_the_same_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[tuple[str, int]] = []

    def run(side: str, seed: int) -> dict[str, float]:
        ran.append((side, seed))
        return {"whole [s]": 10.0 * seed}

    assert in_turn(("peer", "cluster"), 2, run) == {side: {"whole [s]": [10.0, 20.0]} for side in ("peer", "cluster")}
    assert ran == [("peer", 1), ("cluster", 1), ("peer", 2), ("cluster", 2)]
    assert "cluster, seed 2: whole [s] 20" in capsys.readouterr().out
