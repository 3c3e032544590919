"""`cluster report`: the report of a search, or several searches side by side."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import checked
from cluster.commands.shared import configure_logging

log = logging.getLogger(__name__)

COMPARED = Path("report")  # where a comparison goes by default


def report(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR", parser=checked.path, help="Project directories.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            parser=checked.path,
            metavar=checked.PATH,
            help="Where to write.  [default: the project directory; ./report for several]",
        ),
    ] = None,
) -> None:
    """Write the report of a search again, or compare several: tables, pictures, and a page that needs no network."""
    from cluster import follow
    from cluster import report as reports

    configure_logging()
    for directory in directories:
        follow.Follower(directory)  # before anything is written
    if len(directories) == 1:
        place = output or directories[0]
        _check(place)
        log.info("%s", reports.write(directories[0], output))
        reports.draw(directories[0], output)
        log.info("the report is %s", place / "report.html")
        return
    from cluster.report import comparison

    place = output or COMPARED
    _check(place)
    log.info("%s", comparison.write(directories, place))
    log.info("the comparison is %s", place / "comparison.html")


def _check(place: Path) -> None:
    from cluster.errors import DirectoryError, UsageError
    from cluster.state import ensure_writable

    try:
        ensure_writable(place)
    except DirectoryError as error:
        cause = error.__cause__
        why = cause.strerror if isinstance(cause, OSError) else error
        raise UsageError(f"nothing can be written to {place}: {why}; choose another place with --output") from error
