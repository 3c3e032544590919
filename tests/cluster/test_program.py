"""The user's program: found, named, and run as Python itself would."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from cluster import program as program_module
from cluster.errors import UsageError
from cluster.program import Identity, Program, own_traceback, without_own_frames

SHOW = "import sys\nprint(__name__, sys.argv, sys.path[0], __file__ is not None)\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(SHOW)
    (tmp_path / "module_of_test.py").write_text(SHOW)
    package = tmp_path / "package_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(SHOW)
    (package / "part.py").write_text(SHOW)
    (tmp_path / "no_main_of_test").mkdir()
    (tmp_path / "no_main_of_test" / "__init__.py").write_text("raise AssertionError('it was imported')")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["script.py"],
        ["script.py", "--epochs", "3", "-m", "x"],
        ["-m", "module_of_test", "a b"],
        ["-m", "package_of_test"],
        ["-m", "package_of_test.part", "--flag"],
    ],
)
def test_it_runs_as_python_would_run_it(here: Path, words: list[str]) -> None:
    code = "import sys; from cluster.program import Program; Program.parse(sys.argv[1:]).run()"
    ours = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    plain = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert _without_argv0(ours.stdout) == _without_argv0(plain.stdout)


def _without_argv0(line: str) -> str:
    """For a module, `sys.argv[0]` is a path in one and, while runpy runs it, the same path in the other."""
    return line.replace("'-m', ", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no program was given"),
        (["--"], "no program was given"),
        (["-m"], "-m needs the name of a module"),
        (["--worker", "3"], "there is no option '--worker'"),
        (["nowhere.py"], "there is no program 'nowhere.py'"),
        (["-m", "nowhere_at_all"], "there is no module 'nowhere_at_all'"),
        (["-m", "package_of_test.nowhere"], "there is no module 'package_of_test.nowhere'"),
        (["-m", ".relative"], "there is no module '.relative'"),
        (["-m", "no_main_of_test"], "is a package without a __main__ module"),
    ],
)
def test_what_is_not_there_is_said(here: Path, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        Program.parse(words)


def test_words_can_be_parsed_again(here: Path) -> None:
    program = Program.parse(["-m", "package_of_test", "--x", "1"])
    assert Program.parse(program.words) == program
    assert Program.parse(["--", *program.words]) == program


def test_identities_differ_in_name_arguments_or_text(here: Path) -> None:
    chief = Program.parse(["script.py", "--epochs", "3"]).identity
    assert chief.differences(Program.parse([str(here / "script.py"), "--epochs", "3"]).identity) == []
    [other_name] = chief.differences(Identity("other.py", (), ""))
    assert other_name == "program: 'other.py' on the worker, 'script.py' on the chief"
    [other_arguments] = chief.differences(Program.parse(["script.py", "--epochs", "4"]).identity)
    assert other_arguments == "arguments: '--epochs 4' on the worker, '--epochs 3' on the chief"
    (here / "script.py").write_text("pass\n")
    [other_text] = chief.differences(Program.parse(["script.py", "--epochs", "3"]).identity)
    assert other_text.startswith("the text of script.py differs")


def test_a_traceback_begins_in_the_program(here: Path) -> None:
    (here / "script.py").write_text("def inner():\n    raise ValueError('no')\n\ninner()\n")
    with pytest.raises(ValueError, match="no") as caught:
        Program.parse(["script.py"]).run()
    lines = own_traceback(caught.value).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    frames = [line for line in lines if line.startswith("  File")]
    assert [frame.split(", ")[-1] for frame in frames][-2:] == ["in <module>", "in inner"]
    assert "cluster/program.py" not in "".join(frames)
    assert lines[-1] == "ValueError: no"


def test_argv_and_path_are_given_back(here: Path) -> None:
    argv, path = list(sys.argv), list(sys.path)
    Program.parse(["script.py", "x"]).run()
    assert (sys.argv, sys.path) == (argv, path)


def test_a_traceback_that_was_written_down_loses_the_launchers_frames() -> None:
    def program() -> None:
        raise ValueError("here it is")

    code = compile("def within(call):\n    call()\n", str(Path(program_module.__file__).parent / "seams/x.py"), "exec")
    scope: dict[str, Any] = {}
    exec(code, scope)
    try:
        scope["within"](program)
    except ValueError:
        text = traceback.format_exc()
    assert "seams/x.py" in text
    cleaned = without_own_frames(text)
    assert "seams/x.py" not in cleaned
    assert cleaned.splitlines()[0] == "Traceback (most recent call last):"
    assert cleaned.count('  File "') == text.count('  File "') - 1
    assert "raise ValueError" in cleaned
    assert cleaned.endswith("ValueError: here it is\n")
    assert without_own_frames("no traceback at all") == "no traceback at all"
