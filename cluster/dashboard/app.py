"""The page's routes: itself, its changes as server-sent events, trials, figures, health.

Owns what is answered where. What is in the answers is `feed.py`'s and `plots.py`'s; who gets them is `access.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import importlib.metadata
import importlib.util
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cluster.dashboard.access import LoginKey, SafeHeaders, TokenNeeded
from cluster.dashboard.feed import delta, detail, header
from cluster.dashboard.hub import Hub
from cluster.dashboard.plots import Figure, Plots, as_json
from cluster.dashboard.sources import Away
from cluster.record import Record, Trial
from cluster.watched import Reading

STATIC = Path(__file__).parent / "static"
REVALIDATE = {"Cache-Control": "no-cache"}
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
HEAD_SECONDS = 5.0  # how often times and rates are sent again, though nothing has changed
Curve = Callable[[Record, Trial], dict[str, Any] | None]


def make_app(
    hub: Hub,
    token: str,
    *,
    place: str = "",
    key: LoginKey | None = None,
    refused: Callable[[], None] = lambda: None,
    figures: Mapping[str, Figure] | None = None,
    curve: Curve | None = None,
    metrics: Callable[[], bytes] | None = None,
    content_type: str = "text/plain; version=0.0.4; charset=utf-8",
) -> Starlette:
    """The page as an application of ASGI.

    Args:
        hub: The searches.
        token: What those who look must know.
        place: Where a reader finds it, in words.
        key: Logs one browser in, by a link.
        refused: Told of each request that was not let in.
        figures: The plots, by name; None for those of the report.
        curve: A trial's plot of its epochs; None for the report's.
        metrics: Gives the metrics; None: there is no /metrics.
        content_type: What they are.
    """
    if figures is None or curve is None:
        from cluster.report.curves import curve as drawn_curve
        from cluster.report.figures import FIGURES

        figures = {name: x.draw for name, x in FIGURES.items()} if figures is None else figures
        curve = curve or drawn_curve
    page = _Page(hub, Plots(figures), curve)
    routes = [
        Route("/", page.index),
        Route("/healthz", page.alive),
        Route("/readyz", page.ready),
        Route("/api/searches", page.searches),
        Route("/api/events", page.events),
        Route("/api/searches/{search}", page.search),
        Route("/api/searches/{search}/events", page.events),
        Route("/api/searches/{search}/figures/{figure}", page.figure),
        Route("/api/searches/{search}/trials/{trial}", page.trial),
        Route("/static/plotly.min.js", page.plotly),
        Mount("/static", _Static(directory=STATIC)),
    ]
    if metrics is not None:
        give = metrics

        async def answer(_: Request) -> Response:
            await hub.fresh()
            return Response(await asyncio.to_thread(give), headers={"Content-Type": content_type})

        routes.append(Route("/metrics", answer))
    guard = Middleware(TokenNeeded, token=token, place=place, key=key, refused=refused)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        reading = asyncio.create_task(hub.run())
        try:
            yield
        finally:
            reading.cancel()
            hub.source.close()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    app = Starlette(routes=routes, middleware=[Middleware(SafeHeaders), guard], lifespan=lifespan)
    app.router.redirect_slashes = False  # each page has one address
    return app


class _Static(StaticFiles):
    """The page's own files: asked for each time, and sent when they have changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(REVALIDATE)
        return response


