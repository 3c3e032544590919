"""The live page in a real browser: beside a running search, over made-up ones, with a server that goes and comes.

Needs the system's Chromium. Without it these tests are skipped, with the reason; with CLUSTER_E2E=required they fail.
Figures that are printed are for people: nothing is asserted about time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from cluster.dashboard.remote import source_of
from cluster.dashboard.serve import Access, Serving
from tests.access import BEARER, CALLER, TOKEN
from tests.e2e.launcher import Running
from tests.made_up import MadeUp, write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Parallel coordinates are drawn by WebGL, on the processor where there is no GPU.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
VIEWS = ["overview", "parallel", "importance", "slices", "curves", "timeline", "trials", "workers", "trial/0003"]
MARKUP = '<img src=x onerror="window.injected=1"><b>bold</b>'
PATIENCE = 60_000  # ms, on a busy machine


def _missing() -> str | None:
    """Why there is no browser, or None where there is one."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "the package playwright is not installed"
    return None if Path(CHROMIUM).exists() else f"there is no {CHROMIUM}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    reason = _missing()
    if reason is not None and os.environ.get("CLUSTER_E2E") == "required":
        pytest.fail(f"CLUSTER_E2E=required, and there is no browser: {reason}")
    if reason is not None:
        pytest.skip(f"there is no browser: {reason}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page, and what it did: its requests, what its console said, what it opened."""

    page: Page
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    away: bool = False  # the server is not there at the moment, which the console of a browser calls an error

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("dialog", self._opened)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and not self.away:
            self.console.append(message.text)

    def _opened(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def check(self) -> None:
        """It asked this host alone, and nothing went wrong."""
        assert {urlsplit(url).hostname for url in self.requests if not url.startswith(("data:", "blob:"))} == {
            "127.0.0.1"
        }
        # Software WebGL reads slowly, which the driver says and nobody minds.
        assert [text for text in self.console if "GPU stall" not in text and "WebGL" not in text] == []
        assert self.dialogs == []

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Seen]]:
    """Opens a page in a window of its own, and checks at the end what it did."""
    contexts: list[BrowserContext] = []
    opened: list[Seen] = []

    def visit(
        url: str, width: int = 1280, dark: bool = False, away: bool = False, headers: dict[str, str] = BEARER
    ) -> Seen:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            extra_http_headers=headers,
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        seen = Seen(context.new_page(), away=away)
        opened.append(seen)
        seen.page.goto(url)
        return seen

    yield visit
    try:
        for seen in opened:
            seen.check()
    finally:
        for context in contexts:
            context.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    """Serves the page of a directory; gone when the test ends."""
    servings: list[Serving] = []

    def serve(place: Path, port: int = 0, terminal: bool = False) -> Serving:
        access = Access("127.0.0.1", port, TOKEN, terminal=terminal)
        servings.append(Serving(source_of(str(place), lambda: CALLER), access))
        return servings[-1]

    yield serve
    for serving in servings:
        serving.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def rows(page: Page) -> Any:
    return page.locator("table.trials tbody tr")


def column(page: Page, number: int) -> list[str]:
    """The texts of a column of the table of trials, from 1."""
    return list(page.locator(f"table.trials tbody tr > :nth-child({number})").all_text_contents())


def look_at(page: Page, view: str) -> None:
    """Goes to a view, and waits until it is there: its plot, and what that shows in words."""
    page.evaluate(f"location.hash = '#{view}'")
    main = page.locator(f"main[data-view={view.partition('/')[0]}]")
    main.locator("h2").first.wait_for()
    if view not in ("trials", "workers"):
        main.locator(".plot .main-svg").first.wait_for()
        main.locator(".plot figcaption:not(:empty)").first.wait_for()


def test_beside_a_running_search(start: Callable[..., Running], visit: Callable[..., Seen], tmp_path: Path) -> None:
    """Trials arrive without a reload, from real processes; a trial, its curve; the table sorts and filters."""
    port = free_port()
    options = ["--workers", "2", "--dashboard", "--dashboard-address", f"127.0.0.1:{port}"]
    tune = [
        "--oracle",
        "random",
        "--max-trials",
        "4",
        "--epochs",
        "2",
        "--train-samples",
        "2000",
        "--data",
        "generated",
    ]
    run = start("run", *options, "-m", "fashion", "tune", *tune, "--project", "live", PYTHONPATH=os.getcwd())
    run.read_until("the page is at")
    seen = visit(f"http://127.0.0.1:{port}/#trials")
    page = seen.page
    # Before the search has begun, the page says so, and shows it when it does.
    rows(page).first.wait_for()
    loads = [url for url in seen.requests if url.endswith(f":{port}/")]
    assert len(loads) == 1
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length === 4")
    page.wait_for_function("document.querySelectorAll('[data-status=completed]').length >= 1")
    assert [url for url in seen.requests if url.endswith(f":{port}/")] == loads, "it was never loaded again"

    page.locator("table.trials tbody a").first.click()
    page.locator("h2.title").wait_for()
    assert page.locator("h2.title").text_content() == "Trial 0"
    page.locator(".plot .main-svg").first.wait_for()
    assert page.get_by_role("row", name=re.compile(r"^1 (running|completed)")).count() == 1

    page.get_by_role("link", name="Trials", exact=True).click()
    page.get_by_role("button", name="Score").click()
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending", "the best first"
    page.get_by_role("searchbox", name="Filter").fill("worker-1")
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length < 4")
    seen.away = True  # from here on the search may end, and the page with it
    assert run.end() == 0, run.output
    page.wait_for_function("document.getElementById('link').dataset.link === 'lost'")
    assert rows(page).count() > 0, "what was known stays"
    project = tmp_path / "results" / "live"
    assert len(list(project.glob("trial_*/trial.json"))) == 4


