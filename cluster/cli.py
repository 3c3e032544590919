"""The `cluster` command: names its commands, and turns what goes wrong into one line and an exit code.

Commands, and nobody else, read argv and environment and configure logging; each is in a module of `commands/`.
"""

from __future__ import annotations

import logging
import os
import re
import sys

import typer

from cluster import jsonlog
from cluster.commands.certs import certs
from cluster.commands.chief import chief
from cluster.commands.dashboard import dashboard
from cluster.commands.doctor import doctor
from cluster.commands.export import export
from cluster.commands.ray import ray_head, ray_worker
from cluster.commands.report import report
from cluster.commands.run import run
from cluster.commands.shared import PROGRAM_CONTEXT
from cluster.commands.status import status
from cluster.commands.worker import trainer, worker
from cluster.errors import ClusterError
from cluster.process import leave

app = typer.Typer(
    help="Runs any KerasTuner program, unchanged: in one process, on workers of this box, or on workers elsewhere.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command(context_settings=PROGRAM_CONTEXT)(run)
app.command(context_settings=PROGRAM_CONTEXT)(chief)
app.command(context_settings=PROGRAM_CONTEXT)(worker)
app.command()(doctor)
app.command()(status)
app.command()(certs)
app.command()(export)
app.command()(dashboard)
app.command()(report)
# Started by a worker, and by compose.yaml.
app.command(context_settings=PROGRAM_CONTEXT, hidden=True)(trainer)
app.command(context_settings=PROGRAM_CONTEXT, hidden=True)(ray_head)
app.command(hidden=True)(ray_worker)


def main() -> None:
    """The console script: runs a command, and turns errors into one clear line and an exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what fails is said by the errors below
    try:
        app(_with_ray_address(sys.argv[1:]))
    except ClusterError as error:
        jsonlog.tell(str(error), logging.ERROR, before="cluster: error: ")
        leave(error.exit_code)
    except SystemExit as leaving:
        leave(leaving.code if isinstance(leaving.code, int) else 0)


def _with_ray_address(words: list[str]) -> list[str]:
    """The command line with `--ray ADDRESS`, where an address follows, as two options."""
    try:
        place = words.index("--ray") + 1
    except ValueError:
        return words
    if place < len(words) and re.fullmatch(r"auto|ray://\S+|[^-/\s][^/\s]*:\d+", words[place]):
        return [*words[:place], "--ray-address", *words[place:]]
    return words
