"""`cluster status`: a search as it stands, once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.shared import AsJson, configure_logging, console


def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A project directory.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show a search as it stands, from its files."""
    from cluster.status import read

    configure_logging()
    standing = read(directory)
    if as_json:
        typer.echo(json.dumps(standing.as_json(), indent=2))
    else:
        standing.tell(console(), time.time())
