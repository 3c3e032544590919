"""The commands. The only reader of argv and environment, and the only place that configures logging."""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cluster import cores, credentials, exposure, jsonlog, leash, memory, placement, streams
from cluster.asides import Asides
from cluster.chief import Chief
from cluster.commands.access import (
    AllowStock,
    Insecure,
    TlsCa,
    TlsCert,
    TlsClientCa,
    TlsKey,
    TokenFile,
    caller,
    caller_words,
)
from cluster.commands.certs import certs
from cluster.commands.dashboard import DASHBOARD, Address
from cluster.commands.dashboard import dashboard as dashboard_command
from cluster.commands.export import export
from cluster.commands.report import report
from cluster.commands.shared import AsJson, LogJson, Verbose, configure_logging, console
from cluster.commands.status import status
from cluster.coreshare import CoreShare
from cluster.errors import CannotSave, ClusterError, SearchFailed, UsageError
from cluster.placement import SLOT_DIRECTORY, Wanted
from cluster.policy import Policy
from cluster.program import Program
from cluster.prune import RULES

if TYPE_CHECKING:
    from cluster.dashboard.serve import Access, Beside
    from cluster.observer import Looker
    from cluster.record import Record
    from cluster.roles import Lookers, OwnerRole
    from cluster.terminal import Terminal

log = logging.getLogger("cluster")

