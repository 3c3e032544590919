"""The page's server and requests that no browser sends: each is answered, or its connection closed, and it stays up."""

from __future__ import annotations

import collections
import logging
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes

import h11
import httpx
import pytest

from cluster.dashboard.remote import source_of
from cluster.dashboard.serve import Access, Serving
from tests.access import BEARER, CALLER, TOKEN
from tests.made_up import MadeUp, write

# As many as CLUSTER_FUZZ_REQUESTS says, for who has the time: `make fuzz`.
COUNT = int(os.environ.get("CLUSTER_FUZZ_REQUESTS", "400"))
SECONDS = 10.0
ANSWERS = {200, 303, 304, 400, 401, 404, 405, 413}
PLACES = ["", "login", "healthz", "readyz", "metrics", "static/", "static/page.js", "api/searches", "api/searches/ID"]
PLACES += ["api/searches/ID/trials/0000", "api/searches/ID/figures/history", "static/plotly.min.js"]
TAILS = [
    "",
    "/..",
    "/../../etc/passwd",
    "%00",
    "?v=%ff",
    "?" + "a=b&" * 2000,
    "//",
    "/" + "x" * 5000,
    "\\..\\",
    "#x",
    ";",
    "%",
]
HEADERS = [
    "Authorization: Bearer",
    "Authorization: Basic AAAA",
    "Cookie: =;=;" + "a" * 3000,
    "Cookie: cluster_0=x; \xff",
    "If-None-Match: *",
    "Last-Event-ID: -1.x",
    "Accept: text/html",
    "Accept-Encoding: gzip;q=x",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Host:",
    "Range: bytes=9-1",
    "X: " + "y" * 20_000,
    ": none",
    "no colon",
]


def requests(search: str, seed: int) -> Iterator[bytes]:
    """Without end; the same seed gives the same."""
    chance = random.Random(seed)
    while True:
        if chance.random() < 0.1:
            yield chance.randbytes(chance.choice([1, 50, 5000])) + b"\r\n\r\n"
            continue
        method = chance.choice(["GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "BREW", "get", ""])
        place = chance.choice(PLACES).replace(
            "ID", chance.choice([search, "none", quote_from_bytes(chance.randbytes(8))])
        )
        version = chance.choice([*["HTTP/1.1"] * 8, "HTTP/1.0", "HTTP/9.9", "x"])
        lines = [
            f"{method} /{place}{chance.choice([*[''] * 8, *TAILS])} {version}",
            "Host: localhost",
            "Connection: close",
        ]
        if chance.random() < 0.6:
            lines.append(f"Authorization: {BEARER['Authorization']}")
        lines += chance.sample(HEADERS, chance.choice([0, 0, 0, 1, 3]))
        body = chance.choice([b"", b"token=x", chance.randbytes(9000)])
        yield "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def status(address: tuple[str, int], request: bytes) -> int:
    """What is answered; 0 where the connection is closed without an answer, or waits for more of the request."""
    with socket.create_connection(address, timeout=SECONDS) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            first = connection.recv(64)
        except (ConnectionError, BrokenPipeError):
            return 0
    return int(first.split()[1]) if first.startswith(b"HTTP/") else 0


def test_the_page_stays_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.ERROR)
    project = write(tmp_path / "project", MadeUp(trials=4, running=1, over=False))
    serving = Serving(source_of(str(project), lambda: CALLER), Access("127.0.0.1", 0, TOKEN))
    url = httpx.URL(serving.url)
    search = httpx.get(url.join("api/searches"), headers=BEARER).json()["searches"][0]["id"]
    counted: collections.Counter[int] = collections.Counter()
    sent = requests(search, 1)
    for _ in range(COUNT):
        request = next(sent)
        found = status((url.host, url.port or 0), request)
        assert found in {0, *ANSWERS}, request[:500]
        counted[found] += 1
    assert httpx.get(url.join("healthz")).text == "ok"
    assert httpx.get(url.join("api/searches"), headers=BEARER).json()["searches"][0]["id"] == search
    serving.close()
    # uvicorn tells of callers who break off in the middle of what they send as of errors.
    broken_off = [x for x in caplog.records if x.exc_info and isinstance(x.exc_info[1], h11.LocalProtocolError)]
    assert [x.getMessage() for x in caplog.records if x not in broken_off] == []
    with capsys.disabled():
        print(f"\n{COUNT} bad requests: {dict(counted.most_common())}")
