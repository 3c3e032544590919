"""`cluster dashboard`: the live page of searches, from their files or from their chief."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.shared import configure_logging

DASHBOARD = "127.0.0.1:8080"
Address = Annotated[
    str,
    typer.Option("--dashboard-address", envvar="CLUSTER_DASHBOARD_ADDRESS", help="The HOST:PORT of the page."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="CLUSTER_TOKEN_FILE",
        help="A file with the token that the page asks for.  [default: CLUSTER_TOKEN; without one, no token]",
    ),
]


def dashboard(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DIR|HOST:PORT",
            help="A project directory, or one with several, or a running chief's address.",
            show_default=False,
        ),
    ],
    address: Address = DASHBOARD,
    token_file: TokenFile = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen for others than this machine's users without a token.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="The directory may be without a search as yet; it is waited for.")
    ] = False,
) -> None:
    """Serve a live page of searches, until Ctrl-C."""
    from cluster.dashboard.remote import source_of
    from cluster.dashboard.serve import Access, Serving, check_installed

    configure_logging()
    check_installed()
    access = Access.of(address, os.environ, token_file, insecure=insecure)
    serving = Serving(source_of(place, empty=wait), access)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: serving.stop())
    typer.echo(f"{place} is at {serving.url} (Ctrl-C ends it)")
    serving.wait()
