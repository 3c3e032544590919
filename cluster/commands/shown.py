"""How a search is shown while it goes: on the terminal, on the live page, in files for other programs.

Owns the words of the command line, and what they put beside a search.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster import streams
from cluster.commands import checked

if TYPE_CHECKING:
    from cluster.chief import Chief
    from cluster.dashboard.serve import Access, Beside
    from cluster.roles import Lookers
    from cluster.terminal import Terminal

DASHBOARD = "127.0.0.1:8080"
Address = Annotated[
    str,
    typer.Option(
        "--dashboard-address",
        callback=checked.page_address,
        envvar="CLUSTER_DASHBOARD_ADDRESS",
        help="The HOST:PORT of the page.",
    ),
]
Page = Annotated[
    bool, typer.Option("--dashboard", envvar="CLUSTER_DASHBOARD", help="Serve a live page beside the search.")
]
BoardFiles = Annotated[
    bool,
    typer.Option(
        "--tensorboard/--no-tensorboard",
        envvar="CLUSTER_TENSORBOARD",
        help="Write TensorBoard's files, into the project directory.",
    ),
]
Plots = Annotated[
    bool,
    typer.Option("--plots/--no-plots", envvar="CLUSTER_PLOTS", help="Draw the report's page and pictures at the end."),
]


@contextlib.contextmanager
def terminal_unless(without: bool) -> Iterator[Terminal | None]:
    """What shows searches on the terminal that stdout is; None where it is none, or where there is to be none."""
    if without or not streams.is_terminal(os.environ):
        yield None
        return
    from cluster.terminal import Terminal, logged_above

    terminal = Terminal()
    with logged_above(terminal):
        yield terminal


def lookers_of(terminal: Terminal | None) -> Lookers:
    """Who is told how a search goes."""
    return [] if terminal is None else [terminal.looker]


def file_lookers(tensorboard: bool) -> Lookers:
    """Who writes files of a search for other programs, as it goes."""
    from cluster.tensorboard import TensorBoard

    return [TensorBoard] if tensorboard else []


def access_to_page(
    wanted: bool,
    address: str,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
    terminal: bool,
) -> Access | None:
    """Who may read the live page, and where; None where none is wanted. What makes no sense is said here."""
    if not wanted:
        return None
    from cluster.dashboard.serve import Access, check_installed
    from cluster.rpc.tls import Identity

    check_installed()
    identity = Identity.of(tls_cert, tls_key)
    return Access.of(address, os.environ, token_file, tls=identity, insecure=insecure, terminal=terminal)


@contextlib.contextmanager
def page_beside(access: Access | None, chief: Chief | None = None) -> Iterator[Beside]:
    """The live page beside the searches of this process, where it is wanted; yields who is told of them."""
    from cluster.dashboard.serve import Beside, beside

    if access is None:
        yield Beside()
        return
    with beside(access, chief) as told:
        yield told
