"""What several commands have in common: options, where tables are shown, and the log."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def console() -> Console:
    """Where tables are shown: as wide as the terminal, or as 100 columns where there is none."""
    from rich.console import Console

    wide = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, markup=False, emoji=False, width=None if wide else 100)


def configure_logging() -> None:
    """Sends this package's own log to stderr; the program's logging is the program's."""
    own = logging.getLogger("cluster")
    if not own.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("cluster: %(message)s"))
        own.addHandler(handler)
        own.setLevel(logging.INFO)
        own.propagate = False
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
