"""`cluster status`: a search as it stands, once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import checked
from cluster.commands.access import TlsCa, TlsCert, TlsKey, TokenFile, caller
from cluster.commands.shared import AsJson, configure_logging, console


def status(
    place: Annotated[
        str,
        typer.Argument(
            callback=checked.place,
            metavar="DIR|HOST:PORT",
            help="A project directory, or a running chief's address.",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Show a search as it stands, from its files or from its chief."""
    from cluster import follow
    from cluster.rpc import looking
    from cluster.status import Standing

    configure_logging()
    if looking.is_address(place):
        record = looking.read(place, caller(token_file, tls_ca, tls_cert, tls_key))
    else:
        record = follow.read(Path(place))
    standing = Standing.of(record)
    if as_json:
        typer.echo(json.dumps(standing.as_json(), indent=2))
    else:
        standing.tell(console(), time.time())