app = typer.Typer(
    help="Runs any KerasTuner program, unchanged: in one process, on workers of this box, or on workers elsewhere.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# What follows the program's name is the program's own.
PROGRAM_CONTEXT = {"allow_interspersed_args": False, "ignore_unknown_options": True}

Words = Annotated[list[str] | None, typer.Argument(metavar="(SCRIPT.py | -m MODULE) [ARGS]...", show_default=False)]
Fresh = Annotated[
    bool, typer.Option("--fresh", envvar="CLUSTER_FRESH", help="Start every search anew; delete what is there.")
]
LeaseSeconds = Annotated[
    float,
    typer.Option(
        envvar="CLUSTER_LEASE_SECONDS", min=1.0, help="How long a worker may be silent before its trial runs elsewhere."
    ),
]
MaxAttempts = Annotated[
    int,
    typer.Option(
        envvar="CLUSTER_MAX_ATTEMPTS", min=1, help="How often a trial may lose its worker before it counts as failed."
    ),
]
TrialTimeout = Annotated[
    float | None,
    typer.Option(envvar="CLUSTER_TRIAL_TIMEOUT", min=0.001, help="How long one attempt at a trial may take, in s."),
]
StallSeconds = Annotated[
    float | None,
    typer.Option(
        envvar="CLUSTER_STALL_SECONDS",
        min=0.001,
        help="How long a trial may get nowhere, in s.",
    ),
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(envvar="CLUSTER_MAX_MINUTES", min=0.0, help="After so many minutes, begin no further trial."),
]
StopAt = Annotated[
    float | None,
    typer.Option(envvar="CLUSTER_STOP_AT", help="Once the objective has reached this, begin no further trial."),
]
MaxFailures = Annotated[
    int | None,
    typer.Option(
        envvar="CLUSTER_MAX_FAILURES",
        min=1,
        help="How many failed trials in a row end the search.  [default: the program's own, 3 in KerasTuner]",
    ),
]
KeepCheckpoints = Annotated[
    int | None,
    typer.Option(
        envvar="CLUSTER_KEEP_CHECKPOINTS",
        min=1,
        help="How many of the best trials keep their checkpoint.  [default: all]",
    ),
]
Prune = Annotated[
    str | None,
    typer.Option(
        envvar="CLUSTER_PRUNE", help="By which rule to stop bad trials early: asha or median.  [default: none]"
    ),
]
PruneMinEpochs = Annotated[
    int,
    typer.Option(
        envvar="CLUSTER_PRUNE_MIN_EPOCHS", min=1, help="After how many epochs a trial is judged for the first time."
    ),
]
PruneFactor = Annotated[
    int,
    typer.Option(
        envvar="CLUSTER_PRUNE_FACTOR",
        min=2,
        help="Of how many trials one goes on, each time that asha judges; the next time is after so many times the "
        "epochs.",
    ),
]
RecycleAfter = Annotated[
    int | None,
    typer.Option(envvar="CLUSTER_RECYCLE_AFTER", min=1, help="Replace a trainer after so many trials."),
]
RecycleGb = Annotated[
    float | None,
    typer.Option(
        envvar="CLUSTER_RECYCLE_GB", min=0.001, help="Replace a trainer, between trials, that holds so many gigabytes."
    ),
]
DrainSeconds = Annotated[
    float,
    typer.Option(
        envvar="CLUSTER_DRAIN_SECONDS", min=0.0, help="How long a worker told to leave may take to end its epoch, in s."
    ),
]
ChiefAddress = Annotated[str, typer.Option("--chief", envvar="CLUSTER_CHIEF", help="The chief's HOST:PORT.")]
ConnectTimeout = Annotated[
    float,
    typer.Option(envvar="CLUSTER_CONNECT_TIMEOUT", min=0.0, help="How long to wait for the chief at first, in s."),
]
Patience = Annotated[
    float, typer.Option(envvar="CLUSTER_PATIENCE", min=0.0, help="How long to wait for a chief that has gone, in s.")
]
Name = Annotated[
    str | None, typer.Option(envvar="CLUSTER_NAME", help="The worker's name.  [default: the host's and four digits]")
]
SlotsPerGpu = Annotated[
    int, typer.Option(envvar="CLUSTER_SLOTS_PER_GPU", min=1, help="How many trainers share a GPU and its memory.")
]
DeviceKind = Annotated[
    str,
    typer.Option(
        envvar="CLUSTER_DEVICE", help="What trainers run on: gpu, cpu, or auto for GPUs where there are any to use."
    ),
]
AllowCpu = Annotated[
    bool,
    typer.Option("--allow-cpu", envvar="CLUSTER_ALLOW_CPU", help="Run on the CPU where no GPU is free or works."),
]
SlotDir = Annotated[
    Path,
    typer.Option(
        envvar="CLUSTER_SLOT_DIR", help="Where this host's workers see which GPUs are taken; never a network disk."
    ),
]
Scratch = Annotated[
    Path | None,
    typer.Option(
        envvar="CLUSTER_SCRATCH",
        help="Where to keep files of trials where the chief's directory is not here.  [default: TMPDIR, or /tmp]",
    ),
]
Apart = Annotated[
    bool,
    typer.Option(
        "--apart", envvar="CLUSTER_APART", help="Keep them there, and send them, though the directory is here."
    ),
]
UploadGb = Annotated[
    float,
    typer.Option(
        envvar="CLUSTER_UPLOAD_GB", min=0.001, help="How many GB a worker elsewhere may send of one trial's files."
    ),
]
FreeGb = Annotated[
    float, typer.Option(envvar="CLUSTER_FREE_GB", min=0.0, help="How many GB of the disk they leave free.")
]
CpusPerTrial = Annotated[
    float | None,
    typer.Option(envvar="CLUSTER_CPUS_PER_TRIAL", min=0.01, help="Cores of a trial on Ray.  [default: an equal part]"),
]
GpusPerTrial = Annotated[
    float | None,
    typer.Option(
        envvar="CLUSTER_GPUS_PER_TRIAL", min=0.0, help="GPUs of a trial on Ray, or a part of one.  [default: one]"
    ),
]
RayStorage = Annotated[
    str | None,
    typer.Option(envvar="CLUSTER_RAY_STORAGE", help="Where Ray keeps what trials save.  [default: with the results]"),
]
RayScheduler = Annotated[
    str,
    typer.Option(
        envvar="CLUSTER_RAY_SCHEDULER", help="What stops trials early on Ray: asha or median.  [default: none]"
    ),
]
RaySearch = Annotated[
    str,
    typer.Option(
        envvar="CLUSTER_RAY_SEARCH",
        help="Which of Ray Tune's searchers proposes trials, such as optuna.  [default: the program's oracle]",
    ),
]
Page = Annotated[
    bool, typer.Option("--dashboard", envvar="CLUSTER_DASHBOARD", help="Serve a live page beside the search.")
]
BoardFiles = Annotated[
    bool,
    typer.Option(
        "--tensorboard/--no-tensorboard",
        envvar="CLUSTER_TENSORBOARD",
        help="Write TensorBoard's files, into the project directory.",
    ),
]
Plots = Annotated[
    bool,
    typer.Option("--plots/--no-plots", envvar="CLUSTER_PLOTS", help="Draw the report's page and pictures at the end."),
]
LeashEnd = Annotated[int | None, typer.Option("--leash", hidden=True)]
Word = Annotated[str, typer.Option("--asides", hidden=True)]


@app.command(context_settings=PROGRAM_CONTEXT)
def run(
    context: typer.Context,
    words: Words = None,
    workers: Annotated[
        int | None,
        typer.Option(
            envvar="CLUSTER_WORKERS",
            min=1,
            help="Run a chief and this many workers as processes of this box.  [default: one process for all]",
        ),
    ] = None,
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
    recycle_after: RecycleAfter = None,
    recycle_gb: RecycleGb = None,
    device: DeviceKind = "auto",
    slots_per_gpu: SlotsPerGpu = 1,
    allow_cpu: AllowCpu = False,
    slot_dir: SlotDir = SLOT_DIRECTORY,
    on_ray: Annotated[
        bool, typer.Option("--ray", envvar="CLUSTER_RAY", help="Run on Ray Tune; an address may follow (--ray auto).")
    ] = False,
    ray_address: Annotated[str, typer.Option("--ray-address", hidden=True)] = "",
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    ray_storage: RayStorage = None,
    ray_scheduler: RayScheduler = "",
    ray_search: RaySearch = "",
    verbose: Verbose = False,
    log_json: LogJson = False,
    tensorboard: BoardFiles = True,
    plots: Plots = True,
    page: Page = False,
    dashboard_address: Address = DASHBOARD,
    token_file: TokenFile = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    insecure: Insecure = False,
) -> None:
    """Run a program in one process, with --workers on a chief and workers of this box, or with --ray on Ray Tune."""
    configure_logging(log_json)
    program = Program.parse(words or [])
    policy = _policy(context)
    on_terminal = sys.stdout.isatty()
    access = _access(page, dashboard_address, token_file, tls_cert, tls_key, insecure, on_terminal)
    if on_ray:
        if prune is not None:
            raise UsageError("--prune is the chief's: on Ray it is --ray-scheduler that stops trials early")
        from cluster.ray_backend.connect import Wanted as WantedOfRay
        from cluster.ray_backend.role import RayRole

        with _terminal(log_json) as terminal, streams.led(terminal), _page(access) as paged:
            shown = terminal is None or verbose
            wanted = WantedOfRay(
                ray_address, workers, cpus_per_trial, gpus_per_trial, ray_storage, ray_scheduler, ray_search, shown
            )
            lookers = [*_lookers(terminal), *paged.lookers, *_files(tensorboard)]
            role = RayRole(program.identity, policy, wanted, fresh=fresh, lookers=lookers)
            role.plots = plots
            _run_here(program, role, verbose)
    if ray_scheduler or ray_search:
        raise UsageError("--ray-scheduler and --ray-search are Ray Tune's: they go with --ray")
    if workers is not None:
        from cluster import launch

        slots = placement.find(_wanted(device, slots_per_gpu, allow_cpu, slot_dir), os.environ).slots
        if slots is not None and workers > slots:
            log.info("%d workers and %d slots on GPUs: the others wait until one is free", workers, slots)
        own = ("recycle_after", "recycle_gb", "device", "slots_per_gpu", "slot_dir")
        worker_options = _flags({name: context.params[name] for name in own})
        both = [word for word, wanted in (("--verbose", verbose), ("--log-json", log_json)) if wanted]
        with _terminal(log_json) as terminal, streams.led(terminal), _interruptible():
            chief_options = {x: y for x, y in asdict(policy).items() if x in context.params}
            options = _flags(chief_options) + (["--fresh"] if fresh else []) + both
            if access is not None:
                options += ["--dashboard", *_flags({"dashboard_address": dashboard_address})]
                options += ["--on-terminal"] if on_terminal else []
                options += [*caller_words(None, None, tls_cert, tls_key), *(["--insecure"] if insecure else [])]
            options += [] if tensorboard else ["--no-tensorboard"]
            options += [] if plots else ["--no-plots"]
            worker_options += (["--allow-cpu"] if allow_cpu else []) + both
            worker_options += ["--hide-trials"] if terminal is not None and not verbose else []
            looker = None if terminal is None else terminal.looker
            code = launch.run(
                program, workers, options, worker_options, token_file=token_file, looker=looker, log_json=log_json
            )
            raise typer.Exit(code)
    from cluster.roles import LocalRole

    # What libraries print past Python would be drawn over: who wants to see it has no search drawn.
    without = log_json or verbose
    with _terminal(without) as terminal, streams.led(terminal) as led, _page(access) as paged:

        def output(project: Path) -> streams.Led:
            return streams.Led(led, project, "local", hide=terminal is not None)

        lookers = [*_lookers(terminal), *paged.lookers, *_files(tensorboard)]
        local = LocalRole(program.identity, policy, fresh=fresh, lookers=lookers, output=output)
        local.plots = plots
        _run_here(program, local, verbose)


def _run_here(program: Program, role: OwnerRole, verbose: bool) -> NoReturn:
    """Runs the program in this process, and ends with its exit code."""
    from cluster.roles import run as run_under

    with _interruptible():
        try:
            code = run_under(program, role, verbose=verbose)
            role.finish("ended" if code == 0 else f"ended with exit code {code}")
        except ClusterError as error:
            if not isinstance(error, CannotSave):
                role.finish("failed")
            raise
        finally:
            role.release()
    raise typer.Exit(code)


@app.command(context_settings=PROGRAM_CONTEXT)
def chief(
    context: typer.Context,
    words: Words = None,
    listen: Annotated[
        str, typer.Option(envvar="CLUSTER_LISTEN", help="The HOST:PORT at which workers find the chief.")
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
            envvar="CLUSTER_LINGER_SECONDS", min=0.0, help="How long to wait at the end for workers to leave."
        ),
    ] = 30.0,
    alone_seconds: Annotated[float | None, typer.Option("--alone-seconds", hidden=True)] = None,
    expected: Annotated[int, typer.Option("--expected", hidden=True)] = 0,
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
    from cluster.rpc.client import check_address
    from cluster.rpc.guard import Guard, StockClients
    from cluster.rpc.server import serve
    from cluster.rpc.tls import ServerTls

    configure_logging(log_json)
    program = Program.parse(words or [])
    check_address(listen)
    # What comes by a file of this host needs none; the certificate is the page's then.
    tls = None if listen.startswith("unix:") else ServerTls.of(tls_cert, tls_key, tls_client_ca)
    exposure.check(listen, tls=tls is not None, insecure=insecure)
    token = credentials.find_or_make(os.environ, token_file)
    on_terminal = on_terminal or sys.stdout.isatty()
    access = _access(page, dashboard_address, token_file, tls_cert, tls_key, insecure, on_terminal)
    policy = _policy(context)
    if leash_end is not None:
        leash.hold(leash_end, leash.terminate_self)
    os.environ.update(placement.no_gpu(os.environ))  # they are the workers'
    here = Chief(program.identity, expected)
    with (
        _terminal(log_json or leash_end is not None) as terminal,
        streams.led(terminal),
        _page(access, here) as paged,
        _interruptible(),
    ):
        guard = Guard(token.value, StockClients(allow_stock_clients), told=paged.refused)
        server = serve(here, policy, listen, guard, paged.answered, tls)
        log.info("the chief listens on %s%s", listen, " with TLS" if tls is not None else "")
        shown = [_telling(Asides(word))] if word else _lookers(terminal)
        lookers = [*shown, *paged.lookers, *_files(tensorboard)]
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
            here.leave("the chief was interrupted; the search can be resumed", _signal_code(interrupt))
            here.dismiss(5.0)
            raise
        finally:
            server.stop(0.5).wait()
            role.release()
    raise typer.Exit(code)


@app.command(context_settings=PROGRAM_CONTEXT)
def worker(
    words: Words = None,
    chief_address: ChiefAddress = "127.0.0.1:8000",
    name: Name = None,
    connect_timeout: ConnectTimeout = 60.0,
    patience: Patience = 300.0,
    drain_seconds: DrainSeconds = 30.0,
    recycle_after: RecycleAfter = None,
    recycle_gb: RecycleGb = None,
    device: DeviceKind = "auto",
    slots_per_gpu: SlotsPerGpu = 1,
    allow_cpu: AllowCpu = False,
    slot_dir: SlotDir = SLOT_DIRECTORY,
    scratch: Scratch = None,
    apart: Apart = False,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    verbose: Verbose = False,
    log_json: LogJson = False,
    hide_trials: Annotated[bool, typer.Option("--hide-trials", hidden=True)] = False,
    leash_end: LeashEnd = None,
) -> None:
    """Run trials of a chief's searches. The program must be the chief's."""
    from cluster import worker as supervisor
    from cluster.rpc.client import ChiefClient, check_address

    configure_logging(log_json)
    program = Program.parse(words or [])
    if leash_end is not None:
        leash.hold(leash_end, leash.terminate_self)
    place = placement.find(_wanted(device, slots_per_gpu, allow_cpu, slot_dir), os.environ)
    access = (token_file, tls_ca, tls_cert, tls_key)
    client = ChiefClient(check_address(chief_address), caller(*access), patience)
    own = tuple(word for word, wanted in (("--verbose", verbose), ("--log-json", log_json)) if wanted)
    own += caller_words(*access)
    options = supervisor.Options(
        connect_timeout, patience, drain_seconds, recycle_after, recycle_gb, hide_trials, scratch, apart, own
    )
    here = supervisor.Worker(program, client, name or supervisor.default_name(), options, place)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: here.happenings.put(supervisor.Stop(signum)))
    try:
        code = here.run()
    finally:
        client.close()
    raise typer.Exit(code)


