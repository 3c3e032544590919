"""`cluster status`: a search as it stands, once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.shared import AsJson, configure_logging, console


def status(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DIR|HOST:PORT", help="A project directory, or a running chief's address.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show a search as it stands, from its files or from its chief."""
    from cluster import follow
    from cluster.rpc import looking
    from cluster.status import Standing

    configure_logging()
    record = looking.read(place) if looking.is_address(place) else follow.read(Path(place))
    standing = Standing.of(record)
    if as_json:
        typer.echo(json.dumps(standing.as_json(), indent=2))
    else:
        standing.tell(console(), time.time())
