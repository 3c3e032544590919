"""How many trials run on Ray at once, as its hosts come and go."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.errors import ChiefUnreachable
from cluster.ray_backend import connect
from cluster.ray_backend.connect import LOOK_SECONDS, Places, Room


class Ray:
    """A cluster whose hosts are what the test says."""

    def __init__(self) -> None:
        self.hosts: list[dict[str, float]] = []
        self.now = 0.0

    def nodes(self) -> list[dict[str, Any]]:
        gone = {"Alive": False, "Resources": {"CPU": 64.0}}
        return [gone, *({"Alive": True, "Resources": host} for host in self.hosts)]

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(connect, "time", SimpleNamespace(monotonic=lambda: ray.now, sleep=ray.sleep))
    return ray


def test_places_follow_the_hosts(ray: Ray) -> None:
    places = Places(Room(1.0, 0.0, 1), None)
    ray.hosts = [{}, {"CPU": 1.0}, {"CPU": 2.0}]
    assert places() == 1, "as it was a moment ago"
    ray.sleep(LOOK_SECONDS)
    assert places() == 3
    ray.hosts.pop()
    ray.sleep(LOOK_SECONDS)
    assert places() == 1


def test_there_are_no_more_than_the_user_wants(ray: Ray) -> None:
    places = Places(Room(1.0, 0.0, 1), 2)
    ray.hosts = [{"CPU": 1.0}] * 5
    ray.sleep(LOOK_SECONDS)
    assert places() == 2


def test_a_host_counts_by_what_it_has_least_of(ray: Ray) -> None:
    places = Places(Room(2.0, 0.5, 1), None)
    ray.hosts = [{"CPU": 16.0, "GPU": 1.0}, {"CPU": 3.0, "GPU": 4.0}, {"CPU": 64.0}]
    ray.sleep(LOOK_SECONDS)
    assert places() == 2 + 1 + 0


def test_a_cluster_without_hosts_is_given_up(ray: Ray) -> None:
    places = Places(Room(1.0, 0.0, 1), None)
    ray.sleep(LOOK_SECONDS)
    assert places() == 0
    ray.sleep(connect.JOIN_SECONDS / 2)
    ray.hosts = [{"CPU": 1.0}]
    assert places() == 1
    ray.hosts = []
    ray.sleep(LOOK_SECONDS)
    assert places() == 0
    ray.sleep(connect.JOIN_SECONDS)
    with pytest.raises(ChiefUnreachable, match="no host of the Ray cluster has had room"):
        places()


def test_the_first_worker_is_waited_for(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.hosts = [{"memory": 1.0}]
    monkeypatch.setattr("cluster.ray_backend.connect.time.sleep", lambda seconds: ray.hosts.append({"CPU": 1.0}))
    connect._await_host(ray, "head:6379")
    assert len(ray.hosts) == 2


def test_a_worker_that_never_comes_is_not_waited_for_for_ever(ray: Ray) -> None:
    with pytest.raises(ChiefUnreachable, match="no worker has joined the Ray cluster at head:6379 within 120 s"):
        connect._await_host(ray, "head:6379")
    assert ray.now == pytest.approx(connect.JOIN_SECONDS, abs=1.0)
