"""One run of compose.yaml for a test: its own project name, workspace, results and user id.

Owns the calls of `docker compose` and `docker inspect`, and taking everything down again. What the containers have to
do is the tests' own.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "containers"
OTHERS = ROOT / "tests" / "programs"
TAG = "e2e"
IMAGE = f"keras-tuning-cluster:{TAG}"

# Any id but the image's own and root's; files of the user who runs the tests can be removed by that user.
UID = os.getuid() or 1234


def docker(*arguments: str, env: Mapping[str, str] | None = None, timeout: float = 240) -> str:
    """Runs one docker command and returns what it printed, both streams; raises with that text when it fails."""
    done = attempt(*arguments, env=env, timeout=timeout)
    assert done.returncode == 0, f"docker {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def attempt(
    *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Runs one docker command, which may fail."""
    return subprocess.run(
        ["docker", *arguments],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass(frozen=True)
class Container:
    """How a container ended, as the engine tells it."""

    id: str
    service: str
    status: str
    exit_code: int
    restarts: int
    finished: float  # Unix seconds

    @classmethod
    def inspected(cls, facts: dict[str, Any]) -> "Container":
        state = facts["State"]
        return cls(
            id=facts["Id"],
            service=facts["Config"]["Labels"].get("com.docker.compose.service", ""),
            status=state["Status"],
            exit_code=state["ExitCode"],
            restarts=facts["RestartCount"],
            finished=datetime.fromisoformat(state["FinishedAt"]).timestamp(),
        )


def inspect(*ids: str) -> list[Container]:
    """The containers with these ids or names."""
    return [Container.inspected(facts) for facts in json.loads(docker("inspect", *ids))] if ids else []


@dataclass
class Stack:
    """A chief and workers under a project name of their own, with files in `directory`."""

    project: str
    directory: Path
    settings: dict[str, str] = field(default_factory=dict)
    overlays: tuple[Path, ...] = ()  # compose files on top of the first
    base: Path = ROOT / "compose.yaml"

    def __post_init__(self) -> None:
        self.workspace.mkdir()

    @property
    def workspace(self) -> Path:
        return self.directory / "workspace"

    @property
    def results(self) -> Path:
        """Not made here: that the containers' user may write to it, though dockerd makes it, is for compose.yaml."""
        return self.directory / "results"

    def program(self, name: str, *arguments: str) -> None:
        """Runs a program of the tests from a WORKSPACE that holds a copy of it and nothing else."""
        shutil.copy(next(place / name for place in (PROGRAMS, OTHERS) if (place / name).exists()), self.workspace)
        self.settings |= {"PROGRAM": " ".join([name, *arguments]), "WORKSPACE": str(self.workspace)}

    def env(self) -> dict[str, str]:
        """The variables of .env.example, all of them set, so that none comes from the caller's environment."""
        return {
            "CLUSTER_TAG": TAG,
            "CLUSTER_UID": str(UID),
            "CLUSTER_GID": str(UID),
            "CLUSTER_ALLOW_CPU": "",
            "CLUSTER_DEVICE": "",
            "CLUSTER_SLOTS_PER_GPU": "",
            # Not the one of the host: what a test does with GPUs is nobody else's business.
            "CLUSTER_SLOTS_VOLUME": f"{self.project}-slots",
            "FASHION_MNIST_DIR": "",
            "KERAS_BACKEND": "tensorflow",
            "PROGRAM": "",
            "RESULTS": str(self.results),
            "WORKSPACE": "",
            **self.settings,
        }

    def compose(self, *arguments: str) -> tuple[str, ...]:
        """The words of a `docker compose` command of this stack; the checkout's own .env is left out."""
        files = (word for path in (self.base, *self.overlays) for word in ("-f", str(path)))
        return ("compose", "-p", self.project, "--env-file", os.devnull, *files, *arguments)

    def up(self, *options: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return attempt(*self.compose("up", "--no-build", "--no-color", *options), env=self.env(), timeout=timeout)

    def run(self, *arguments: str) -> str:
        """A command in one more container of the chief's kind, without the launcher and without the cluster."""
        command = self.compose("run", "--rm", "--no-deps", "-T", "--entrypoint", arguments[0], "chief", *arguments[1:])
        return docker(*command, env=self.env())

    def containers(self, service: str) -> list[Container]:
        return inspect(*docker(*self.compose("ps", "--all", "--quiet", service), env=self.env()).split())

    def logs(self, *services: str) -> str:
        return docker(*self.compose("logs", "--no-color", "--no-log-prefix", *services), env=self.env())

    def wait_for_line(self, service: str, text: str) -> str:
        """Returns the first line of the service's log that holds the text; the test's timeout bounds the wait."""
        command = ["docker", *self.compose("logs", "--follow", "--no-color", "--no-log-prefix", service)]
        with subprocess.Popen(
            command, env={**os.environ, **self.env()}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as follower:
            assert follower.stdout is not None
            try:
                found = next((line for line in follower.stdout if text in line), None)
                assert found is not None, f"{service} ended without a word of {text!r}"
                return found
            finally:
                follower.kill()

    def wait(self, *services: str) -> None:
        """Returns when every container of these services (all) has exited for good; the test bounds the wait."""
        ids = docker(*self.compose("ps", "--all", "--quiet", *services), env=self.env()).split()
        while any(one.status != "exited" for one in inspect(*ids)):
            docker("wait", *ids)  # also returns when the engine is about to start one of them again

    def kill(self, service: str) -> None:
        """Kills every process of a container at once, from within: what `docker kill` ends is not started again."""
        attempt(*self.compose("exec", "-T", service, "bash", "-c", "kill -KILL -1"), env=self.env())

    def network(self, action: str, container: Container) -> None:
        """Connects a container to the stack's network, or disconnects it."""
        docker("network", action, f"{self.project}_default", container.id)

    def down(self) -> None:
        docker(*self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5"), env=self.env())
