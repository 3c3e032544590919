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

from pathlib import Path

from cluster import follow
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


def draw(directory: Path, output: Path | None = None) -> None:
    """Draws a search: `report.html` and `plots/*.png`, to which `report.md` then has links.

    Args:
        directory: The project directory.
        output: Where to; the project directory without it.

    Raises:
        UsageError: it is no project directory.
        MissingDependency: a package that draws is not here; what the other one draws is there.
        CannotSave: the files cannot be written.
    """
    record = follow.read(directory)
    place = output or directory
    missing = without(("plotly", "report.html"), ("matplotlib", "plots/*.png"))
    if "plotly" not in missing:
        from cluster.report.page import write as write_page

        write_page(record, place / "report.html")
    if "matplotlib" not in missing:
        from cluster.report.pictures import draw as draw_pictures

        write_markdown(record, place, draw_pictures(record, place))
    complain(missing)
