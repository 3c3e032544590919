"""`cluster doctor`: what this host has for a search, and what it lacks."""

from __future__ import annotations

import json
import os

import typer

from cluster.commands.devices import DeviceKind, SlotDir, SlotsPerGpu, wanted_devices
from cluster.commands.shared import AsJson, console
from cluster.placement import SLOT_DIRECTORY


def doctor(
    as_json: AsJson = False,
    device: DeviceKind = "auto",
    slots_per_gpu: SlotsPerGpu = 1,
    slot_dir: SlotDir = SLOT_DIRECTORY,
) -> None:
    """Say what this host has for a search, and what it lacks."""
    from cluster.doctor import Doctor

    here = Doctor(wanted_devices(device, slots_per_gpu, False, slot_dir), os.environ)
    if as_json:
        found = here.as_json()
        typer.echo(json.dumps(found, indent=2))
        raise typer.Exit(0 if found["ok"] else 1)
    raise typer.Exit(0 if here.tell(console()) else 1)
