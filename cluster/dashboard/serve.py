"""Serves the page at an address, from a thread: beside a search, or as all that a process does.

Owns the socket, the thread, and what is said of where it is. What is served is `app.py`'s.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cluster import credentials, exposure
from cluster.address import split
from cluster.credentials import Token
from cluster.dashboard.sources import Projects, Source
from cluster.errors import CannotListen, MissingDependency
from cluster.rpc.tls import Identity

if TYPE_CHECKING:
    import uvicorn

    from cluster.chief import Chief
    from cluster.dashboard.hub import Hub
    from cluster.metrics import Metrics
    from cluster.record import Record

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
NEEDED = ("starlette", "uvicorn")


@dataclass(frozen=True)
class Access:
    """Who may read the page, and where it is.

    Attributes:
        host: The host to listen on.
        port: The port; 0 for any that is free.
        token: What a reader must know.
        tls: The page's certificate; None: it is served without TLS.
        terminal: Whether what is said of it is read on a terminal, and kept in no log.
    """

    host: str
    port: int
    token: Token
    tls: Identity | None = None
    terminal: bool = False

    @classmethod
    def of(
        cls,
        address: str,
        environment: Mapping[str, str],
        token_file: Path | None = None,
        *,
        tls: Identity | None = None,
        insecure: bool = False,
        terminal: bool = False,
    ) -> Access:
        """What the command line and the environment say; where they name no token, one is made.

        Args:
            address: HOST:PORT.
            environment: The variables: CLUSTER_TOKEN, HOME.
            token_file: A file with the token.
            tls: The page's certificate.
            insecure: Whether others than this machine's users may listen in.
            terminal: As the attribute.

        Raises:
            UsageError: the address is none, others could listen in, or the token cannot be used or made.
        """
        host, port = split(address, any_port=True)
        exposure.check(address, tls=tls is not None, insecure=insecure)
        return cls(host, port, credentials.find_or_make(environment, token_file), tls, terminal)


class Serving:
    """The page, served from a thread until it is closed.

    Attributes:
        url: Where it is.
        link: The same; where it is said on a terminal, with a key that logs one browser in, once.
        metrics: What /metrics answers; None where the package for it is missing.

    Args:
        source: Where the searches come from.
        access: Who may read it, and where.
        chief: The chief of the searches, where it is in this process.

    Raises:
        CannotListen: the address cannot be bound.
        MissingDependency: the extra `ui` is not installed.
    """

    def __init__(self, source: Source, access: Access, chief: Chief | None = None) -> None:
        check_installed()
        import uvicorn

        from cluster.dashboard.access import LoginKey
        from cluster.dashboard.app import make_app
        from cluster.dashboard.hub import Hub

        self._socket = _bound(access)
        port = self._socket.getsockname()[1]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(access.host, access.host)
        scheme = "http" if access.tls is None else "https"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
        key = LoginKey() if access.terminal else None
        self.link = self.url if key is None else f"{self.url}login?key={key.value}"
        self._hub: Hub = Hub(source)
        self.metrics = _metrics(self._hub, chief)
        give = None if self.metrics is None else self.metrics.text
        token = access.token
        app = make_app(self._hub, token.value, place=token.place, key=key, refused=self._count, metrics=give)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=2,
            ssl_certfile=None if access.tls is None else access.tls.certificate,
            ssl_keyfile=None if access.tls is None else access.tls.key,
        )
        self._server: uvicorn.Server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Returns when it has ended."""
        self._thread.join()

    def stop(self) -> None:
        """Tells it to end; may be called from a handler of signals."""
        self._hub.closing = True
        self._server.should_exit = True

    def close(self) -> None:
        """Ends it."""
        self.stop()
        self._thread.join(STOP_SECONDS)

    def _count(self) -> None:
        if self.metrics is not None:
            self.metrics.refused("request")

    def _run(self) -> None:
        with self._socket:
            try:
                self._server.run(sockets=[self._socket])
            except Exception:
                log.exception("the page is gone; the search goes on")


@dataclass(frozen=True)
class Beside:
    """What a process tells the page beside its searches.

    Attributes:
        lookers: Make, for a project directory, who is told how its search goes.
        answered: Told of each call that the chief answered; None where nobody is.
        refused: Told of each that it refused.
    """

    lookers: Sequence[Callable[[Path], Callable[[Record], None]]] = ()
    answered: Callable[[str, float, bool], None] | None = None
    refused: Callable[[], None] = lambda: None


@contextlib.contextmanager
def beside(access: Access, chief: Chief | None = None) -> Iterator[Beside]:
    """Serves the page beside the searches of this process, for as long as the block lasts.

    Args:
        access: Who may read it, and where.
        chief: The chief, where this process has one.

    Raises:
        CannotListen: the address cannot be bound.
        MissingDependency: the extra `ui` is not installed.
    """
    projects = Projects()
    serving = Serving(projects, access, chief)
    log.info("the page is at %s", serving.link)
    try:
        metrics = serving.metrics
        if metrics is None:
            yield Beside([projects.looker])
        else:
            yield Beside([projects.looker], metrics.answered, functools.partial(metrics.refused, "call"))
    finally:
        serving.close()


def check_installed() -> None:
    """Checks that the extra `ui` is there.

    Raises:
        MissingDependency: it is not.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependency(f"the page needs {' and '.join(missing)}: pip install 'keras-tuning-cluster[ui]'")


def _metrics(hub: Hub, chief: Chief | None) -> Metrics | None:
    """The metrics of the hub's searches; None where the package for it is missing."""
    if find_spec("prometheus_client") is None:
        return None
    from cluster.metrics import Metrics

    return Metrics(lambda: [reading.record for reading in hub.readings.values()], chief)


def _bound(access: Access) -> socket.socket:
    try:
        return socket.create_server(
            (access.host, access.port),
            family=socket.AF_INET6 if ":" in access.host else socket.AF_INET,
            backlog=128,
        )
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        raise CannotListen(
            f"the page cannot be served at {access.host}:{access.port}: {why}. Choose another address with "
            "--dashboard-address HOST:PORT"
        ) from error
