"""Plain text: aligned tables for the terminal, tables in Markdown, and figures as people write them.

Owns: layout. Does not own: what the figures are.
"""

from __future__ import annotations

from collections.abc import Sequence

Row = Sequence[str]


def aligned(rows: Sequence[Row], header: Row | None = None) -> str:
    """Returns the rows in columns, the first one to the left and, under a header, the others to the right."""
    everything = [header, *rows] if header else list(rows)
    widths = [max(len(row[column]) for row in everything) for column in range(len(everything[0]))]
    if header:
        everything.insert(1, ["-" * width for width in widths])
    lines = [
        "  ".join(
            cell.rjust(width) if header and column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in everything
    ]
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Sequence[Row], header: Row) -> str:
    """Returns a table in Markdown, the first column to the left and the others to the right."""
    rule = ["---", *["---:" for _ in header[1:]]]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def percent(share: float) -> str:
    """0.9019 -> "90.19 %"."""
    return f"{100 * share:.2f} %"


def duration(seconds: float) -> str:
    """728 -> "12 min 8 s"; below ten seconds with one decimal."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def value(hyperparameter: object) -> str:
    """A hyperparameter for people: floats to four digits."""
    return f"{hyperparameter:.4g}" if isinstance(hyperparameter, float) else str(hyperparameter)
