"""The profile `ui` in real containers: the page and TensorBoard beside a search, for this host alone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.stack import Stack, docker
from tests.e2e.test_dashboard import free_port

pytestmark = [pytest.mark.containers, pytest.mark.timeout(280, func_only=True)]


def answer(url: str, **headers: str) -> httpx.Response:
    """What is answered as soon as anything is; the test's timeout bounds the wait."""
    while True:
        try:
            return httpx.get(url, headers=headers)
        except httpx.TransportError:
            time.sleep(0.2)


def bearer(stack: Stack) -> dict[str, str]:
    """The header of those who know the token, which is in the volume alone."""
    token = docker(*stack.compose("exec", "-T", "dashboard", "cat", "/token/token"), env=stack.env())
    return {"Authorization": f"Bearer {token.strip()}"}


def bindings(stack: Stack, service: str) -> set[str]:
    """The host addresses at which a service is published."""
    [container] = stack.containers(service)
    ports = json.loads(docker("inspect", container.id))[0]["NetworkSettings"]["Ports"]
    return {binding["HostIp"] for published in ports.values() for binding in published or []}


@pytest.fixture
def ports(stack: Stack) -> tuple[int, int]:
    """The profile is on, with ports for the page and for TensorBoard."""
    found = free_port(), free_port()
    stack.settings["COMPOSE_PROFILES"] = "ui"
    stack.settings |= {"CLUSTER_DASHBOARD_PORT": str(found[0]), "CLUSTER_TENSORBOARD_PORT": str(found[1])}
    return found


def test_the_page_and_tensorboard_show_a_running_search(stack: Stack, ports: tuple[int, int]) -> None:
    stack.program("sleep_trials.py", "--trials", "12")
    assert stack.up("-d", "--scale", "worker=2").returncode == 0
    page = f"http://127.0.0.1:{ports[0]}/"
    assert answer(page + "healthz").text == "ok"
    headers = bearer(stack)
    with httpx.stream("GET", page + "api/events", headers=headers, timeout=120) as stream:
        assert any('"name": "sleep"' in line for line in stream.iter_lines())
    [search] = httpx.get(page + "api/searches", headers=headers).json()["searches"]
    assert httpx.get(f"{page}api/searches/{search['id']}", headers=headers).json()["header"]["max_trials"] == 12
    assert "TensorBoard" in answer(f"http://127.0.0.1:{ports[1]}/").text
    for service in ("dashboard", "tensorboard"):
        assert bindings(stack, service) == {"127.0.0.1"}

    stack.wait("chief", "worker")
    project = Path(stack.results / "sleep")
    assert len(list(project.glob("trial_*/trial.json"))) == 12
    answered = httpx.get(f"{page}api/searches/{search['id']}", headers=headers).json()["header"]
    assert (answered["state"], answered["counts"]) == ("ended", {"completed": 12}), "it stays"
    docker(*stack.compose("stop"), env=stack.env())
    assert [one.exit_code for one in stack.containers("dashboard")] == [0]


def test_a_token_is_asked_for(stack: Stack, ports: tuple[int, int]) -> None:
    stack.program("sleep_trials.py", "--trials", "2")
    assert stack.up("-d", "dashboard").returncode == 0
    page = f"http://127.0.0.1:{ports[0]}/"
    assert answer(page + "api/searches").status_code == 401
    known = bearer(stack)
    assert answer(page + "api/searches", **known).json()["searches"] == []
    token = known["Authorization"].removeprefix("Bearer ")
    [container] = stack.containers("dashboard")
    assert token not in docker("inspect", container.id) + stack.logs("dashboard")


def test_without_the_profile_there_is_neither(stack: Stack) -> None:
    services = docker(*stack.compose("config", "--services"), env=stack.env()).split()
    assert set(services) == {"prepare", "chief", "worker"}
