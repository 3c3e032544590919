"""Workers in containers share the GPUs and the cores of their host: a slot, and a share, for each.

The GPUs are not there: `tests/fake_nvml` says so to the workers. The locks, the containers and their ends are real.
"""

import itertools
import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import PROGRAMS, Container, Stack, docker
from tests.e2e.test_containers import check_all_ended_well, check_completed, events

pytestmark = [pytest.mark.containers, pytest.mark.timeout(280, func_only=True)]

WAITS = "waiting for a free GPU; held by"


def with_gpus(stack: Stack, count: int, *words: str) -> None:
    """Runs devices_seen.py on so many GPUs."""
    stack.program("devices_seen.py", *words)
    stack.overlays = (PROGRAMS / "fake-gpus.yaml",)
    stack.settings["FAKE_GPUS"] = str(count)


def seen(results: Path) -> list[dict[str, Any]]:
    """What the trials wrote down, the first first."""
    found = [json.loads(file.read_text()) for file in (results / "seen").iterdir()]
    return sorted(found, key=lambda one: float(one["start"]))


def log(container: Container) -> list[tuple[float, str]]:
    """The lines of a container, each with when the engine read it, in Unix seconds."""
    lines = (line.split(" ", 1) for line in docker("logs", "--timestamps", container.id).splitlines())
    return [(datetime.fromisoformat(stamp).timestamp(), text) for stamp, text in lines]


def when(container: Container, text: str) -> float:
    """When a container first wrote a line that holds the text."""
    return next(stamp for stamp, line in log(container) if text in line)


def says(container: Container, text: str) -> bool:
    return any(text in line for _, line in log(container))


def check_that_no_two_shared_a_gpu(trials: list[dict[str, Any]]) -> None:
    for gpu in {trial["gpu"] for trial in trials}:
        on_it = [trial for trial in trials if trial["gpu"] == gpu]
        for earlier, later in itertools.pairwise(on_it):
            assert earlier["end"] <= later["start"], f"two on {gpu}: {earlier} and {later}"


def check_that_grants_name_the_gpus(results: Path) -> None:
    """The event log has the same GPU for a trial as the trial itself saw."""
    told = {(x["trial"], x["worker"][:12]): x["device"] for x in events(results / "devices") if x["event"] == "grant"}
    for trial in seen(results):
        device = told.pop((trial["trial"], trial["host"]))
        assert device == f"gpu {int(trial['gpu'][4])} {trial['gpu'][:12]}"
    assert told == {}


def test_four_replicas_have_a_gpu_each_and_the_chief_has_none(stack: Stack) -> None:
    with_gpus(stack, 4)
    done = stack.up("--scale", "worker=4")
    assert done.returncode == 0, done.stdout

    check_completed(stack.results / "devices", 12)
    check_all_ended_well(stack.containers("worker"), 4)
    check_all_ended_well(stack.containers("chief"), 1)
    places = {(trial["host"], trial["gpu"]) for trial in seen(stack.results)}
    assert len(places) == len({host for host, _ in places}) == len({gpu for _, gpu in places}) == 4
    check_that_grants_name_the_gpus(stack.results)
    assert "this process sees CUDA_VISIBLE_DEVICES=-1\n" in stack.logs("chief")


def test_of_six_replicas_on_four_gpus_two_wait(stack: Stack) -> None:
    with_gpus(stack, 4)
    done = stack.up("--scale", "worker=6")
    assert done.returncode == 0, done.stdout

    check_completed(stack.results / "devices", 12)
    check_all_ended_well(stack.containers("worker"), 6)
    check_all_ended_well(stack.containers("chief"), 1)
    waited = [worker for worker in stack.containers("worker") if says(worker, WAITS)]
    assert len(waited) == 2
    trials = seen(stack.results)
    assert not {worker.id[:12] for worker in waited} & {trial["host"] for trial in trials}
    check_that_no_two_shared_a_gpu(trials)


def test_a_killed_holders_gpu_goes_to_one_who_waits(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    with_gpus(stack, 4, "--seconds", "3")
    assert stack.up("-d", "--scale", "worker=5").returncode == 0
    stack.wait_for_line("worker", WAITS)
    host = stack.wait_for_line("worker", "begins on").split()[-1]
    told = time.time()
    docker("kill", host)  # which the engine does not undo
    stack.wait()

    check_completed(stack.results / "devices", 12)
    check_all_ended_well(stack.containers("chief"), 1)
    workers = {worker.id[:12]: worker for worker in stack.containers("worker")}
    killed = workers.pop(host)
    check_all_ended_well(list(workers.values()), 4)
    assert killed.exit_code == 137

    trials = seen(stack.results)
    [lost] = [trial for trial in trials if "end" not in trial]
    assert lost["host"] == host
    lost["end"] = killed.finished
    check_that_no_two_shared_a_gpu(trials)
    [heir] = [worker for worker in workers.values() if says(worker, WAITS)]
    assert {trial["gpu"] for trial in trials if trial["host"] == heir.id[:12]} == {lost["gpu"]}
    check_that_grants_name_the_gpus(stack.results)

    seconds = when(heir, "cluster: on gpu ") - told
    with capsys.disabled():
        print(f"\n`docker kill` of a worker on a GPU: one that waited has it {seconds:.2f} s later")
    assert seconds < 10


def test_two_projects_of_a_host_share_its_gpus(stack: Stack, tmp_path: Path) -> None:
    """And `down --volumes` of one takes nothing from the other."""
    with_gpus(stack, 1, "--trials", "1", "--seconds", "2")
    volume = stack.env()["CLUSTER_SLOTS_VOLUME"]
    (tmp_path / "other").mkdir()
    other = Stack(f"{stack.project[:50]}-other", tmp_path / "other", {"CLUSTER_SLOTS_VOLUME": volume})
    with_gpus(other, 1, "--trials", "1", "--seconds", "1")
    try:
        assert stack.up("-d").returncode == 0
        stack.wait_for_line("worker", "cluster: on gpu 0")
        assert other.up("-d").returncode == 0
        other.wait_for_line("worker", WAITS)
        stack.wait_for_line("worker", "begins on")
        stack.wait()
        check_completed(stack.results / "devices", 1)
        first = seen(stack.results)
        stack.down()  # with its volumes

        other.wait()
        check_completed(other.results / "devices", 1)
        check_all_ended_well(other.containers("worker"), 1)
        check_that_no_two_shared_a_gpu(first + seen(other.results))
    finally:
        other.down()
    stack.down()
    assert volume not in docker("volume", "ls", "--quiet").split()


def test_the_trainers_of_a_host_share_its_cores(stack: Stack) -> None:
    """Each container sees all of them; the chief knows by the kernel's boot id that it is the same ones."""
    stack.program("devices_seen.py", "--trials", "16")
    done = stack.up("--scale", "worker=2")
    assert done.returncode == 0, done.stdout

    check_completed(stack.results / "devices", 16)
    check_all_ended_well(stack.containers("worker"), 2)
    [total] = {int(cores) for cores in re.findall(r"on cpu, with \d+ of (\d+) cores", stack.logs("worker"))}
    if total < 2:
        pytest.skip("one core cannot be shared out")
    last = {trial["host"]: set(trial["cores"]) for trial in seen(stack.results)}  # shares settle after some seconds
    one, other = last.values()
    assert not one & other
    assert len(one | other) == total
    assert abs(len(one) - len(other)) <= 1
    assert {trial["gpu"] for trial in seen(stack.results)} == {None}
