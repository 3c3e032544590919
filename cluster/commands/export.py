"""`cluster export`: a search for other programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cluster.commands import checked
from cluster.commands.access import TlsCa, TlsCert, TlsKey, TokenFile, caller
from cluster.commands.shared import configure_logging
from cluster.errors import MissingDependency, UsageError

Item = TypeVar("Item")


def export(
    place: Annotated[
        str,
        typer.Argument(
            callback=checked.place,
            metavar="DIR|HOST:PORT",
            help="A project directory, or a running chief's address.",
            show_default=False,
        ),
    ],
    optuna: Annotated[
        str | None,
        typer.Option(
            callback=checked.text,
            metavar="URL",
            help="A storage of Optuna's, such as sqlite:///study.db.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(callback=checked.name, help="The study's name.  [default: the project's]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a study of that name.")] = False,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Write a search for another program: with --optuna as a study, for Optuna's plots and its dashboard."""
    configure_logging()
    if optuna is None:
        raise UsageError("nothing says what to export to; give --optuna URL, such as --optuna sqlite:///study.db")
    from cluster import follow
    from cluster.rpc import looking

    try:
        from cluster import optuna_export
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"export --optuna needs {error.name}: pip install 'keras-tuning-cluster[optuna]'"
        ) from error
    if looking.is_address(place):
        record = looking.read(place, caller(token_file, tls_ca, tls_cert, tls_key))
    else:
        record = follow.read(Path(place))
    done = optuna_export.export(record, optuna, name, overwrite=overwrite, each=_shown)
    counts = [
        (done.states["COMPLETE"], "completed"),
        (done.states["PRUNED"], "pruned"),
        (done.states["FAIL"], "failed"),
    ]
    *before, last = [f"{count} {word}" for count, word in counts if count]
    words = " and ".join([x for x in (", ".join(before), last) if x])
    total = sum(done.states.values())
    best = "" if done.best is None else f", best {record.metric}={done.best:.5g}"
    left = f"; {done.left_out} that had not ended left out" if done.left_out else ""
    typer.echo(
        f"study {done.study} in {optuna_export.shown(optuna)}: {words} trial{'' if total == 1 else 's'}{best}{left}"
    )


def _shown(items: Sequence[Item]) -> Iterable[Item]:
    """The same, with a bar on the terminal: a database takes tens of trials a second."""
    from rich.console import Console
    from rich.progress import track

    return track(items, "writing", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
