"""`cluster dashboard`: the live page of searches, from their files or from their chief."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from cluster.commands import checked
from cluster.commands.access import Insecure, TlsCa, TlsCert, TlsKey, TokenFile, caller
from cluster.commands.shared import configure_logging
from cluster.commands.shown import DASHBOARD, Address


def dashboard(
    place: Annotated[
        str,
        typer.Argument(
            callback=checked.place,
            metavar="DIR|HOST:PORT",
            help="A project directory, or one with several, or a running chief's address.",
            show_default=False,
        ),
    ],
    address: Address = DASHBOARD,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    insecure: Insecure = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="The directory may be without a search as yet; it is waited for.")
    ] = False,
) -> None:
    """Serve a live page of searches, until Ctrl-C."""
    from cluster.dashboard.remote import source_of
    from cluster.dashboard.serve import Access, Serving, check_installed
    from cluster.rpc.tls import Identity

    configure_logging()
    check_installed()
    identity = Identity.of(tls_cert, tls_key)
    access = Access.of(address, os.environ, token_file, tls=identity, insecure=insecure, terminal=sys.stdout.isatty())
    own = (tls_cert, tls_key) if tls_ca is not None else ()  # with no --tls-ca they are the page's alone
    serving = Serving(source_of(place, lambda: caller(token_file, tls_ca, *own), empty=wait), access)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: serving.stop())
    typer.echo(f"{place} is at {serving.link} (Ctrl-C ends it)")
    serving.wait()
