"""`cluster chief`: the oracle of a program's searches, served to workers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster import credentials, exposure, leash, placement, streams
from cluster.asides import Asides
from cluster.chief import Chief
from cluster.commands import checked
from cluster.commands.access import AllowStock, Insecure, TlsCert, TlsClientCa, TlsKey, TokenFile
from cluster.commands.children import LeashEnd, Word
from cluster.commands.limits import (
    FreeGb,
    Fresh,
    KeepCheckpoints,
    LeaseSeconds,
    MaxAttempts,
    MaxFailures,
    MaxMinutes,
    Prune,
    PruneFactor,
    PruneMinEpochs,
    StallSeconds,
    StopAt,
    TrialTimeout,
    UploadGb,
    policy_of,
)
from cluster.commands.shared import LogJson, Verbose, Words, configure_logging
from cluster.commands.shown import (
    DASHBOARD,
    Address,
    BoardFiles,
    Page,
    Plots,
    access_to_page,
    file_lookers,
    lookers_of,
    page_beside,
    terminal_unless,
)
from cluster.errors import CannotSave, ClusterError
from cluster.process import interruptible, signal_code
from cluster.program import Program

if TYPE_CHECKING:
    from cluster.observer import Looker
    from cluster.record import Record

log = logging.getLogger("cluster")


def chief(
    context: typer.Context,
    words: Words = None,
    listen: Annotated[
        str,
        typer.Option(
            callback=checked.address, envvar="CLUSTER_LISTEN", help="The HOST:PORT at which workers find the chief."
        ),
    ] = "127.0.0.1:8000",
    fresh: Fresh = False,
    lease_seconds: LeaseSeconds = 15.0,
    max_attempts: MaxAttempts = 3,
    trial_timeout: TrialTimeout = None,
    stall_seconds: StallSeconds = None,
    max_minutes: MaxMinutes = None,
    stop_at: StopAt = None,
    max_failures: MaxFailures = None,
    keep_checkpoints: KeepCheckpoints = None,
    prune: Prune = None,
    prune_min_epochs: PruneMinEpochs = 2,
    prune_factor: PruneFactor = 2,
    upload_gb: UploadGb = 10.0,
    free_gb: FreeGb = 1.0,
    linger_seconds: Annotated[
        float,
        typer.Option(
            callback=checked.seconds,
            envvar="CLUSTER_LINGER_SECONDS",
            min=0.0,
            help="How long to wait at the end for workers to leave.",
        ),
    ] = 30.0,
    alone_seconds: Annotated[
        float | None, typer.Option("--alone-seconds", min=0.0, callback=checked.seconds, hidden=True)
    ] = None,
    expected: Annotated[int, typer.Option("--expected", min=0, callback=checked.count, hidden=True)] = 0,
    verbose: Verbose = False,
    log_json: LogJson = False,
    tensorboard: BoardFiles = True,
    plots: Plots = True,
    page: Page = False,
    dashboard_address: Address = DASHBOARD,
    token_file: TokenFile = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    insecure: Insecure = False,
    allow_stock_clients: AllowStock = 0,
    on_terminal: Annotated[bool, typer.Option("--on-terminal", hidden=True)] = False,
    leash_end: LeashEnd = None,
    word: Word = "",
) -> None:
    """Host the oracle: serve a program's searches to workers."""
    from cluster.roles import ChiefRole
    from cluster.roles import run as run_under
    from cluster.rpc.guard import Guard, StockClients
    from cluster.rpc.server import serve
    from cluster.rpc.tls import ServerTls

    configure_logging(log_json)
    program = Program.parse(words or [])
    # What comes by a file of this host needs none; the certificate is the page's then.
    tls = None if listen.startswith("unix:") else ServerTls.of(tls_cert, tls_key, tls_client_ca)
    exposure.check(listen, tls=tls is not None, insecure=insecure)
    token = credentials.find_or_make(os.environ, token_file)
    on_terminal = on_terminal or sys.stdout.isatty()
    access = access_to_page(page, dashboard_address, token_file, tls_cert, tls_key, insecure, on_terminal)
    policy = policy_of(context)
    if leash_end is not None:
        leash.hold(leash_end, leash.terminate_self)
    os.environ.update(placement.no_gpu(os.environ))  # they are the workers'
    here = Chief(program.identity, expected)
    with (
        terminal_unless(log_json or leash_end is not None) as terminal,
        streams.led(terminal),
        page_beside(access, here) as paged,
        interruptible(),
    ):
        guard = Guard(token.value, StockClients(allow_stock_clients), told=paged.refused)
        server = serve(here, policy, listen, guard, paged.answered, tls)
        log.info("the chief listens on %s%s", listen, " with TLS" if tls is not None else "")
        shown = [_telling(Asides(word))] if word else lookers_of(terminal)
        lookers = [*shown, *paged.lookers, *file_lookers(tensorboard)]
        role = ChiefRole(here, policy, fresh=fresh, lookers=lookers, alone_seconds=alone_seconds)
        role.plots = plots
        try:
            code = run_under(program, role, verbose=verbose)
            if code == 0:
                here.finish(linger_seconds)
            else:
                here.leave(f"the chief's program ended with exit code {code}", code)
                here.dismiss(5.0)
            # Not before: a chief killed while it waits for its workers is started again, and must not overwrite.
            role.finish("ended" if code == 0 else f"ended with exit code {code}")
        except CannotSave as error:
            # As after a crash, the same command goes on, and its workers wait for it; the launcher's would in vain.
            if leash_end is not None:
                here.leave(str(error), error.exit_code)
                here.dismiss(5.0)
            raise
        except ClusterError as error:
            role.finish("failed")
            here.leave(str(error), error.exit_code)
            here.dismiss(5.0)
            raise
        except KeyboardInterrupt as interrupt:
            here.leave("the chief was interrupted; the search can be resumed", signal_code(interrupt))
            here.dismiss(5.0)
            raise
        finally:
            server.stop(0.5).wait()
            role.release()
    raise typer.Exit(code)


def _telling(asides: Asides) -> Callable[[Path], Looker]:
    """Tells the launcher, who shows it, of which search this process is the chief, and when that is over."""

    def looker(directory: Path) -> Looker:
        asides.tell(search=str(directory))

        def look(record: Record) -> None:
            if record.state not in ("running", "closing"):
                asides.tell(over=True)

        return look

    return looker
