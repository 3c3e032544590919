"""The page as a command and beside a search, in real processes; and a chief that is asked from outside."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.access import BEARER
from tests.e2e.launcher import PROGRAMS, Running, cluster
from tests.made_up import MadeUp, write


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def searches(url: str) -> list[str]:
    return [x["name"] for x in httpx.get(url + "api/searches", headers=BEARER).json()["searches"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(
    start: Callable[..., Running], tmp_path: Path, number: signal.Signals
) -> None:
    write(tmp_path / "results" / "one")
    page = start("dashboard", "results", "--dashboard-address", "127.0.0.1:0")
    url = page.read_until(r"results is at (http://127.0.0.1:\d+/) \(Ctrl-C ends it\)")[1]
    assert searches(url) == ["one"]
    with httpx.stream("GET", url + "api/events", headers=BEARER) as looking:
        next(looking.iter_lines())
        page.process.send_signal(number)
        assert page.end() == 0, page.output
    assert "Traceback" not in page.output


def test_what_it_cannot_serve_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    project = str(write(tmp_path / "project"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for code, text, *words in (
            (2, "empty is no project directory", "empty"),
            (2, "none is not there", "none"),
            (2, "could be read and changed on the way", project, "--dashboard-address", "192.0.2.1:0"),
            (2, "is no address", project, "--dashboard-address", "8080"),
            (5, "in use. Choose another address", project, "--dashboard-address", f"127.0.0.1:{port}"),
            (7, "no chief answers at 127.0.0.1:9", "127.0.0.1:9"),
        ):
            done = cluster(tmp_path, "dashboard", *map(str, words))
            # An option that makes no sense by itself comes with how the command is used.
            first, *more = done.stdout.splitlines()
            assert (done.returncode, bool(more)) == (code, first.startswith("Usage: ")), done.stdout
            assert str(text) in (more or [first])[-1]


def test_it_waits_for_a_search_where_it_is_told_to(start: Callable[..., Running], tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    page = start("dashboard", "results", "--wait", "--dashboard-address", "127.0.0.1:0", CLUSTER_TOKEN="secret")
    url = page.read_until(r"is at (\S+)")[1]
    headers = {"Authorization": "Bearer secret"}
    assert httpx.get(url + "api/searches").status_code == 401
    assert httpx.get(url + "readyz", headers=headers).status_code == 503
    write(tmp_path / "results" / "new")
    with httpx.stream("GET", url + "api/events", headers=headers, timeout=30) as stream:
        assert any("new" in line for line in stream.iter_lines())
    assert httpx.get(url + "readyz", headers=headers).status_code == 200


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["local", "workers"])
def test_beside_a_search_and_gone_with_it(start: Callable[..., Running], tmp_path: Path, options: list[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    run = start("run", *options, "--dashboard", str(PROGRAMS / "sleep_trials.py"), CLUSTER_DASHBOARD_ADDRESS=address)
    run.read_until(f"the page is at http://{address}/")
    with httpx.stream("GET", f"http://{address}/api/events", headers=BEARER, timeout=60) as stream:
        assert any('"name": "sleep"' in line for line in stream.iter_lines())
    assert run.end() == 0, run.output
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{address}/healthz")


def test_what_is_wrong_with_the_page_is_said_before_the_search(tmp_path: Path) -> None:
    for options in ([], ["--workers", "2"]):
        words = [
            "run",
            *options,
            "--dashboard",
            "--dashboard-address",
            "192.0.2.1:80",
            str(PROGRAMS / "sleep_trials.py"),
        ]
        done = cluster(tmp_path, *words)
        assert (done.returncode, len(done.stdout.splitlines())) == (2, 1), done.stdout
    assert not (tmp_path / "results").exists()


def test_a_chief_is_asked_from_outside(start: Callable[..., Running], tmp_path: Path) -> None:
    """`status` and the page know from the chief alone what it does, and the page keeps it when the chief has gone."""
    address, program = f"127.0.0.1:{free_port()}", [str(PROGRAMS / "sleep_trials.py"), "--trials", "200"]
    chief = start("chief", "--listen", address, *program)
    start("worker", "--chief", address, "--name", "only", *program)
    chief.read_until("trial 000 →")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = cluster(elsewhere, "status", address, "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert (found["state"], found["max_trials"], found["trials"][0]["worker"]) == ("running", 200, "only")

    page = start("dashboard", address, "--dashboard-address", "127.0.0.1:0")
    url = page.read_until(r"is at (\S+)")[1]
    assert searches(url) == ["sleep"]
    chief.process.send_signal(signal.SIGKILL)
    chief.process.wait()
    with httpx.stream("GET", url + "api/events", headers=BEARER, timeout=60) as stream:
        assert any(re.search(r'"away": "the chief at \S+ does not answer"', line) for line in stream.iter_lines())
    assert searches(url) == ["sleep"]


def test_status_of_a_chief_that_is_not_there(tmp_path: Path) -> None:
    done = cluster(tmp_path, "status", "127.0.0.1:9")
    assert (done.returncode, len(done.stdout.splitlines())) == (7, 1)
    assert "no chief answers at 127.0.0.1:9" in done.stdout


def test_a_search_that_is_over_is_shown_as_it_ended(start: Callable[..., Running], tmp_path: Path) -> None:
    project = write(tmp_path / "project", MadeUp(trials=5, max_trials=5))
    page = start("dashboard", str(project), "--dashboard-address", "127.0.0.1:0")
    url = page.read_until(r"is at (\S+)")[1]
    [search] = httpx.get(url + "api/searches", headers=BEARER).json()["searches"]
    assert search["state"] == "ended"