def test_names_with_markup_are_text(serve: Callable[..., Serving], visit: Callable[..., Seen], tmp_path: Path) -> None:
    project = write(tmp_path / MARKUP.replace("/", "_"), MadeUp(running=1, over=False, objective="<i>score</i>"))
    for path in [*project.glob("trial_*/trial.json"), project / "events.jsonl", project / "oracle.json"]:
        text = path.read_text().replace('"rate"', json.dumps(MARKUP)).replace('"adam"', json.dumps(MARKUP))
        text = text.replace("worker-1", json.dumps(MARKUP)[1:-1]).replace("no such layer", json.dumps(MARKUP)[1:-1])
        path.write_text(text.replace("-m fashion", json.dumps(MARKUP)[1:-1]))
    serving = serve(project)
    seen = visit(serving.url)
    page = seen.page
    page.locator(".plot .main-svg").first.wait_for()
    assert page.locator("#name").text_content() == project.name
    for view in VIEWS:
        look_at(page, view)
        assert page.evaluate("window.injected") is None, view
        # None of its own elements is of a kind that the names would make; plotly makes bold and tspans of its own.
        found = page.evaluate("[...document.querySelectorAll('img, b, i, script:not([src])')].map((x) => x.outerHTML)")
        assert found == [], view
    look_at(page, "trials")
    assert MARKUP in (page.locator("table.trials thead").text_content() or "")
    assert MARKUP in " ".join(column(page, 7) + column(page, 8) + column(page, 9))


def test_every_view(serve: Callable[..., Serving], visit: Callable[..., Seen], tmp_path: Path) -> None:
    """By links, in the light and in the dark, and on a phone without scrolling sideways."""
    serving = serve(write(tmp_path / "sixty", MadeUp(trials=60, max_trials=80, running=2, over=False)))
    for width, dark in ((1280, False), (1280, True), (360, False)):
        seen = visit(serving.url, width, dark)
        page = seen.page
        page.get_by_role("navigation", name="Views").get_by_role("link").first.wait_for()
        for view in VIEWS:
            look_at(page, view)
            assert seen.overflow() == 0, f"{view} at {width} px"
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(re.findall(r"\d+", ground)[0])
        assert (red < 60) == dark
    page.get_by_role("button", name="Colours").click()  # light
    page.get_by_role("button", name="Colours").click()  # dark
    page.reload()
    page.locator("main h2").first.wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark", "what was chosen stays"


