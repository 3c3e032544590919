"""That .env.example tells the truth about compose.yaml: every variable is there, with the default it really has.

Needs no engine.
"""

import inspect
import re

import pytest

from cluster import cli
from tests.e2e.stack import ROOT

COMPOSE = (ROOT / "compose.yaml").read_text()
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
# Without a value in compose.yaml a variable is passed on when it is set, and the command line has the default.
PASSED_ON = re.findall(r"^ +(CLUSTER_\w+):$", COMPOSE, re.MULTILINE)


def test_every_variable_is_explained_and_no_other() -> None:
    assert set(EXAMPLE) == {*re.findall(r"\$\{(\w+)", COMPOSE), *PASSED_ON} - {"OWNER"}


def test_every_value_is_the_default() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE))
    names_of_volumes = {"WORKSPACE": "", "FASHION_MNIST_DIR": ""}  # what stands in for no directory
    assert {name: EXAMPLE[name] for name in defaults} == defaults | names_of_volumes


@pytest.mark.parametrize("name", PASSED_ON)
def test_what_is_passed_on_has_the_default_of_the_command_line(name: str) -> None:
    option = name.removeprefix("CLUSTER_").lower()
    defaults = [inspect.signature(role).parameters.get(option) for role in (cli.chief, cli.worker)]
    value = float(EXAMPLE[name]) if EXAMPLE[name] else None
    assert [value] == [found.default for found in defaults if found is not None]
