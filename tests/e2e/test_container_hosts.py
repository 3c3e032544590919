"""A chief on one network and workers on another, with no volume in common, as on two boxes: compose.worker.yaml."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.launcher import cluster, events, trials
from tests.e2e.stack import ROOT, UID, Stack, attempt, docker
from tests.e2e.test_hosts import bests, saved, sha

pytestmark = pytest.mark.containers
PORT = "18911"
# Its checkpoints, with the optimizer's state, have 25 MB: long enough to see one on its way.
PROGRAM = "promoted.py --epochs 4 --units 1400"


@dataclass
class Boxes:
    """Two boxes, whose containers see nothing of each other but the chief's port."""

    chief: Stack
    workers: Stack

    @property
    def project(self) -> Path:
        return self.chief.results / "promoted"


def readable(directory: Path, *files: Path) -> Path:
    """A directory with copies of files, for the user of the containers."""
    directory.mkdir()
    for file in files:
        shutil.copy(file, directory)
    for path in (directory, *directory.iterdir()):
        os.chown(path, UID, UID)
    return directory


@pytest.fixture
def boxes(image: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Boxes]:
    # An address of this host that containers of any network reach, as those of another box would.
    [facts] = json.loads(docker("network", "inspect", "bridge"))
    host = facts["IPAM"]["Config"][0]["Gateway"]
    made = cluster(tmp_path, "certs", "lab", "--host", host)
    assert made.returncode == 0, made.stdout
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    name = f"e2e-{os.getpid()}-hosts"
    chief = Stack(f"{name}-chief", tmp_path / "one", overlays=(ROOT / "compose.chief.yaml",))
    workers = Stack(f"{name}-workers", tmp_path / "two", base=ROOT / "compose.worker.yaml")
    for stack in (chief, workers):
        stack.program("promoted.py", *PROGRAM.split()[1:])
        stack.settings["KERAS_BACKEND"] = "tensorflow"
    lab = tmp_path / "lab"
    own = readable(tmp_path / "one" / "tls", *(lab / x for x in ("chief.pem", "chief.key", "ca.pem")))
    theirs = readable(tmp_path / "two" / "tls", *(lab / x for x in ("worker.pem", "worker.key", "ca.pem")))
    chief.settings |= {
        "CLUSTER_TLS_DIR": str(own),
        "CLUSTER_TLS_CLIENT_CA": "/tls/ca.pem",
        "CLUSTER_TOKEN_DIR": str(readable(tmp_path / "one" / "secret")),
        "CLUSTER_PORT": PORT,
    }
    workers.settings |= {
        "CLUSTER_TLS_DIR": str(theirs),
        "CLUSTER_TLS_CERT": "/tls/worker.pem",
        "CLUSTER_TLS_KEY": "/tls/worker.key",
        "CLUSTER_TOKEN_DIR": str(tmp_path / "two" / "secret"),
        "CLUSTER_CHIEF": f"{host}:{PORT}",
    }
    boxes = Boxes(chief, workers)
    try:
        yield boxes
        print(chief.logs(), workers.logs())
    finally:
        workers.down()
        chief.down()


def bring_token(boxes: Boxes) -> None:
    """What the user copies from the chief's box to the workers'."""
    there = Path(boxes.chief.settings["CLUSTER_TOKEN_DIR"]) / "token"
    readable(Path(boxes.workers.settings["CLUSTER_TOKEN_DIR"]), there)


def await_state(boxes: Boxes, seen: Callable[[], bool]) -> None:
    while not seen():
        assert boxes.chief.containers("chief")[0].status == "running"
        time.sleep(0.005)


def test_hyperband_on_two_boxes_with_a_worker_killed_in_mid_upload(boxes: Boxes) -> None:
    up = boxes.chief.up("--detach", "chief")
    assert up.returncode == 0, up.stdout
    bring_token(boxes)
    up = boxes.workers.up("--detach", "--scale", "worker=2")
    assert up.returncode == 0, up.stdout
    [first, second] = boxes.workers.containers("worker")
    pieces = boxes.project / "uploads"
    deadline = time.monotonic() + 120
    while not any(pieces.glob("*/*.part")):
        assert time.monotonic() < deadline, boxes.chief.logs() + boxes.workers.logs()
    docker("kill", first.id)  # not started again, as a box that has lost its power
    boxes.chief.wait("chief")
    boxes.workers.wait("worker")
    # What the one that is left says of a trial counts: the other may have said it of an attempt that never arrived.
    outputs = [boxes.chief.logs("chief"), docker("logs", first.id) + docker("logs", second.id)]
    ended = boxes.chief.containers("chief") + [x for x in boxes.workers.containers("worker") if x.id != first.id]
    assert [one.exit_code for one in ended] == [0, 0], outputs

    found = trials(boxes.project)
    assert {trial["status"] for trial in found.values()} == {"COMPLETED"}
    assert saved(outputs[1]) == {x: sha(boxes.project / f"trial_{x}" / "checkpoint.weights.h5") for x in found}
    for parent, digest in re.findall(r"from=(\w+) sha=(\w+)", outputs[1]):
        assert saved(outputs[1])[parent] == digest
    [best] = bests(*outputs)  # the chief's and the worker's that is left: one and the same
    assert best.endswith("same=True")
    assert "".join(outputs).count("best=") == 2
    lost = events(boxes.project, "lost")
    assert [event["counted"] for event in lost] == [True]
    workers_results = boxes.workers.results / "promoted"
    assert not workers_results.exists(), "the workers' box has nothing of the project"
    assert (boxes.project / "logs" / "0000.log").read_text().endswith("=== completed ===\n")


def test_workers_without_the_chiefs_token_are_told_to_bring_it(boxes: Boxes) -> None:
    readable(Path(boxes.workers.settings["CLUSTER_TOKEN_DIR"]))
    up = boxes.workers.up("worker")
    assert up.returncode != 0
    prepared = boxes.workers.logs("prepare")
    assert "There is no file token in CLUSTER_TOKEN_DIR: bring a copy of the one that the chief at" in prepared


@pytest.mark.parametrize("missing", ["CLUSTER_CHIEF", "CLUSTER_TLS_DIR", "CLUSTER_TOKEN_DIR"])
def test_what_has_to_be_given_is_asked_for(boxes: Boxes, missing: str) -> None:
    asked = attempt(*boxes.workers.compose("config", "--quiet"), env={**boxes.workers.env(), missing: ""})
    assert asked.returncode != 0
    assert re.search(
        rf"required variable {missing} is missing a value: give the (directory with|chief's)", asked.stdout
    )
