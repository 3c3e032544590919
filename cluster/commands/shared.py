"""What several commands have in common: options, where tables are shown, and the log."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cluster import jsonlog

if TYPE_CHECKING:
    from rich.console import Console

Verbose = Annotated[
    bool, typer.Option("--verbose", envvar="CLUSTER_VERBOSE", help="Show what KerasTuner and every trial print.")
]
LogJson = Annotated[
    bool, typer.Option("--log-json", envvar="CLUSTER_LOG_JSON", help="Write the log as JSON, one object a line.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def console() -> Console:
    """Where tables are shown: as wide as the terminal, or as 100 columns where there is none."""
    from rich.console import Console

    wide = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, markup=False, emoji=False, width=None if wide else 100)


def configure_logging(as_json: bool = False) -> None:
    """Sends this package's own log to stderr; the program's logging is the program's.

    Args:
        as_json: As JSON, one object a line.
    """
    own = logging.getLogger("cluster")
    if not own.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(jsonlog.Formatter() if as_json else logging.Formatter("cluster: %(message)s"))
        own.addHandler(handler)
        own.setLevel(logging.INFO)
        own.propagate = False
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
