"""Serves the page at an address, from a thread: beside a search, or as all that a process does.

Owns the socket, the thread, and the rule of who may listen where without a token. What is served is `app.py`'s.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.dashboard.sources import Projects, Source
from cluster.errors import CannotListen, MissingDependency, UsageError

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
        token: What a reader must know; empty: nothing.
    """

    host: str
    port: int
    token: str = ""

    @classmethod
    def of(
        cls,
        address: str,
        environment: Mapping[str, str],
        token_file: Path | None = None,
        *,
        insecure: bool = False,
    ) -> Access:
        """What the command line and the environment say.

        Args:
            address: HOST:PORT.
            environment: The variables; CLUSTER_TOKEN is the token.
            token_file: A file with it, which counts more.
            insecure: Whether others than this machine's users may read the page without a token.

        Raises:
            UsageError: the address is none; the file cannot be read, or is empty; or the page would be open to others.
        """
        host, colon, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (host and colon and port.isdigit() and int(port) < 65536):
            raise UsageError(f"{address!r} is no address; give --dashboard-address HOST:PORT, such as 127.0.0.1:8080")
        token = environment.get("CLUSTER_TOKEN", "").strip() if token_file is None else _read_token(token_file)
        if not (token or insecure or _is_here(host)):
            raise UsageError(
                f"the page at {address} could be read by others than this machine's users. Set CLUSTER_TOKEN or "
                "--token-file, listen on 127.0.0.1, or insist with --insecure"
            )
        return cls(host, int(port), token)


class Serving:
    """The page, served from a thread until it is closed.

    Attributes:
        url: Where it is.
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

        from cluster.dashboard.app import make_app
        from cluster.dashboard.hub import Hub

        self._socket = _bound(access)
        port = self._socket.getsockname()[1]
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(access.host, access.host)
        self.url = f"http://{f'[{shown}]' if ':' in shown and '[' not in shown else shown}:{port}/"
        self._hub: Hub = Hub(source)
        self.metrics = _metrics(self._hub, chief)
        give = None if self.metrics is None else self.metrics.text
        app = make_app(self._hub, token=access.token, host=access.host, metrics=give)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=2,
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
    """

    lookers: Sequence[Callable[[Path], Callable[[Record], None]]] = ()
    answered: Callable[[str, float, bool], None] | None = None


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
    log.info("the page is at %s", serving.url)
    try:
        yield Beside([projects.looker], None if serving.metrics is None else serving.metrics.answered)
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


def _is_here(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the token file {path} cannot be read: {why}") from error
    if not token:
        raise UsageError(f"the token file {path} is empty")
    return token