class _Page:
    """What is answered."""

    def __init__(self, hub: Hub, plots: Plots, curve: Curve) -> None:
        self._hub = hub
        self._plots = plots
        self._curve = curve
        self._plotly: bytes | None = None

    async def index(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=REVALIDATE)

    async def alive(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(self, _: Request) -> Response:
        await self._hub.fresh()
        if self._hub.readings:
            return PlainTextResponse("ok")
        return PlainTextResponse(self._hub.away or "there is no search yet", 503)

    async def searches(self, _: Request) -> Response:
        await self._hub.fresh()
        return _json(self._about())

    async def search(self, request: Request) -> Response:
        reading = await self._find(request)
        return _json(await asyncio.to_thread(delta, reading, "", 0, time.time()))

    async def trial(self, request: Request) -> Response:
        reading = await self._find(request)
        search, name = str(request.path_params["search"]), str(request.path_params["trial"])
        trial = reading.record.trials.get(name)
        if trial is None:
            raise HTTPException(404, "there is no such trial")

        def found() -> bytes:
            try:
                output = self._hub.source.log(search, name)
            except (Away, KeyError):
                output = ""
            curve = self._curve(reading.record, trial)
            return as_json({**detail(reading.record, trial), "output": output, "curve": curve})

        return Response(await asyncio.to_thread(found), media_type="application/json")

    async def figure(self, request: Request) -> Response:
        reading = await self._find(request)
        search, name = str(request.path_params["search"]), str(request.path_params["figure"])
        try:
            body = await self._plots.get(search, reading, name)
        except KeyError:
            raise HTTPException(404, "there is no such figure") from None
        return Response(body, media_type="application/json")

    async def plotly(self, request: Request) -> Response:
        version, path = plotly()
        if path is None:
            raise HTTPException(404, "plotly is not installed")
        tag = f'"plotly-{version}"'
        kept = FOR_EVER if request.query_params.get("v") == version else REVALIDATE
        about = {**kept, "ETag": tag, "Content-Type": "text/javascript; charset=utf-8", "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**kept, "ETag": tag})
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return FileResponse(path, headers=about)
        if self._plotly is None:
            self._plotly = await asyncio.to_thread(_packed, path)
        return Response(self._plotly, headers={**about, "Content-Encoding": "gzip"})

    async def events(self, request: Request) -> Response:
        if "search" in request.path_params:
            await self._find(request)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        stream = self._stream(request.path_params.get("search"), request.headers.get("last-event-id", ""))
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def _stream(self, search: str | None, last: str) -> AsyncIterator[str]:
        """What the page does not know yet, as soon as there is something: the searches, a search, who is away."""
        mark, _, number = last.partition(".")
        version = int(number) if number.isdigit() else 0
        told: str | None = None
        headed = 0.0
        yield "retry: 1000\n\n"
        with self._hub.looking():
            await self._hub.fresh()
            while not self._hub.closing:
                about = json.dumps(self._about())
                if about != told:
                    told = about
                    yield f"event: searches\ndata: {about}\n\n"
                reading = self._hub.readings.get(search) if search is not None else None
                if reading is not None:
                    if mark != reading.mark or reading.record.version > version:
                        facts = await asyncio.to_thread(_delta, reading, mark, version)
                        mark, version = reading.mark, reading.record.version
                        headed = time.monotonic()
                        yield f"id: {mark}.{version}\nevent: changes\ndata: {facts}\n\n"
                    elif time.monotonic() - headed >= HEAD_SECONDS:
                        headed = time.monotonic()
                        facts = as_json({"header": header(reading.record, time.time())}).decode()
                        yield f"event: header\ndata: {facts}\n\n"
                elif time.monotonic() - headed >= HEAD_SECONDS:
                    headed = time.monotonic()
                    yield ": still here\n\n"
                await self._hub.next(HEAD_SECONDS)

    def _about(self) -> dict[str, Any]:
        """The searches in a few words each, the newest first, and whether their source can be reached."""
        newest_first = reversed(list(self._hub.readings.items()))
        known = [{"id": name, "name": x.record.name, "state": x.record.state} for name, x in newest_first]
        return {"searches": known, "away": self._hub.away, "source": self._hub.source.name, "plotly": plotly()[0]}

    async def _find(self, request: Request) -> Reading:
        await self._hub.fresh()
        reading = self._hub.readings.get(str(request.path_params["search"]))
        if reading is None:
            raise HTTPException(404, "there is no such search")
        return reading


def _delta(reading: Reading, mark: str, version: int) -> str:
    return as_json(delta(reading, mark, version, time.time())).decode()


def _json(value: Any) -> Response:
    return Response(as_json(value), media_type="application/json")


def _packed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), 6)


@functools.cache
def plotly() -> tuple[str, Path | None]:
    """The version of the installed plotly, and its script for browsers; the package, which is slow, is not run."""
    spec = importlib.util.find_spec("plotly")
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(place) / "package_data" / "plotly.min.js"
        if path.exists():
            return importlib.metadata.version("plotly"), path
    return "", None
