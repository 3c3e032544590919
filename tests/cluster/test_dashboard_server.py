"""The page's server, asked over HTTP: routes, events, headers, who may read it, and how it is refused."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Route

from cluster import exposure
from cluster.dashboard.access import LOGIN, OPEN
from cluster.dashboard.app import STATIC, make_app, plotly
from cluster.dashboard.hub import Hub
from cluster.dashboard.remote import source_of
from cluster.dashboard.serve import Access, Serving, beside, check_installed
from cluster.dashboard.sources import Directory
from cluster.errors import CannotListen, MissingDependency, UsageError
from cluster.report.layout import PALETTE
from cluster.rpc.tls import Identity
from tests.access import BEARER, CALLER, TOKEN
from tests.made_up import BEGAN, MadeUp, write

LOCAL = Access("127.0.0.1", 0, TOKEN)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "project", MadeUp(running=2, over=False))


@pytest.fixture
def page(project: Path) -> Iterator[httpx.Client]:
    yield from served(project, LOCAL, BEARER)


@pytest.fixture
def guarded(project: Path) -> Iterator[httpx.Client]:
    """Without the token."""
    yield from served(project, LOCAL)


def served(project: Path, access: Access, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Client]:
    serving = Serving(source_of(str(project), lambda: CALLER), access)
    with httpx.Client(base_url=serving.url, headers=headers, timeout=30) as client:
        yield client
    serving.close()


def search_of(page: httpx.Client) -> str:
    return str(page.get("api/searches").json()["searches"][0]["id"])


class Events:
    """Server-sent events, one after another."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def next(self, kind: str) -> tuple[str, Any]:
        """The next one of a kind: its id and its data."""
        event, last = "", ""
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                last = value
            elif name == "event":
                event = value
            elif name == "data" and event == kind:
                return last, json.loads(value)
        raise AssertionError(f"no event {kind!r}")


