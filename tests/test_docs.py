"""What the README says is so: the tree, the exit codes, and the program, which is run as it is printed."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cluster.errors
from cluster.errors import PROGRAM_RAISED, SET_ASIDE, ClusterError, LeaseLost

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def tree() -> list[str]:
    """The paths in the README's tree; a line that is indented further stands in the folder above it."""
    block = README.split("## The house\n\n")[1].split("\n\n")[0]
    paths, folder = [], ""
    for line in block.splitlines():
        indent = len(line) - len(line.lstrip())
        name = line.split()[0]
        if indent == 4:
            folder = name if name.endswith("/") else ""
            paths.append(name)
        else:
            paths.append(folder + name)
    return paths


def test_everything_in_the_tree_is_there() -> None:
    assert [path for path in tree() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("folder", ["cluster", "fashion"])
def test_every_module_is_in_the_tree(folder: str) -> None:
    modules = {f"{folder}/{path.name}" for path in (ROOT / folder).glob("*.py")}
    assert modules - set(tree()) == set()


def test_every_exit_code_is_in_the_table() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)}
    kinds = [kind for _, kind in inspect.getmembers(cluster.errors, inspect.isclass) if issubclass(kind, ClusterError)]
    codes = {kind.exit_code for kind in kinds if kind is not LeaseLost}
    assert table == {0, PROGRAM_RAISED, SET_ASIDE} | codes


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["local", "workers"])
def test_the_program_runs(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "digits.py").write_text(README.split("```python\n")[1].split("```")[0])
    words = [sys.executable, "-m", "cluster", "run", *options, "digits.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Results summary" in done.stdout
    files = (tmp_path / "results" / "digits").glob("trial_*/trial.json")
    assert [json.loads(path.read_text())["status"] for path in files] == ["COMPLETED"] * 8