@app.command()
def doctor(
    as_json: AsJson = False,
    device: DeviceKind = "auto",
    slots_per_gpu: SlotsPerGpu = 1,
    slot_dir: SlotDir = SLOT_DIRECTORY,
) -> None:
    """Say what this host has for a search, and what it lacks."""
    from cluster.doctor import Doctor

    here = Doctor(_wanted(device, slots_per_gpu, False, slot_dir), os.environ)
    if as_json:
        found = here.as_json()
        typer.echo(json.dumps(found, indent=2))
        raise typer.Exit(0 if found["ok"] else 1)
    raise typer.Exit(0 if here.tell(console()) else 1)


app.command()(status)
app.command()(certs)
app.command()(export)
app.command("dashboard")(dashboard_command)
app.command()(report)


@app.command(context_settings=PROGRAM_CONTEXT, hidden=True)
def trainer(
    words: Words = None,
    chief_address: ChiefAddress = "127.0.0.1:8000",
    worker_name: Annotated[str, typer.Option("--worker")] = "",
    trainer_id: Annotated[str, typer.Option("--trainer")] = "",
    patience: Patience = 300.0,
    recycle_after: RecycleAfter = None,
    recycle_gb: RecycleGb = None,
    device: Annotated[str, typer.Option("--device")] = "",
    own_cores: Annotated[str, typer.Option("--cores")] = "",
    memory_share: Annotated[float | None, typer.Option("--memory-share")] = None,
    memory_total: Annotated[int, typer.Option("--memory-total")] = 0,
    slot_files: Annotated[str, typer.Option("--slot-files")] = "",
    packed: Annotated[bool, typer.Option("--packed")] = False,
    alone: Annotated[bool, typer.Option("--alone")] = False,
    scratch: Scratch = None,
    apart: Apart = False,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    verbose: Verbose = False,
    log_json: LogJson = False,
    leash_end: LeashEnd = None,
    word: Word = "",
) -> None:
    """Started by a worker: run the program and its trials."""
    # Before anything of weight is loaded: NumPy's libraries look at these variables as they are.
    free = [name for name in cores.THREADS if name not in os.environ]
    share = CoreShare(
        cores.from_text(own_cores) or None,
        set_variables=lambda values: os.environ.update({name: values[name] for name in free}),
    )
    share.begin()
    from cluster.roles import WorkerRole
    from cluster.roles import run as run_under
    from cluster.rpc.client import ChiefClient
    from cluster.trainer import Device, Leave

    configure_logging(log_json)
    program = Program.parse(words or [])
    client = ChiefClient(chief_address, caller(token_file, tls_ca, tls_cert, tls_key), patience)
    here = Device(device, memory_share is not None, packed, alone)
    asides = Asides(word) if word else None
    role = WorkerRole(client, worker_name, trainer_id, recycle_after, recycle_gb, here, share, asides, scratch, apart)
    if leash_end is not None:
        leash.hold(leash_end, leash.vanish, role.hear)
    _hold_slot(slot_files)
    _on_sigterm(lambda *_: role.drain())
    try:
        with memory.shared(memory_share, memory_total) if memory_share is not None else contextlib.nullcontext():
            code = run_under(program, role, verbose=verbose)
    except SearchFailed as failed:
        code = failed.exit_code  # the chief has said why
    except Leave as leave:
        code = leave.code
    raise typer.Exit(code)


