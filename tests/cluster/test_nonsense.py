"""Nonsense in every option, variable and file of every command: one clear line, an exit code, and nothing is begun.

Goes through the commands as they are, so that an option without nonsense of its own in `nonsense.py` is noticed.
"""

from __future__ import annotations

import datetime
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer.main

from cluster import cli
from cluster.program import Program
from tests.access import TOKEN
from tests.cluster.nonsense import LONG, OWN, SWITCHES, TERMINAL, Kind
from tests.made_up import write

pytest.importorskip("cryptography")
COMMAND: Any = typer.main.get_command(cli.app)
COMMANDS: dict[str, Any] = COMMAND.commands
PARAMETERS = [(command, parameter) for command, x in COMMANDS.items() for parameter in x.params]
VALUED = [(command, x) for command, x in PARAMETERS if x.opts[0] not in SWITCHES]
# What begins something, anywhere in the commands.
BEGINNINGS = [
    *("cluster.roles.run", "cluster.launch.run", "cluster.rpc.server.serve", "cluster.worker.Worker.run"),
    *("cluster.dashboard.serve.beside", "cluster.dashboard.serve.Serving.__init__", "cluster.doctor.Doctor.__init__"),
    *("cluster.ray_backend.node.lead", "cluster.ray_backend.node.follow", "cluster.leash.hold", "cluster.report.write"),
    *("cluster.rpc.looking.connect", "cluster.dashboard.remote.connect"),
]
# Words without which a command does not come to its options.
NEEDED = {
    **{command: ["x.py"] for command in ("run", "chief", "worker", "trainer", "ray-head")},
    **{command: ["127.0.0.1:9"] for command in ("status", "dashboard")},
    "certs": ["made"],
    "export": ["127.0.0.1:9"],
    "report": ["project"],
    "ray-worker": ["--head", "127.0.0.1:9"],
}


class Begun(Exception):
    """A command has taken what it should have refused, and begins."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, and what it said."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with files of all kinds that the nonsense names."""
    from cluster import certificates

    here = tmp_path_factory.mktemp("here")
    certificates.make(here / "lab", ["localhost"], 1, datetime.datetime.now(datetime.UTC))
    for name in ("chief.pem", "chief.key"):
        (here / "lab" / name).rename(here / name)
    write(here / "project")
    (here / "x.py").write_text("raise AssertionError('it was run')")
    (here / "file").write_text("a file")
    (here / "noise").write_bytes(bytes(range(255, 0, -1)))
    (here / "words").write_text("two\nlines")
    (here / "empty").touch()
    (here / "directory").mkdir()
    (here / "empty_directory").mkdir()
    (here / "loop").symlink_to("loop")
    os.mkfifo(here / "pipe")
    for file in ("noise", "words", "empty", "file"):
        (here / file).chmod(0o600)
    return here


