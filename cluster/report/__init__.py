"""What a search has found, for people: tables, pictures, and a page that opens without a network.

    tables      trials.csv, trials.json, report.md
    page        report.html
    comparison  several searches side by side: a page, a picture, Markdown
    pictures    plots/*.png, by Matplotlib; canvas: what they have in common
    figures     the figures for plotly.js, of the page here and of the live one; curves, compare: more of them
    importance  how much each hyperparameter matters
    layout      what the figures have in common: colours, escaped text, panels
    series      what is shown, before anything is drawn; axes: where a hyperparameter's values stand
    facts       a search in a few lines
    extras      which of the packages that draw are here
    background  draws in a process of its own, which nothing waits for before the end

All of them take a `Record`. Plotly and Matplotlib are the extra `ui`'s, and are loaded only to draw.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from cluster import follow
from cluster.record import Record
from cluster.report.extras import complain, without
from cluster.report.facts import headline
from cluster.report.tables import write as write_tables
from cluster.report.tables import write_markdown


def write(directory: Path, output: Path | None = None) -> str:
    """Writes the tables of a search: `trials.csv`, `trials.json` and `report.md`.

    Args:
        directory: The project directory.
        output: Where to; the project directory without it.

    Returns:
        A line for the log: how many trials ended how, and the best.

    Raises:
        UsageError: it is no project directory.
        CannotSave: the files cannot be written.
    """
    record = follow.read(directory)
    write_tables(record, output or directory)
    return headline(record)


def draw(directory: Path, output: Path | None = None, *, beside: bool = False) -> None:
    """Draws a search: `report.html` and `plots/*.png`, to which `report.md` then has links.

    Args:
        directory: The project directory.
        output: Where to; the project directory without it.
        beside: Whether half of the pictures are drawn by another process meanwhile, a fork of this one: it must have no
            other threads.

    Raises:
        UsageError: it is no project directory.
        MissingDependency: a package that draws is not here; what the other one draws is there.
        CannotSave: the files cannot be written.
    """
    record = follow.read(directory)
    place = output or directory
    missing = without(("plotly", "report.html"), ("matplotlib", "plots/*.png"))
    drawing = _begin_pictures(record, place) if beside and "matplotlib" not in missing else None
    if "plotly" not in missing:
        from cluster.report.page import write as write_page

        write_page(record, place / "report.html")
    if "matplotlib" not in missing:
        write_markdown(record, place, _draw_pictures(record, place, drawing))
    complain(missing)


def _begin_pictures(record: Record, place: Path) -> multiprocessing.process.BaseProcess:
    """Begins to draw the second half of the pictures, which takes as long as the page and the first."""
    from cluster.report.pictures import PICTURES
    from cluster.report.pictures import draw as draw_pictures

    names = list(PICTURES)[len(PICTURES) // 2 :]
    process = multiprocessing.get_context("fork").Process(target=draw_pictures, args=(record, place, names))
    process.start()
    return process


def _draw_pictures(record: Record, place: Path, drawing: multiprocessing.process.BaseProcess | None) -> list[str]:
    """Draws the pictures, those that another process draws excepted; returns the names of all that are there."""
    from cluster.report.pictures import PICTURES
    from cluster.report.pictures import draw as draw_pictures

    if drawing is None:
        return draw_pictures(record, place)
    half = len(PICTURES) // 2
    draw_pictures(record, place, list(PICTURES)[:half])
    drawing.join()
    if drawing.exitcode != 0:
        draw_pictures(record, place, list(PICTURES)[half:])  # what has kept it from drawing is said here
    return [name for name in PICTURES if (place / "plots" / f"{name}.png").exists()]
