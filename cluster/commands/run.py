"""`cluster run`: a program in one process, on a chief and workers of this box, or on Ray Tune."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cluster import placement, streams
from cluster.commands import checked
from cluster.commands.access import Insecure, TlsCert, TlsKey, TokenFile, caller_words
from cluster.commands.children import flags
from cluster.commands.devices import AllowCpu, DeviceKind, SlotDir, SlotsPerGpu, wanted_devices
from cluster.commands.limits import (
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
    policy_of,
)
from cluster.commands.ray import CpusPerTrial, GpusPerTrial, RayScheduler, RaySearch, RayStorage
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
from cluster.commands.trainers import RecycleAfter, RecycleGb
from cluster.errors import CannotSave, ClusterError, UsageError
from cluster.placement import SLOT_DIRECTORY
from cluster.process import interruptible
from cluster.program import Program

if TYPE_CHECKING:
    from cluster.roles import OwnerRole

log = logging.getLogger("cluster")


def run(
    context: typer.Context,
    words: Words = None,
    workers: Annotated[
        int | None,
        typer.Option(
            callback=checked.processes,
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
    ray_address: Annotated[str, typer.Option("--ray-address", callback=checked.ray_address, hidden=True)] = "",
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
    policy = policy_of(context)
    on_terminal = sys.stdout.isatty()
    access = access_to_page(page, dashboard_address, token_file, tls_cert, tls_key, insecure, on_terminal)
    if on_ray:
        if prune is not None:
            raise UsageError("--prune is the chief's: on Ray it is --ray-scheduler that stops trials early")
        from cluster.ray_backend.connect import Wanted as WantedOfRay
        from cluster.ray_backend.role import RayRole

        with terminal_unless(log_json) as terminal, streams.led(terminal), page_beside(access) as paged:
            shown = terminal is None or verbose
            wanted = WantedOfRay(
                ray_address, workers, cpus_per_trial, gpus_per_trial, ray_storage, ray_scheduler, ray_search, shown
            )
            lookers = [*lookers_of(terminal), *paged.lookers, *file_lookers(tensorboard)]
            role = RayRole(program.identity, policy, wanted, fresh=fresh, lookers=lookers)
            role.plots = plots
            _run_here(program, role, verbose)
    if ray_scheduler or ray_search:
        raise UsageError("--ray-scheduler and --ray-search are Ray Tune's: they go with --ray")
    if workers is not None:
        from cluster import launch

        slots = placement.find(wanted_devices(device, slots_per_gpu, allow_cpu, slot_dir), os.environ).slots
        if slots is not None and workers > slots:
            log.info("%d workers and %d slots on GPUs: the others wait until one is free", workers, slots)
        own = ("recycle_after", "recycle_gb", "device", "slots_per_gpu", "slot_dir")
        worker_options = flags({name: context.params[name] for name in own})
        both = [word for word, wanted in (("--verbose", verbose), ("--log-json", log_json)) if wanted]
        with terminal_unless(log_json) as terminal, streams.led(terminal), interruptible():
            chief_options = {x: y for x, y in asdict(policy).items() if x in context.params}
            options = flags(chief_options) + (["--fresh"] if fresh else []) + both
            if access is not None:
                options += ["--dashboard", *flags({"dashboard_address": dashboard_address})]
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
    with terminal_unless(without) as terminal, streams.led(terminal) as led, page_beside(access) as paged:

        def output(project: Path) -> streams.Led:
            return streams.Led(led, project, "local", hide=terminal is not None)

        lookers = [*lookers_of(terminal), *paged.lookers, *file_lookers(tensorboard)]
        local = LocalRole(program.identity, policy, fresh=fresh, lookers=lookers, output=output)
        local.plots = plots
        _run_here(program, local, verbose)


def _run_here(program: Program, role: OwnerRole, verbose: bool) -> NoReturn:
    """Runs the program in this process, and ends with its exit code."""
    from cluster.roles import run as run_under

    with interruptible():
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