class TestRoutes:
    def test_which_searches_there_are(self, page: httpx.Client) -> None:
        found = page.get("api/searches").json()
        assert [(x["name"], x["state"]) for x in found["searches"]] == [("project", "running")]
        assert (found["away"], found["plotly"]) == ("", plotly()[0])

    def test_a_search_and_a_trial(self, page: httpx.Client) -> None:
        search = search_of(page)
        found = page.get(f"api/searches/{search}").json()
        assert (found["whole"], len(found["trials"]), found["header"]["name"]) == (True, 12, "project")
        trial = page.get(f"api/searches/{search}/trials/0000").json()
        assert trial["id"] == "0000"
        assert trial["curve"]["data"]
        assert (trial["output"], trial["message"]) == ("", "")

    @pytest.mark.parametrize("name", ["history", "parallel", "importance", "slices", "timeline", "curves"])
    def test_figures(self, page: httpx.Client, name: str) -> None:
        found = page.get(f"api/searches/{search_of(page)}/figures/{name}").json()
        assert found["figure"]["data"]
        assert found["version"] > 0

    @pytest.mark.parametrize(
        "path", ["api/searches/none", "api/searches/ID/trials/none", "api/searches/ID/figures/none", "static/none.js"]
    )
    def test_what_is_not_there(self, page: httpx.Client, path: str) -> None:
        assert page.get(path.replace("ID", search_of(page))).status_code == 404

    def test_nothing_above_the_static_files_is_served(self, page: httpx.Client) -> None:
        for path in ("static/../app.py", "static/%2e%2e/app.py", "static/..%2fapp.py", "static//etc/passwd"):
            assert page.get(path).status_code == 404

    def test_health(self, page: httpx.Client) -> None:
        assert (page.get("healthz").status_code, page.get("healthz").text) == (200, "ok")
        assert page.get("readyz").status_code == 200

    def test_it_is_not_ready_before_there_is_a_search(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        serving = Serving(Directory(tmp_path / "empty", empty=True), LOCAL)
        found = httpx.get(serving.url + "readyz", headers=BEARER)
        assert (found.status_code, found.text) == (503, "there is no search yet")
        assert httpx.get(serving.url + "healthz").status_code == 200
        serving.close()

    def test_metrics(self, page: httpx.Client) -> None:
        assert 'cluster_trials{search="project",status="completed"}' in page.get("metrics").text

    def test_all_that_the_page_asks_for_is_its_own(self) -> None:
        """No address outside in any file of the page."""
        for path in STATIC.iterdir():
            found = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text())
            assert [x for x in found if x != "http://www.w3.org"] == [], path.name

    def test_each_colour_of_the_figures_has_one_for_the_dark(self) -> None:
        known = (STATIC / "plots.js").read_text()
        assert [colour for colour in PALETTE if f'"{colour}": "#' not in known] == []

    def test_the_script_for_plots_is_the_installed_packages(self, page: httpx.Client) -> None:
        version = plotly()[0]
        found = page.get("static/plotly.min.js", params={"v": version})
        assert "immutable" in found.headers["cache-control"]
        assert found.headers["content-encoding"] == "gzip"
        assert b"plotly.js v" in found.content[:500]
        again = page.get("static/plotly.min.js", headers={"If-None-Match": found.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")
        plain = page.get("static/plotly.min.js", headers={"Accept-Encoding": "identity"})
        assert plain.content == found.content


class TestEvents:
    def test_what_changes_arrives_and_no_more(self, page: httpx.Client, project: Path) -> None:
        search = search_of(page)
        with page.stream("GET", f"api/searches/{search}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            events = Events(stream.iter_lines())
            assert events.next("searches")[1]["searches"][0]["id"] == search
            _, first = events.next("changes")
            assert (first["whole"], len(first["trials"])) == (True, 12)
            with (project / "epochs.jsonl").open("a") as file:
                about = {"trial": "0011", "attempt": 1, "epoch": 2, "of": 4, "logs": {"val_accuracy": 0.5}}
                file.write(json.dumps({"time": BEGAN + 99, "event": "epoch", **about}) + "\n")
            last, second = events.next("changes")
            assert (second["whole"], [x["id"] for x in second["trials"]]) == (False, ["0011"])
        with page.stream("GET", f"api/searches/{search}/events", headers={"Last-Event-ID": last}) as stream:
            with (project / "epochs.jsonl").open("a") as file:
                about = {"trial": "0010", "attempt": 1, "epoch": 2, "of": 4, "logs": {"val_accuracy": 0.5}}
                file.write(json.dumps({"time": BEGAN + 99, "event": "epoch", **about}) + "\n")
            _, third = Events(stream.iter_lines()).next("changes")
            assert [x["id"] for x in third["trials"]] == ["0010"], "it goes on where the browser was"

    def test_a_search_that_begins_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "results").mkdir()
        serving = Serving(Directory(tmp_path / "results", empty=True), LOCAL)
        with httpx.stream("GET", serving.url + "api/events", headers=BEARER, timeout=30) as stream:
            events = Events(stream.iter_lines())
            assert events.next("searches")[1]["searches"] == []
            write(tmp_path / "results" / "new")
            assert [x["name"] for x in events.next("searches")[1]["searches"]] == ["new"]
        serving.close()

    def test_it_ends_with_somebody_looking(self, page: httpx.Client, project: Path) -> None:
        serving = Serving(source_of(str(project), lambda: CALLER), LOCAL)
        with httpx.stream("GET", serving.url + "api/events", headers=BEARER, timeout=30) as stream:
            lines = stream.iter_lines()
            next(lines)
            serving.stop()
            for _ in lines:
                pass
        serving.wait()


class TestHeaders:
    @pytest.mark.parametrize("path", ["", "api/searches", "static/page.js", "healthz", "none"])
    def test_every_answer_has_them(self, page: httpx.Client, path: str) -> None:
        headers = page.get(path).headers
        policy = dict(x.strip().split(" ", 1) for x in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["connect-src"] == policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "'unsafe-inline'" not in policy["script-src"]
        assert not re.search(r"https?:|\*", headers["content-security-policy"])
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in headers

    @pytest.mark.parametrize("host", ["localhost:8080", "[::1]:8080", "192.168.1.7", "tuning.example"])
    def test_it_is_called_by_any_name(self, page: httpx.Client, host: str) -> None:
        assert page.get("api/searches", headers={"Host": host}).status_code == 200


class TestToken:
    def test_no_route_answers_without_it(self, guarded: httpx.Client, tmp_path: Path) -> None:
        app = make_app(Hub(Directory(tmp_path, empty=True)), TOKEN.value, metrics=lambda: b"")
        paths = []
        for route in app.routes:
            if isinstance(route, Mount):
                paths.append(f"{route.path}/page.js")
            else:
                assert isinstance(route, Route), f"{route} is of a kind that this test does not know"
                paths.append(re.sub(r"{\w+}", "x", route.path))
        assert len(paths) > 10
        assert OPEN == ("/healthz",)
        for path in {*paths, LOGIN, "/none"} - set(OPEN):
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                assert guarded.request(method, path).status_code == 401, f"{method} {path}"
        assert guarded.get(OPEN[0]).status_code == 200

    @pytest.mark.parametrize(
        "header",
        ["Bearer", "Bearer wrong", f"Basic {TOKEN.value}", TOKEN.value, f"Bearer {TOKEN.value}x", "Bearer \xff"],
    )
    def test_a_wrong_one_is_refused(self, guarded: httpx.Client, header: str) -> None:
        answer = guarded.get("api/searches", headers={b"Authorization": header.encode("latin-1")})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN.value not in answer.text

    def test_the_right_one_is_answered(self, guarded: httpx.Client) -> None:
        assert guarded.get("api/searches", headers=BEARER).status_code == 200
        assert guarded.get("metrics", headers=BEARER).status_code == 200

    def test_a_browser_logs_in(self, guarded: httpx.Client) -> None:
        asked = guarded.get("", headers={"Accept": "text/html,*/*"})
        assert asked.status_code == 401
        assert 'name="token" type="password"' in asked.text
        assert "The token is in <code>the tests</code>" in asked.text
        wrong = guarded.post("login", data={"token": "wrong"})
        assert (wrong.status_code, "That is not the token" in wrong.text) == (401, True)
        assert not guarded.cookies
        right = guarded.post("login", data={"token": TOKEN.value})
        assert (right.status_code, right.headers["location"]) == (303, "./")
        [cookie] = right.headers.get_list("set-cookie")
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert TOKEN.value not in cookie
        assert guarded.get("").status_code == 200
        assert guarded.get("api/searches").status_code == 200
        name, _, value = cookie.partition(";")[0].partition("=")
        guarded.cookies.clear()
        assert guarded.get("", headers={"Cookie": f"{name}={value[:-1]}x"}).status_code == 401

    def test_a_link_logs_one_browser_in(self, project: Path) -> None:
        serving = Serving(source_of(str(project), lambda: CALLER), replace(LOCAL, terminal=True))
        with httpx.Client(timeout=30) as one, httpx.Client(timeout=30) as other:
            assert one.get(f"{serving.url}login?key=wrong").status_code == 401
            assert one.get(serving.link).headers["location"] == "./"
            assert one.get(serving.url).status_code == 200
            late = other.get(serving.link, headers={"Accept": "text/html"})
            assert (late.status_code, "That link was used before." in late.text) == (401, True)
            assert other.get(serving.url).status_code == 401
        serving.close()

    def test_where_no_terminal_is_there_is_no_link(self, guarded: httpx.Client, project: Path) -> None:
        serving = Serving(source_of(str(project), lambda: CALLER), LOCAL)
        assert serving.link == serving.url
        serving.close()
        for key in ("", "None"):
            assert guarded.get("login", params={"key": key}).status_code == 401

    def test_those_who_were_refused_are_counted(self, guarded: httpx.Client) -> None:
        guarded.get("api/searches")
        guarded.post("login", data={"token": "wrong"})
        assert 'cluster_refused_total{kind="request"} 2.0' in guarded.get("metrics", headers=BEARER).text

    def test_a_form_without_end_is_not_read_to_its_end(self, guarded: httpx.Client) -> None:
        assert guarded.post("login", content=b"token=" + b"x" * 100_000).status_code == 413


class TestAccess:
    @pytest.mark.parametrize("address", ["127.0.0.1:8080", "localhost:80", "[::1]:8080", "127.9.9.9:1"])
    def test_here_it_needs_no_tls(self, address: str) -> None:
        assert Access.of(address, {"CLUSTER_TOKEN": " t "}).token.value == "t"

    @pytest.mark.parametrize("address", ["0.0.0.0:8080", "192.168.1.7:8080", "tuning.example:8080", "[::]:8080"])
    def test_elsewhere_it_does(self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exposure, "in_private_network", lambda *_: False)
        given = {"CLUSTER_TOKEN": "t"}
        with pytest.raises(UsageError, match=r"could be read and changed on the way .*--tls-cert"):
            Access.of(address, given)
        assert Access.of(address, given, insecure=True).tls is None
        identity = Identity(tmp_path / "certificate", tmp_path / "key")
        assert Access.of(address, given, tls=identity).tls == identity

    def test_without_a_token_one_is_made(self, tmp_path: Path) -> None:
        made = Access.of("127.0.0.1:1", {"HOME": str(tmp_path)}).token
        assert made == Access.of("127.0.0.1:2", {"HOME": str(tmp_path)}).token
        assert made.file == tmp_path / ".keras-tuning-cluster" / "token"

    @pytest.mark.parametrize("address", ["", "8080", ":8080", "host:", "host:x", "host:70000"])
    def test_an_address_that_is_none(self, address: str) -> None:
        with pytest.raises(UsageError, match=r"is no address; give HOST:PORT"):
            Access.of(address, {})

    def test_a_token_file(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        with pytest.raises(UsageError, match="cannot be read: No such file"):
            Access.of("127.0.0.1:1", {}, path)
        path.write_text("secret\n")
        assert Access.of("127.0.0.1:1", {"CLUSTER_TOKEN": "other"}, path).token.value == "secret"

    def test_a_port_that_is_taken(self, project: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(CannotListen, match=rf"cannot be served at 127.0.0.1:{port}: .*in use"):
                Serving(source_of(str(project), lambda: CALLER), Access("127.0.0.1", port, TOKEN))

    def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "starlette", None)
        with pytest.raises(MissingDependency, match=r"needs starlette: pip install 'keras-tuning-cluster\[ui\]'"):
            check_installed()

    def test_beside_a_search(self, project: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("INFO", "cluster"), beside(LOCAL) as told:
            [look] = told.lookers
            look(project)
            url = re.findall(r"http://127.0.0.1:\d+/", caplog.text)[0]
            assert [x["name"] for x in httpx.get(url + "api/searches", headers=BEARER).json()["searches"]] == [
                "project"
            ]
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
