"""The figures that were kept, as a table: `python -m tests.bench.table FILE [--readme README.md]`.

With `--readme` the table goes between the two marks in that file, so that what it says is what was measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.bench.figures import OURS, Kept, Machine, read, shown, unit

BEGIN, END = "<!-- figures: make bench-table -->", "<!-- end of figures -->"


def _ratio(own: list[float] | None, peer: list[float]) -> str:
    if not own or not statistics.median(peer):
        return ""
    return f"{statistics.median(own) / statistics.median(peer):.2g}"


def columns(kept: Kept) -> list[list[str]]:
    """What a bench has measured as a table: its header, and a row for each figure, ours first.

    A peer's figure is followed by the ratio of ours to it.
    """
    peers = [side for side in kept.sides if side != OURS]
    found = [["", *([OURS] if OURS in kept.sides else []), *peers]]
    ours = kept.sides.get(OURS)
    for what in dict.fromkeys(what for figures in kept.sides.values() for what in figures):
        words, of = unit(what)
        own = None if ours is None else ours.get(what)
        cells = [] if ours is None else [shown(own, of) if own else ""]
        for values in (kept.sides[side].get(what) for side in peers):
            ratio = _ratio(own, values) if values else ""
            cells.append((shown(values, of) if values else "") + (f"; ratio {ratio}" if ratio else ""))
        found.append([words, *cells])
    return found


def markdown(kept: Mapping[str, Kept]) -> str:
    """All of it in Markdown: a table for each bench, which opens by its name, and where and when it was measured."""
    lines = []
    for name, entry in kept.items():
        header, *body = columns(entry)
        lines += ["<details>", f"<summary><b>{name}</b>: {entry.about}</summary>", ""]
        lines += [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *body)]
        lines += ["", "</details>", ""]
    places: dict[str, list[str]] = {}
    for name, entry in kept.items():
        places.setdefault(f"{entry.date}, {described(entry.machine)}", []).append(name)
    told = "; ".join(place if len(places) == 1 else f"{', '.join(names)}: {place}" for place, names in places.items())
    lines.append(
        "Medians of several runs, and their range; behind a peer's figure the ratio of the cluster's to it. "
        f"Measured {told}."
    )
    return "\n".join(lines)


def described(machine: Machine) -> str:
    """A machine in words."""
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    memory = f"{machine.memory / 1e9:.0f} GB"
    return f"on {machine.cores} cores of {machine.cpu}, {memory}, with Python {machine.python}, {packages}"


def between_marks(text: str, table: str) -> str:
    """`text` with the table between its marks.

    Raises:
        ValueError: it does not have them, once each and in this order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"the marks {BEGIN} and {END} should be there once each, in this order")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main() -> None:
    """Prints the table, or puts it into a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.table", description="Shows figures that were kept.")
    parser.add_argument("file", type=Path, help="what `python -m tests.bench --json FILE` has kept")
    parser.add_argument("--readme", type=Path, help="the file between whose marks the table goes; stdout without it")
    arguments = parser.parse_args()
    kept = read(arguments.file)
    if not kept:
        parser.error(f"nothing is kept in {arguments.file}; measure first: make bench")
    if arguments.readme is None:
        print(markdown(kept))
        return
    try:
        text = between_marks(arguments.readme.read_text(), markdown(kept))
    except ValueError as error:
        sys.exit(f"{arguments.readme}: {error}")
    arguments.readme.write_text(text)


if __name__ == "__main__":
    main()
