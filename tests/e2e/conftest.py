"""What the tests stand on: child processes that end with them; an engine, the image built once, a stack for each.

Without an engine these tests are skipped, with the reason; with CLUSTER_E2E=required (as CI sets it) they fail.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.launcher import Running, starting
from tests.e2e.stack import ROOT, TAG, Stack, attempt, docker


def _missing() -> str | None:
    """Why containers cannot run here, or None when they can."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    for question in (("version", "--format", "{{.Server.Version}}"), ("compose", "version"), ("buildx", "version")):
        answer = attempt(*question, timeout=30)
        if answer.returncode != 0:
            return f"docker {' '.join(question)}: {answer.stdout.strip()}"
    return None


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `cluster <words>` in the test's directory; what still runs at the end is killed."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker Engine with Compose v2 and BuildKit answers."""
    reason = _missing()
    if reason is None:
        return
    if os.environ.get("CLUSTER_E2E") == "required":
        pytest.fail(f"CLUSTER_E2E=required, and no containers can run: {reason}")
    pytest.skip(f"no containers can run: {reason}")


@pytest.fixture(scope="session")
def image(engine: None) -> None:
    """The image of the checkout as it is, under a tag of the tests' own."""
    docker(
        "compose",
        "--project-directory",
        str(ROOT),
        "--env-file",
        os.devnull,
        "build",
        "--quiet",
        env={"CLUSTER_TAG": TAG},
        timeout=1800,
    )


@pytest.fixture
def stack(image: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A chief and workers, not started; gone, with their volumes, when the test ends."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    stack = Stack(project=f"e2e-{os.getpid()}-{name}"[:60], directory=tmp_path)
    try:
        yield stack
        print(stack.logs())  # pytest shows it for a test that failed
    finally:
        stack.down()
