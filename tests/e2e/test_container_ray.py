"""The program on a Ray cluster of containers: `docker compose --profile ray up ray --scale ray-worker=N`.

Trials' output comes to the driver's log, with the address of the worker that wrote it.
"""

import json
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import PROGRAMS, ROOT, TAG, Container, Stack, docker
from tests.e2e.test_containers import (
    check_all_ended_well,
    check_completed,
    check_completed_at_the_first_attempt,
    events,
    times,
)
from tests.e2e.test_env_example import LINE_FOR_GPUS, composed, images

pytestmark = [pytest.mark.containers, pytest.mark.ray, pytest.mark.timeout(280, func_only=True)]

RAY = {"CLUSTER_TAG": TAG, "COMPOSE_PROFILES": "ray"}


@pytest.fixture(scope="session")
def ray_image(engine: None) -> None:
    """The image with Ray, of the checkout as it is, under the tests' own tag."""
    files = ("--project-directory", str(ROOT), "--env-file", os.devnull)
    docker("compose", *files, "build", "--quiet", "ray-prepare", env=RAY, timeout=1800)


@pytest.fixture
def stack(ray_image: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A head and workers, not started; gone, with their volumes, when the test ends."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    stack = Stack(project=f"e2e-{os.getpid()}-{name}"[:60], directory=tmp_path)
    # Any free port, since the usual one may be somebody's.
    stack.settings |= RAY | {"CLUSTER_RAY_DASHBOARD": "0", "CLUSTER_RAY_CPUS": "", "CLUSTER_CPUS_PER_TRIAL": ""}
    try:
        yield stack
        print(stack.logs())  # pytest shows it for a test that failed
    finally:
        stack.down()


def slow_epochs(stack: Stack, *words: str) -> None:
    shutil.copy(ROOT / "tests" / "programs" / "slow_epochs.py", stack.workspace)
    stack.settings |= {"PROGRAM": " ".join(["slow_epochs.py", *words]), "WORKSPACE": str(stack.workspace)}


def address(container: Container) -> str:
    """The container's own, in the network of its stack."""
    [network] = json.loads(docker("inspect", container.id))[0]["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def wrote(stack: Stack, pattern: str) -> list[tuple[str, re.Match[str]]]:
    """What trials wrote, with the address of the worker that ran them, in the order of the driver's log."""
    lines = (re.search(rf"ip=([\d.]+)\).*? ({pattern})", line) for line in stack.logs("ray").splitlines())
    found = [line for line in lines if line is not None]
    matches = [(line[1], re.search(pattern, line[2])) for line in found]
    return [(host, match) for host, match in matches if match is not None]


def dashboard(stack: Stack, path: str) -> Any:
    """What Ray's dashboard answers, on the host."""
    place = docker(*stack.compose("port", "ray", "8265"), env=stack.env()).strip()
    assert place.startswith("127.0.0.1:")
    with urllib.request.urlopen(f"http://{place}{path}", timeout=20) as answer:
        return json.load(answer)


def test_a_search_on_two_workers_ends_by_itself(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.program("sleep_trials.py", "--trials", "12")
    begun = time.time()
    done = stack.up("ray", "--scale", "ray-worker=2")
    assert done.returncode == 0, done.stdout
    returned = time.time()
    stack.wait()

    project = stack.results / "sleep"
    check_completed_at_the_first_attempt(project, 12)
    assert not (project / "ray").exists(), "what Ray kept is no longer needed"
    check_all_ended_well(stack.containers("ray"), 1)
    check_all_ended_well(stack.containers("ray-worker"), 2)
    assert stack.containers("chief") == stack.containers("worker") == []
    hosts = {host for host, _ in wrote(stack, "trial .* sleeps")}
    assert len(hosts) == 2, "trials ran on both workers, and none on the head"

    grants = [event["time"] for event in events(project) if event["event"] == "grant"]
    ends = [event["time"] for event in events(project) if event["event"] == "end"]
    last_exit = max(one.finished for one in stack.containers("ray-worker"))
    with capsys.disabled():
        print(
            f"\n12 trials of 1 s on 2 Ray workers: {min(grants) - begun:.1f} s to the first grant, "
            f"{max(ends) - min(grants):.1f} s of trials, {returned - max(ends):.1f} s until `up` returned, "
            f"{last_exit - max(ends):.1f} s until the last worker ended"
        )


def test_a_killed_workers_trial_goes_on_at_its_next_epoch(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    slow_epochs(stack, "--trials", "2", "--epochs", "30")
    assert stack.up("-d", "ray", "--scale", "ray-worker=2").returncode == 0
    line = stack.wait_for_line("ray", "epoch 5 at step")
    version = dashboard(stack, "/api/version")
    found = re.search(r"ip=([\d.]+)", line)
    assert found is not None, line
    [victim] = [one for one in stack.containers("ray-worker") if address(one) == found[1]]
    killed = time.time()
    docker("kill", victim.id)  # which the engine does not undo
    stack.wait()

    project = stack.results / "slow"
    check_completed(project, 2)
    [lost] = [event for event in events(project) if event["event"] == "lost"]
    assert times(project, "grant") == {lost["trial"]: 2, {"0": "1", "1": "0"}[lost["trial"]]: 1}
    check_all_ended_well(stack.containers("ray"), 1)
    survivors = [one for one in stack.containers("ray-worker") if one.id != victim.id]
    check_all_ended_well(survivors, 1)
    told = [(host, int(x[1]), int(x[2])) for host, x in wrote(stack, r"epoch (\d+) at step (\d+)")]
    there = [(epoch, step) for host, epoch, step in told if host != found[1]]
    again = there[30:]
    assert [epoch for epoch, _ in there[:30]] == list(range(30)), "the other trial was not disturbed"
    assert [epoch for epoch, _ in again] == list(range(again[0][0], 30))
    assert again[0][0] >= 5, "from what it had saved"
    assert again[0][1] == 4 * again[0][0], "with the optimizer's steps"
    noticed = lost["time"] - killed
    with capsys.disabled():
        print(f"\nRay {version['ray_version']} noticed a killed worker within {noticed:.1f} s")
    assert noticed < 60


def test_a_worker_that_is_scaled_away_is_not_to_blame(stack: Stack) -> None:
    slow_epochs(stack, "--trials", "2", "--epochs", "20")
    stack.settings["CLUSTER_MAX_ATTEMPTS"] = "1"
    assert stack.up("-d", "ray", "--scale", "ray-worker=2").returncode == 0
    while len({host for host, _ in wrote(stack, "epoch 1 at step")}) < 2:
        time.sleep(0.5)
    fewer = stack.up("-d", "ray", "--scale", "ray-worker=1", "--no-recreate")
    assert fewer.returncode == 0, fewer.stdout
    stack.wait()

    check_completed(stack.results / "slow", 2)
    lost = [event for event in events(stack.results / "slow") if event["event"] == "lost"]
    assert [(event["reason"], event["counted"]) for event in lost] == [("its host on Ray was told to leave", False)]
    check_all_ended_well(stack.containers("ray"), 1)
    check_all_ended_well(stack.containers("ray-worker"), 1)


def test_workers_that_join_later_take_trials(stack: Stack) -> None:
    # Longer than a process of Ray's takes to start: else the first worker takes the trial before the second can.
    stack.program("sleep_trials.py", "--trials", "8", "--seconds", "12")
    assert stack.up("-d", "ray", "--scale", "ray-worker=1").returncode == 0
    stack.wait_for_line("ray", "sleeps")
    more = stack.up("-d", "ray", "--scale", "ray-worker=2", "--no-recreate")
    assert more.returncode == 0, more.stdout
    stack.wait()

    check_completed_at_the_first_attempt(stack.results / "sleep", 8)
    assert len({host for host, _ in wrote(stack, "trial .* sleeps")}) == 2
    check_all_ended_well(stack.containers("ray"), 1)
    check_all_ended_well(stack.containers("ray-worker"), 2)


def test_a_stack_that_is_stopped_goes_on(stack: Stack) -> None:
    slow_epochs(stack, "--trials", "2", "--epochs", "20")
    assert stack.up("-d", "ray", "--scale", "ray-worker=2").returncode == 0
    stack.wait_for_line("ray", "epoch 3 at step")
    docker(*stack.compose("stop"), env=stack.env())
    assert {one.exit_code for one in stack.containers("ray")} == {143}
    assert {one.exit_code for one in stack.containers("ray-worker")} == {0}

    assert stack.up("-d", "ray", "--scale", "ray-worker=2").returncode == 0
    stack.wait()
    check_completed(stack.results / "slow", 2)
    lost = [event for event in events(stack.results / "slow") if event["event"] == "lost"]
    assert all(event["counted"] is False for event in lost), "nobody is to blame"
    assert wrote(stack, "epoch 0 at step"), "of the first run"
    assert len(wrote(stack, "epoch 0 at step")) == 2, "and not of the second"
    check_all_ended_well(stack.containers("ray"), 1)


def test_each_worker_offers_a_gpu_of_its_own(stack: Stack) -> None:
    stack.program("devices_seen.py", "--trials", "6")
    stack.overlays = (PROGRAMS / "fake-gpus.yaml",)
    stack.settings["FAKE_GPUS"] = "2"
    done = stack.up("ray", "--scale", "ray-worker=2")
    assert done.returncode == 0, done.stdout
    stack.wait()

    check_completed_at_the_first_attempt(stack.results / "devices", 6)
    check_all_ended_well(stack.containers("ray-worker"), 2)
    trials = [json.loads(file.read_text()) for file in (stack.results / "seen").iterdir()]
    places = {(trial["host"], trial["gpu"]) for trial in trials}
    assert len(places) == len({host for host, _ in places}) == len({gpu for _, gpu in places}) == 2
    assert {event["device"] for event in events(stack.results / "devices") if event["event"] == "grant"} == {
        "ray 1 cpu 1 gpu"
    }


# --- what is started by what


def test_nothing_of_ray_is_started_unasked(engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(composed(tmp_path, monkeypatch, "")) == {"prepare", "chief", "worker"}


def test_ray_is_started_without_chief_and_workers(
    engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = composed(tmp_path, monkeypatch, "COMPOSE_PROFILES=ray\n")
    chosen = json.loads(docker("compose", "config", "--format", "json", "ray"))["services"]

    assert images(chosen) == dict.fromkeys(("ray-prepare", "ray", "ray-worker"), "keras-tuning-cluster:local-ray")
    assert chosen["ray-prepare"]["build"]["args"]["EXTRAS"] == "ui,ray"
    assert [port["host_ip"] for port in chosen["ray"]["ports"]] == ["127.0.0.1"]
    assert "ports" not in chosen["ray-worker"]
    same = ("user", "security_opt", "volumes", "restart", "init", "working_dir", "stop_grace_period")
    for name, twin in (("ray", "chief"), ("ray-worker", "worker")):
        assert {x: chosen[name][x] for x in same} == {x: everything[twin][x] for x in same}


def test_one_line_gives_the_gpus_to_rays_workers(engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = composed(tmp_path, monkeypatch, f"{LINE_FOR_GPUS}\nCOMPOSE_PROFILES=ray\n")

    names = ("ray-prepare", "ray", "ray-worker")
    assert {name: images(services)[name] for name in names} == dict.fromkeys(
        names, "keras-tuning-cluster:local-gpu-ray"
    )
    assert services["ray-prepare"]["build"]["args"] == {"EXTRAS": "ui,ray", "TENSORFLOW": "tensorflow[and-cuda]"}
    same = ("deploy", "volumes")
    assert {x: services["ray-worker"][x] for x in same} == {x: services["worker"][x] for x in same}
    for name in ("NVIDIA_DRIVER_CAPABILITIES", "CLUSTER_SLOT_DIR"):
        assert services["ray-worker"]["environment"][name] == services["worker"]["environment"][name]
    assert "NVIDIA_VISIBLE_DEVICES" not in services["ray-worker"]["environment"]
    assert services["ray"]["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert not {"deploy", "devices", "gpus", "runtime"} & {*services["ray"], *services["ray-prepare"]}