@app.command(context_settings=PROGRAM_CONTEXT, hidden=True)
def ray_head(words: Words = None, log_json: LogJson = False) -> None:
    """Of compose.yaml: start the head of a Ray cluster, and run the program on it."""
    from cluster.ray_backend import node

    configure_logging(log_json)
    Program.parse(words or [])  # what makes no sense is said before Ray starts
    node.lead(words or [])


@app.command(hidden=True)
def ray_worker(
    head: Annotated[str, typer.Option(help="The head's HOST:PORT.")],
    ray_cpus: Annotated[
        int, typer.Option("--cpus", envvar="CLUSTER_RAY_CPUS", min=1, help="How many cores to offer.")
    ] = 1,
    device: DeviceKind = "auto",
    slot_dir: SlotDir = SLOT_DIRECTORY,
    log_json: LogJson = False,
) -> None:
    """Of compose.yaml: offer cores and a GPU to a Ray cluster, for as long as its head is there."""
    from cluster.ray_backend import node

    configure_logging(log_json)
    devices = placement.find(_wanted(device, 1, False, slot_dir), os.environ)
    raise typer.Exit(node.follow(head, ray_cpus, devices))


@contextlib.contextmanager
def _terminal(without: bool) -> Iterator[Terminal | None]:
    """What shows searches on the terminal that stdout is; None where it is none, or where there is to be none."""
    if without or not streams.is_terminal(os.environ):
        yield None
        return
    from cluster.terminal import Terminal, logged_above

    terminal = Terminal()
    with logged_above(terminal):
        yield terminal


