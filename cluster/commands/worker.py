"""`cluster worker`, and the trainer that it starts."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from typing import Annotated

import typer

from cluster import cores, leash, memory, placement
from cluster.asides import Asides
from cluster.commands import checked
from cluster.commands.access import TlsCa, TlsCert, TlsKey, TokenFile, caller, caller_words
from cluster.commands.children import LeashEnd, Word
from cluster.commands.devices import AllowCpu, DeviceKind, SlotDir, SlotsPerGpu, wanted_devices
from cluster.commands.shared import LogJson, Verbose, Words, configure_logging
from cluster.commands.trainers import (
    Apart,
    ChiefAddress,
    ConnectTimeout,
    DrainSeconds,
    Name,
    Patience,
    RecycleAfter,
    RecycleGb,
    Scratch,
)
from cluster.coreshare import CoreShare
from cluster.errors import SearchFailed
from cluster.placement import SLOT_DIRECTORY
from cluster.process import on_sigterm
from cluster.program import Program


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
    from cluster.rpc.client import ChiefClient

    configure_logging(log_json)
    program = Program.parse(words or [])
    if leash_end is not None:
        leash.hold(leash_end, leash.terminate_self)
    place = placement.find(wanted_devices(device, slots_per_gpu, allow_cpu, slot_dir), os.environ)
    access = (token_file, tls_ca, tls_cert, tls_key)
    client = ChiefClient(chief_address, caller(*access), patience)
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


def trainer(
    words: Words = None,
    chief_address: ChiefAddress = "127.0.0.1:8000",
    worker_name: Annotated[str, typer.Option("--worker", callback=checked.name)] = "",
    trainer_id: Annotated[str, typer.Option("--trainer", callback=checked.name)] = "",
    patience: Patience = 300.0,
    recycle_after: RecycleAfter = None,
    recycle_gb: RecycleGb = None,
    device: Annotated[str, typer.Option("--device", callback=checked.name)] = "",
    own_cores: Annotated[str, typer.Option("--cores", callback=checked.core_numbers)] = "",
    memory_share: Annotated[
        float | None, typer.Option("--memory-share", min=0.0, max=1.0, callback=checked.finite)
    ] = None,
    memory_total: Annotated[int, typer.Option("--memory-total", min=0, max=2**63 - 1)] = 0,
    slot_files: Annotated[str, typer.Option("--slot-files", callback=checked.descriptors)] = "",
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
    on_sigterm(lambda *_: role.drain())
    try:
        with memory.shared(memory_share, memory_total) if memory_share is not None else contextlib.nullcontext():
            code = run_under(program, role, verbose=verbose)
    except SearchFailed as failed:
        code = failed.exit_code  # the chief has said why
    except Leave as leave:
        code = leave.code
    raise typer.Exit(code)


def _hold_slot(files: str) -> None:
    """Keeps the slot's files for as long as this process lives, and from those that it starts or forks."""
    held = [int(file) for file in files.split(",") if file]
    for file in held:
        os.set_inheritable(file, False)
        os.register_at_fork(after_in_child=functools.partial(os.close, file))
