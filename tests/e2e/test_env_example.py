"""That .env.example tells the truth about the compose files: every variable is there, with its default.

Needs no engine, but for the tests that ask Compose what it makes of the two files.
"""

import inspect
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.chief import chief
from cluster.commands.ray import ray_worker
from cluster.commands.run import run
from cluster.commands.worker import worker
from tests.e2e.stack import ROOT, docker

FILES = ("compose.yaml", "compose.gpu.yaml")
COMPOSE, GPU = ((ROOT / name).read_text() for name in FILES)
ELSEWHERE = (ROOT / "compose.chief.yaml").read_text() + (ROOT / "compose.worker.yaml").read_text()
TEXT = (ROOT / ".env.example").read_text()
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", TEXT, re.MULTILINE))
# What stands in for nothing: no directory, and a TensorFlow that depends on whether there are GPUs.
EMPTY = {"WORKSPACE": "", "FASHION_MNIST_DIR": "", "TENSORFLOW": ""}
# Without a value in compose.yaml a variable is passed on when it is set, and the command line has the default.
PASSED_ON = sorted(set(re.findall(r"^ +(CLUSTER_\w+):$", COMPOSE + ELSEWHERE, re.MULTILINE)))
LINE_FOR_GPUS = "COMPOSE_FILE=compose.yaml:compose.gpu.yaml"


def defaults(text: str) -> dict[str, str]:
    return dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))


def test_every_variable_is_explained_and_no_other() -> None:
    assert set(EXAMPLE) == {*re.findall(r"\$\{(\w+)", COMPOSE + GPU + ELSEWHERE), *PASSED_ON} - {"OWNER", "CHIEF"}


def test_every_value_is_the_default() -> None:
    assert {name: EXAMPLE[name] for name in defaults(COMPOSE)} == defaults(COMPOSE) | EMPTY
    assert {name: EXAMPLE[name] for name in defaults(GPU)} == defaults(GPU) | {"TENSORFLOW": ""}


@pytest.mark.parametrize("name", PASSED_ON)
def test_what_is_passed_on_has_the_default_of_the_command_line(name: str) -> None:
    option = name.removeprefix("CLUSTER_").lower()
    roles = (chief, worker, run, ray_worker)
    found = [inspect.signature(role).parameters.get(option) for role in roles]
    [default] = {parameter.default for parameter in found if parameter is not None}
    read: dict[type, Callable[[str], Any]] = {bool: {"true": True, "false": False}.__getitem__, str: str}
    given = read.get(type(default), float)(EXAMPLE[name]) if EXAMPLE[name] else None
    assert given == (None if default == "" else default)


def composed(directory: Path, monkeypatch: pytest.MonkeyPatch, env: str) -> dict[str, Any]:
    """The services, as Compose understands a checkout with this .env."""
    for name in FILES:
        shutil.copy(ROOT / name, directory)
    (directory / ".env").write_text(env)
    for name in [name for name in os.environ if name in EXAMPLE or name.startswith("COMPOSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(directory)
    docker("compose", "config", "--format", "json", "--output", "composed.json")
    services: dict[str, Any] = json.loads((directory / "composed.json").read_text())["services"]
    return services


def images(services: dict[str, Any]) -> dict[str, str]:
    return {name: service["image"] for name, service in services.items()}


@pytest.mark.containers
@pytest.mark.parametrize(
    "env", [f"{LINE_FOR_GPUS}\n", TEXT.replace(f"# {LINE_FOR_GPUS}", LINE_FOR_GPUS)], ids=["alone", "in-the-example"]
)
def test_one_line_gives_the_gpus_to_the_workers(
    engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: str
) -> None:
    services = composed(tmp_path, monkeypatch, env)

    assert images(services) == dict.fromkeys(("prepare", "chief", "worker"), "keras-tuning-cluster:local-gpu")
    assert services["prepare"]["build"]["args"] == {"EXTRAS": "ui", "TENSORFLOW": "tensorflow[and-cuda]"}
    [devices] = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == {"driver": "nvidia", "count": -1, "capabilities": ["gpu"]}  # -1: all
    assert services["worker"]["environment"]["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert "NVIDIA_VISIBLE_DEVICES" not in services["worker"]["environment"]
    assert services["chief"]["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert not {"deploy", "devices", "gpus", "runtime"} & {*services["chief"], *services["prepare"]}


@pytest.mark.containers
@pytest.mark.parametrize("env", ["", TEXT], ids=["empty", "the-example"])
def test_without_the_line_there_is_nothing_of_gpus(
    engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: str
) -> None:
    services = composed(tmp_path, monkeypatch, env)

    assert images(services) == dict.fromkeys(("prepare", "chief", "worker"), "keras-tuning-cluster:local")
    assert services["prepare"]["build"]["args"] == {"EXTRAS": "ui", "TENSORFLOW": "tensorflow-cpu"}
    assert not any("deploy" in service for service in services.values())
