"""What most commands have in common: the program and its words, where tables are shown, and the log."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cluster import jsonlog

if TYPE_CHECKING:
    from rich.console import Console

# What follows the program's name is the program's own.
PROGRAM_CONTEXT = {"allow_interspersed_args": False, "ignore_unknown_options": True}

Words = Annotated[list[str] | None, typer.Argument(metavar="(SCRIPT.py | -m MODULE) [ARGS]...", show_default=False)]
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