@pytest.fixture
def cluster(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """Runs `cluster <words>` in this process, where nothing can begin."""
    monkeypatch.chdir(files)
    for name in [x for x in os.environ if x.startswith(("CLUSTER_", "RAY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLUSTER_TOKEN", TOKEN.value)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GRPC_VERBOSITY", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # the commands set them

    def begin(*_: object, **__: object) -> NoReturn:
        raise Begun

    def leave(code: int) -> NoReturn:
        raise SystemExit(code)

    for name in BEGINNINGS:
        monkeypatch.setattr(name, begin)
    monkeypatch.setattr("cluster.coreshare.CoreShare.begin", lambda *_: None)  # it would be this process's
    monkeypatch.setattr(cli, "leave", leave)
    monkeypatch.setattr(cli, "app", COMMAND)  # made once, not for each of thousands
    log = logging.getLogger("cluster")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", log.propagate)
    monkeypatch.setattr(log, "level", log.level)

    def run(*words: str, **variables: str) -> Ended:
        log.handlers.clear()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["cluster", *words])
            for name, value in variables.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as caught:
                cli.main()
        said = capsys.readouterr()
        return Ended(caught.value.code if isinstance(caught.value.code, int) else 1, said.out, said.err)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def kind_of(command: str, parameter: Any) -> Kind:
    option = parameter.opts[0]
    return OWN.get(f"{command} {option}") or OWN[option]


def all_files(place: Path) -> set[str]:
    return {str(x) for x in place.rglob("*") if not x.is_symlink()}


def error_of(ended: Ended) -> str:
    """The line of a refusal, the only one; Typer says before it how the command is used."""
    assert "Traceback" not in ended.stderr
    *before, error = ended.stderr.rstrip("\n").split("\n")
    assert error.startswith(("Error: ", "cluster: error: ")), ended.stderr
    assert not before or (before[0].startswith("Usage: ") and before[-2].startswith("Try '")), ended.stderr
    assert all(letter.isprintable() for letter in error), repr(error)
    assert ended.stdout == ""
    return error


def refused(ended: Ended, kind: Kind, value: str, names: list[str]) -> None:
    error = error_of(ended)
    assert ended.code in kind.codes, error
    assert not names or any(name in error or name.strip("-").replace("-", " ") in error for name in names), error
    assert kind.values[value] in error, error


def named(parameters: list[tuple[str, Any]]) -> pytest.MarkDecorator:
    ids = [f"{command} {x.opts[0]}" for command, x in parameters]
    return pytest.mark.parametrize(("command", "parameter"), parameters, ids=ids)


def words_of(command: str, parameter: Any, value: str) -> list[str]:
    """The command line that gives a value to a parameter."""
    option, kind = parameter.opts[0], kind_of(command, parameter)
    own = {str(x.opts[0]) for x in COMMANDS[command].params}
    beside = list(kind.beside) if set(kind.beside) & own else []
    if not option.startswith("-"):
        return [command, *beside, "--optuna", "sqlite://", value] if command == "export" else [command, value]
    place = NEEDED.get(command, [])
    if option in ("--optuna", "--head"):
        place = ["project"] if option == "--optuna" else []
    beside += ["--optuna", "sqlite://"] if command == "export" and option != "--optuna" else []
    return [command, *beside, f"{option}={value}", *place]


def test_every_parameter_has_nonsense_of_its_own() -> None:
    there = {f"{command} {x.opts[0]}" for command, x in PARAMETERS} | {x.opts[0] for _, x in PARAMETERS}
    assert set(OWN) | SWITCHES <= there, "nonsense for what is no more"
    assert {x.opts[0] for _, x in PARAMETERS} - set(OWN) - SWITCHES == set(), "say in nonsense.py what makes none"


@named(VALUED)
def test_it_is_refused(cluster: Callable[..., Ended], files: Path, command: str, parameter: Any) -> None:
    kind, before = kind_of(command, parameter), all_files(files)
    assert kind.values
    for value in kind.values:
        is_option = parameter.opts[0].startswith("-")
        ended = cluster(*words_of(command, parameter, value))
        refused(ended, kind, value, [parameter.opts[0]] if is_option else [])
    assert all_files(files) == before


@named([(command, x) for command, x in VALUED if x.envvar])
def test_so_it_is_in_a_variable(cluster: Callable[..., Ended], files: Path, command: str, parameter: Any) -> None:
    kind, before = kind_of(command, parameter), all_files(files)
    for value in [x for x in kind.values if x]:  # an empty one is as good as none
        option, *rest = [x for x in words_of(command, parameter, value) if x != f"{parameter.opts[0]}={value}"]
        ended = cluster(option, *rest, **{parameter.envvar: value})
        refused(ended, kind, value, [parameter.opts[0], parameter.envvar])
    assert all_files(files) == before


@named([(command, x) for command, x in PARAMETERS if x.opts[0] in SWITCHES])
def test_a_switch_takes_no_value(cluster: Callable[..., Ended], command: str, parameter: Any) -> None:
    option = parameter.opts[0]
    for value in ("yes", "", LONG):
        error = error_of(cluster(command, f"{option}={value}", *NEEDED.get(command, [])))
        assert option in error
    if parameter.envvar:
        for value in ("perhaps", "nan", "-1", "9" * 30, "a\nb"):
            ended = cluster(command, *NEEDED.get(command, []), **{parameter.envvar: value})
            assert ended.code == 2
            assert parameter.envvar in error_of(ended)


TOKENS = ["two\nlines", TERMINAL, "schlüssel", "x" * 5000, "\udcff"]


@pytest.mark.parametrize("command", ["chief", "worker", "status", "export", "dashboard", "trainer"])
def test_a_token_in_a_variable(cluster: Callable[..., Ended], command: str) -> None:
    also = ["--optuna", "sqlite://"] if command == "export" else []
    for token in TOKENS:
        ended = cluster(command, *also, *NEEDED[command], CLUSTER_TOKEN=token)
        assert ended.code == 2
        assert "CLUSTER_TOKEN holds no token" in error_of(ended)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("option", ["--token-file", "--tls-cert", "--tls-key", "--tls-client-ca", "x.py"])
def test_a_file_that_may_not_be_read(cluster: Callable[..., Ended], files: Path, tmp_path: Path, option: str) -> None:
    file = tmp_path / "shut"
    file.write_text("")
    file.chmod(0)
    words = [f"{option}={file}", "x.py"] if option in OWN else [str(file)]
    ended = cluster("chief", *(OWN[option].beside if option in OWN else []), *words)
    assert ended.code == 2
    assert "Permission denied" in error_of(ended)


@pytest.mark.parametrize(
    "words",
    [
        "nonsense",
        "run --nonsense",
        "status --nonsense .",
        "export project",
        "status project more",
        *sorted({*COMMANDS} - {"doctor"}),
    ],
)
def test_what_is_missing_or_too_much_is_said(cluster: Callable[..., Ended], words: str) -> None:
    ended = cluster(*words.split())
    assert ended.code == 2
    assert error_of(ended)


@pytest.mark.parametrize("text", [b"def\n", bytes(range(256)), b"\xff\xfe"], ids=["syntax", "bytes", "encoding"])
def test_a_program_that_is_no_python_ends_as_in_python(tmp_path: Path, text: bytes) -> None:
    """Its traceback is its own, without a frame of ours."""
    (tmp_path / "x.py").write_bytes(text)
    words = [sys.executable, "-m", "cluster", "run", "x.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr.splitlines()[-1]
    assert "cluster/" not in done.stderr
    assert [x.name for x in tmp_path.iterdir()] == ["x.py"]


def test_words_that_are_no_utf8_can_be_sent(tmp_path: Path) -> None:
    file = tmp_path / "x\udcff.py"
    file.write_text("")
    identity = Program.parse([str(file), "a\udcffb", "ü"]).identity
    assert (identity.name, identity.arguments) == ("x\\xff.py", ("a\\xffb", "ü"))