def _lookers(terminal: Terminal | None) -> Lookers:
    """Who is told how a search goes."""
    return [] if terminal is None else [terminal.looker]


def _files(tensorboard: bool) -> Lookers:
    """Who writes files of a search for other programs, as it goes."""
    from cluster.tensorboard import TensorBoard

    return [TensorBoard] if tensorboard else []


def _access(
    wanted: bool,
    address: str,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
    terminal: bool,
) -> Access | None:
    """Who may read the live page, and where; None where none is wanted. What makes no sense is said here."""
    if not wanted:
        return None
    from cluster.dashboard.serve import Access, check_installed
    from cluster.rpc.tls import Identity

    check_installed()
    identity = Identity.of(tls_cert, tls_key)
    return Access.of(address, os.environ, token_file, tls=identity, insecure=insecure, terminal=terminal)


@contextlib.contextmanager
def _page(access: Access | None, chief: Chief | None = None) -> Iterator[Beside]:
    """The live page beside the searches of this process, where it is wanted; yields who is told of them."""
    from cluster.dashboard.serve import Beside, beside

    if access is None:
        yield Beside()
        return
    with beside(access, chief) as told:
        yield told


def _telling(asides: Asides) -> Callable[[Path], Looker]:
    """Tells the launcher, who shows it, of which search this process is the chief, and when that is over."""

    def looker(directory: Path) -> Looker:
        asides.tell(search=str(directory))

        def look(record: Record) -> None:
            if record.state not in ("running", "closing"):
                asides.tell(over=True)

        return look

    return looker