def test_two_thousand_trials(
    serve: Callable[..., Serving],
    visit: Callable[..., Seen],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serving = serve(write(tmp_path / "many", MadeUp(trials=2000, max_trials=2000, workers=8, failed=40, lost=30)))
    began = time.monotonic()
    seen = visit(f"{serving.url}#trials")
    page = seen.page
    rows(page).first.wait_for()
    shown = time.monotonic() - began
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    assert not any("plotly" in url for url in seen.requests), "nobody has looked at a plot"
    assert page.locator(".filters p").text_content() == "2,000 trials"
    assert rows(page).count() == 50
    sort = """() => new Promise((done) => {
        const from = performance.now();
        [...document.querySelectorAll('thead button')].find((x) => x.textContent.startsWith('rate')).click();
        const clicked = performance.now() - from;
        requestAnimationFrame(() => setTimeout(() => done([clicked, performance.now() - from])));
    })"""
    clicked, painted = page.evaluate(sort)
    rates = [float(x) for x in column(page, 6)]
    assert rates == sorted(rates)
    assert len(rates) == 50
    page.get_by_role("button", name="Next").click()
    assert float(column(page, 6)[0]) >= rates[-1]
    assert page.locator(".pages span").text_content() == "51\u2013100 of 2,000"
    page.get_by_role("combobox", name="Status").select_option("failed")
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length === 40")
    page.get_by_role("searchbox", name="Filter").fill("0051")
    assert page.locator(".filters p").text_content() == "1 of 2,000 trials"
    with capsys.disabled():
        print(
            f"\n2,000 trials: first paint after {paint:.0f} ms, the table after {shown:.1f} s, "
            f"sorted in {clicked:.0f} ms and painted after {painted:.0f} ms"
        )


def test_by_the_keyboard(serve: Callable[..., Serving], visit: Callable[..., Seen], tmp_path: Path) -> None:
    serving = serve(write(tmp_path / "project"))
    page = visit(f"{serving.url}#trials").page
    rows(page).first.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("button", name="Score").focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('tbody') !== null"):
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "what has the focus is seen"
    name = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.locator("h2.title").wait_for()
    assert page.locator("h2.title").text_content() == f"Trial {name}"
    assert page.evaluate("document.activeElement.id") == "main"


def test_what_a_screen_reader_finds(serve: Callable[..., Serving], visit: Callable[..., Seen], tmp_path: Path) -> None:
    serving = serve(write(tmp_path / "project"))
    page = visit(serving.url).page
    page.locator(".plot .main-svg").first.wait_for()
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("heading", level=1).text_content() == "project"
    assert page.get_by_role("progressbar", name="Trials that have ended").get_attribute("aria-valuenow") == "12"
    assert page.locator("[aria-live=polite]").count() == 1
    assert "is of trial 0009." in (page.get_by_role("figure").text_content() or "")
    page.get_by_role("link", name="Trials", exact=True).click()
    page.get_by_role("columnheader", name="Score").wait_for()
    assert page.get_by_role("rowheader", name="0003").count() == 1


def test_a_server_that_goes_and_comes_back(
    serve: Callable[..., Serving], visit: Callable[..., Seen], tmp_path: Path
) -> None:
    project = write(tmp_path / "project", MadeUp(trials=8, running=1, over=False))
    port = free_port()
    first = serve(project, port)
    seen = visit(f"{first.url}#trials")
    page = seen.page
    page.wait_for_function("document.getElementById('link').dataset.link === 'live'")
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length === 8")
    seen.away = True
    first.close()
    page.wait_for_function("document.getElementById('link').dataset.link === 'lost'")
    assert "server away" in (page.locator("#link").text_content() or "")
    assert rows(page).count() == 8, "what was known stays"
    write(project, MadeUp(trials=10, running=1, over=False))
    serve(project, port)
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length === 10")
    page.wait_for_function("document.getElementById('link').dataset.link === 'live'")
    seen.away = False


def test_several_searches(serve: Callable[..., Serving], visit: Callable[..., Seen], tmp_path: Path) -> None:
    write(tmp_path / "first", MadeUp(trials=5, max_trials=5))
    os.utime(tmp_path / "first", (1, 1))
    write(tmp_path / "second")
    serving = serve(tmp_path)
    page = visit(f"{serving.url}#trials").page
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length === 12")
    picker = page.get_by_role("combobox", name="Search")
    assert picker.locator("option").all_text_contents() == ["second", "first"], "the newest first"
    picker.select_option("first")
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length === 5")
    assert page.locator("#name").text_content() == "first"
    page.reload()
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length === 5")
    write(tmp_path / "third", MadeUp(trials=3, max_trials=3))
    page.get_by_role("link", name="third").click()
    page.wait_for_function("document.getElementById('name').textContent === 'third'")


def test_a_search_begun_anew_takes_the_place_of_the_old(
    serve: Callable[..., Serving], visit: Callable[..., Seen], tmp_path: Path
) -> None:
    project = write(tmp_path / "project")
    serving = serve(project)
    page = visit(f"{serving.url}#trials").page
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length === 12")
    shutil.rmtree(project)
    write(project, MadeUp(trials=3, max_trials=3, lost=0, failed=0))
    page.wait_for_function("document.querySelectorAll('table.trials tbody tr').length === 3")


def test_the_link_of_a_terminal(serve: Callable[..., Serving], visit: Callable[..., Seen], tmp_path: Path) -> None:
    serving = serve(write(tmp_path / "project"), terminal=True)
    page = visit(serving.link, headers={}).page
    page.locator(".plot .main-svg").first.wait_for()
    assert page.url.split("#")[0] == serving.url, "the key is in no history"


def test_the_login(serve: Callable[..., Serving], visit: Callable[..., Seen], tmp_path: Path) -> None:
    serving = serve(write(tmp_path / "project"))
    seen = visit(serving.url, away=True, headers={})  # the console calls 401 an error
    page = seen.page
    page.get_by_label("token").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    page.get_by_label("token").fill(TOKEN.value)
    page.get_by_role("button", name="Log in").click()
    page.locator(".plot .main-svg").first.wait_for()
    seen.away = False
    assert page.evaluate("document.cookie") == "", "no script sees it"
    page.reload()
    page.wait_for_function("document.getElementById('link').dataset.link === 'live'")
