"""What a command says to a process that it starts: options that are for nobody else, and options as words."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cluster.commands import checked

LeashEnd = Annotated[int | None, typer.Option("--leash", callback=checked.descriptor, hidden=True)]
Word = Annotated[str, typer.Option("--asides", callback=checked.name, hidden=True)]


def flags(options: dict[str, Any]) -> list[str]:
    """Options as words for a child's command line; those without a value are left out."""
    named = {f"--{name.replace('_', '-')}": value for name, value in options.items() if value is not None}
    return [word for name, value in named.items() for word in (name, str(value))]