def _wanted(device: str, slots_per_gpu: int, allow_cpu: bool, slot_dir: Path) -> Wanted:
    if device not in placement.KINDS:
        raise UsageError(f"--device {device!r} is none of {', '.join(placement.KINDS)}")
    return Wanted(device, slots_per_gpu, allow_cpu, slot_dir)


def _hold_slot(files: str) -> None:
    """Keeps the slot's files for as long as this process lives, and from those that it starts or forks."""
    held = [int(file) for file in files.split(",") if file]
    for file in held:
        os.set_inheritable(file, False)
        os.register_at_fork(after_in_child=functools.partial(os.close, file))


def _policy(context: typer.Context) -> Policy:
    """The options of a command that are a search's policy.

    Raises:
        UsageError: there is no such rule to stop trials by.
    """
    rule = context.params["prune"]
    if rule is not None and rule not in RULES:
        raise UsageError(f"--prune {rule!r} is none of {', '.join(RULES)}")
    return Policy(**{x.name: context.params[x.name] for x in fields(Policy) if x.name in context.params})


def _flags(options: dict[str, Any]) -> list[str]:
    """Options as words for a child's command line; those without a value are left out."""
    named = {f"--{name.replace('_', '-')}": value for name, value in options.items() if value is not None}
    return [word for name, value in named.items() for word in (name, str(value))]


