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


def rows(name: str, kept: Kept) -> list[tuple[str, str, str, str]]:
    """What a bench has measured: what, ours, a peer's, and the ratio of ours to the peer's; one row a peer."""
    ours = kept.sides.get(OURS, {})
    found = []
    for what in dict.fromkeys(what for figures in kept.sides.values() for what in figures):
        words, of = unit(what)
        own = ours.get(what)
        peers = {side: figures[what] for side, figures in kept.sides.items() if side != OURS and figures.get(what)}
        cell = shown(own, of) if own else ""
        for side, values in peers.items():
            found.append((f"{name}: {words}", cell, f"{side}: {shown(values, of)}", _ratio(own, values)))
        if own and not peers:
            found.append((f"{name}: {words}", cell, "", ""))
    return found


def _ratio(own: list[float] | None, peer: list[float]) -> str:
    if not own or not statistics.median(peer):
        return ""
    return f"{statistics.median(own) / statistics.median(peer):.2g}"


def markdown(kept: Mapping[str, Kept]) -> str:
    """All of it in Markdown: the table, what each bench measures, and where and when."""
    lines = ["| | the cluster | beside it | ratio |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for name, entry in kept.items() for row in rows(name, entry)]
    lines += ["", *(f"- **{name}**: {entry.about}" for name, entry in kept.items()), ""]
    places: dict[str, list[str]] = {}
    for name, entry in kept.items():
        places.setdefault(f"{entry.date}, {described(entry.machine)}", []).append(name)
    told = "; ".join(place if len(places) == 1 else f"{', '.join(names)}: {place}" for place, names in places.items())
    lines.append(
        f"Medians of several runs, and their range; the ratio is the cluster's to its peer's. Measured {told}."
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
