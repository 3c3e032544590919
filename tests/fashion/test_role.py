"""The one thing the program knows of the cluster, and that it can do without."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

import fashion
from fashion import role

PACKAGE = Path(fashion.__file__).parent


def test_without_the_cluster_this_process_is_the_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cluster", None)  # makes the import fail
    try:
        assert importlib.reload(role).is_chief()
    finally:
        monkeypatch.undo()
        importlib.reload(role)


def test_only_one_module_knows_the_cluster() -> None:
    importing = {
        path.name: node.module
        for path in PACKAGE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cluster"
    }
    assert importing == {"role.py": "cluster"}


def test_the_map_of_the_package_is_true() -> None:
    listed = {word for word in (fashion.__doc__ or "").split() if word.endswith(".py")}
    assert listed == {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
