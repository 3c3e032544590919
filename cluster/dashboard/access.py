"""Who may read the page, and what every answer says to the browser about itself.

Owns the login that turns a token, or the key of a link, into a cookie, and the headers of every answer. Knows no
search.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import secrets
import threading
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/healthz",)  # what tells nothing of a search
LOGIN = "/login"
FORM_BYTES = 4096
WRONG_SECONDS = 0.5  # how long a wrong token waits for its answer
HEADERS = {
    # Plotly sets styles on elements that it makes, and compiles what its parallel coordinates draw with from text of
    # its own; everything comes from the server's own files.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SafeHeaders:
    """Adds the headers that keep a browser from doing more than the page needs; what says nothing is not cached."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of ASGI."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)


class LoginKey:
    """A key that logs one browser in, once: it may stand in a link, which a token may not.

    Attributes:
        value: The key.
    """

    def __init__(self) -> None:
        self.value = secrets.token_urlsafe(24)
        self._fresh = threading.Lock()  # held once it was used

    def take(self, given: str) -> bool:
        """Whether this is the key, for the first time."""
        return hmac.compare_digest(given.encode(), self.value.encode()) and self._fresh.acquire(blocking=False)


class TokenNeeded:
    """Answers only those who have the token: in the header `Authorization: Bearer …`, or a browser that has logged in.

    The cookie holds a digest made with the token, never the token. A page elsewhere whose name is made to point at this
    machine gets nothing: no browser sends it the cookie.

    Args:
        app: What is behind.
        token: The token.
        place: Where a reader finds it, in words.
        key: Logs one browser in, by a link; None: there is no such link.
        refused: Told of each request that was not let in.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        place: str = "",
        key: LoginKey | None = None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        self._place = place
        self._key = key
        self._refused = refused
        self._token = token.encode()
        self._cookie = "cluster_" + self._digest(b"the cookie's name")[:8]  # servers on one host share a jar
        self._pass = self._digest(b"the cookie's value")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of ASGI."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if scope["path"] == LOGIN and scope["method"] == "POST":
            await (await self._log_in(request))(scope, receive, send)
        elif scope["path"] == LOGIN and self._key is not None and self._key.take(request.query_params.get("key", "")):
            await self._let_in(request)(scope, receive, send)
        elif self._may(request.headers):
            await self._app(scope, receive, send)
        else:
            await self._ask(request)(scope, receive, send)

    def _may(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
            return True
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), self._pass.encode())

    async def _log_in(self, request: Request) -> Response:
        body = b""
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > FORM_BYTES:
                    return PlainTextResponse("too long", 413)
        except ClientDisconnect:
            return PlainTextResponse("broken off", 400)  # which nobody reads
        given = parse_qs(body.decode("utf-8", errors="replace")).get("token", [""])[0].strip()
        if not hmac.compare_digest(given.encode(), self._token):
            self._refused()
            await asyncio.sleep(WRONG_SECONDS)
            return self._form("That is not the token.")
        return self._let_in(request)

    def _let_in(self, request: Request) -> Response:
        response = RedirectResponse("./", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(self._cookie, self._pass, httponly=True, samesite="strict", secure=secure)
        return response

    def _ask(self, request: Request) -> Response:
        self._refused()
        if "text/html" in request.headers.get("accept", ""):
            return self._form("That link was used before." if "key" in request.query_params else "")
        return PlainTextResponse("This needs the token.\n", 401, {"WWW-Authenticate": "Bearer"})

    def _digest(self, words: bytes) -> str:
        return hmac.new(self._token, words, hashlib.sha256).hexdigest()

    def _form(self, wrong: str = "") -> Response:
        note = f'<p role="alert">{html.escape(wrong)}</p>' if wrong else ""
        text = FORM.replace("<!-- wrong -->", note).replace("<!-- place -->", html.escape(self._place))
        return HTMLResponse(text, 401, {"WWW-Authenticate": "Bearer"})


FORM = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 1rem; }
form { display: grid; gap: .75rem; width: min(22rem, 100%); }
h1 { font-size: 1.25rem; margin: 0; }
p { margin: 0; }
input, button { font: inherit; padding: .5rem .75rem; border-radius: .4rem; border: 1px solid #8889; }
button { background: #2f6fde; border-color: #2f6fde; color: #fff; cursor: pointer; }
[role=alert] { color: #c62f2f; }
</style>
<body>
<main>
<form method="post" action="login">
<h1>This page needs a token</h1>
<p><label for="token">The token is in <code><!-- place --></code>, where the page runs.</label></p>
<!-- wrong -->
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
</form>
</main>
</body>
</html>
"""