def main() -> None:
    """The console script: runs a command, and turns errors into one clear line and an exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what fails is said by the errors below
    try:
        app(_with_ray_address(sys.argv[1:]))
    except ClusterError as error:
        jsonlog.tell(str(error), logging.ERROR, before="cluster: error: ")
        _exit(error.exit_code)
    except SystemExit as leaving:
        _exit(leaving.code if isinstance(leaving.code, int) else 0)


def _with_ray_address(words: list[str]) -> list[str]:
    """The command line with `--ray ADDRESS`, where an address follows, as two options."""
    try:
        place = words.index("--ray") + 1
    except ValueError:
        return words
    if place < len(words) and re.fullmatch(r"auto|ray://\S+|[^-/\s][^/\s]*:\d+", words[place]):
        return [*words[:place], "--ray-address", *words[place:]]
    return words


def _exit(code: int) -> NoReturn:
    """Ends the process as Python does, but for taking its modules apart: TensorFlow's take seconds, for nothing."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, where it should end a run in order as Ctrl-C does."""


def _signal_code(interrupt: KeyboardInterrupt) -> int:
    return 128 + (signal.SIGTERM if isinstance(interrupt, _Terminated) else signal.SIGINT)


def _on_sigterm(handler: Callable[[int, FrameType | None], None]) -> Any:
    """Handles SIGTERM in this process, and not in those that the program forks: they end by it, as they expect to."""

    def handle(signum: int, frame: FrameType | None) -> None:
        code = None if frame is None else frame.f_code
        if any(getattr(callback, "__code__", None) is code for callback in gc.callbacks):
            # Python drops what is raised there, which is where it is right after a long look for garbage.
            again = threading.Timer(0.01, os.kill, (os.getpid(), signum))
            again.daemon = True
            again.start()
        else:
            handler(signum, frame)

    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    return signal.signal(signal.SIGTERM, handle)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Makes SIGTERM end what is inside in order, as Ctrl-C does; then the process exits with 128 + the signal."""

    def terminate(_signum: int, _frame: FrameType | None) -> None:
        raise _Terminated

    previous = _on_sigterm(terminate)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        jsonlog.tell("interrupted; run the same command again to go on", logging.WARNING, before="cluster: ")
        raise typer.Exit(_signal_code(interrupt)) from None
    finally:
        signal.signal(signal.SIGTERM, previous)
