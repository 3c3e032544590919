"""`cluster doctor`: what this host has for a search, and what it lacks.

Owns the checks and how they are told. What it looks at is passed in: the variables, the directory, the commands that it
runs. Keras is loaded in a process of its own, as it takes seconds, and may fail in ways that end a process.

Other packages add checks by an entry point in the group `keras_tuning_cluster.doctor`: a callable without arguments
that returns (state, text, advice) for each thing that it has looked at.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster import cores, devices, placement
from cluster.devices import Gpu, Gpus
from cluster.errors import CannotSave, ClusterError, DeviceError, DirectoryError, UsageError
from cluster.memory import backend_name
from cluster.notices import is_notice
from cluster.placement import GIGABYTE, Wanted
from cluster.seams.check import KERAS_TUNER
from cluster.slots import SlotDirectory
from cluster.state import ensure_writable

OK, NOTE, PROBLEM = STATES = ("ok", "note", "problem")
STYLES = {OK: "green", NOTE: "yellow", PROBLEM: "bold red"}
GROUP = "keras_tuning_cluster.doctor"
PYTHON = ("3.11", "3.14")
COMPOSE = "2.20"
LOAD_SECONDS = 120.0
ANSWER_SECONDS = 10.0

# Loads Keras as a program does, then asks its backend. TensorFlow says more than this on stdout now and then.
PROBE = """
import importlib, json, keras
name = keras.backend.backend()
backend = importlib.import_module(name)
gpus = 0
if name == "tensorflow":
    gpus = len(backend.config.list_physical_devices("GPU"))
elif name == "jax":
    gpus = sum(device.platform == "gpu" for device in backend.devices())
elif name == "torch":
    gpus = backend.cuda.device_count()
print()
print(json.dumps({"name": name, "version": getattr(backend, "__version__", ""), "gpus": gpus}))
"""
# A look must not take the memory of a GPU that others train on.
MODEST = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
FOR_GPUS = {"tensorflow": "tensorflow[and-cuda]", "jax": "jax[cuda12]", "torch": "a build of torch for CUDA"}

Run = Callable[[Sequence[str], Mapping[str, str], float], subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        state: `ok`; `note` where a search can do without it; `problem` where it cannot, or not as it should.
        text: What was found.
        advice: What to do; empty where there is nothing to do.
    """

    name: str
    state: str
    text: str
    advice: str = ""


def run_command(words: Sequence[str], environ: Mapping[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, and returns what it has printed.

    Raises:
        OSError: there is no such command.
        subprocess.TimeoutExpired: it took longer than `seconds`, and was killed.
    """
    return subprocess.run(
        words,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=False,
    )


class Doctor:
    """Looks at this host as a worker would.

    Attributes:
        gpus: The GPUs that a worker may use, with the holder of each slot, for machines.
        cores: The numbers of the cores that it may use.

    Args:
        wanted: What the user decides about devices.
        environ: The variables.
        directory: Where a program would be started.
        run: Runs a command.
        extras: The checks of other packages; those that are installed, by default.
    """

    def __init__(
        self,
        wanted: Wanted,
        environ: Mapping[str, str],
        directory: Path = Path(),
        run: Run = run_command,
        extras: Iterable[EntryPoint] | None = None,
    ) -> None:
        self.gpus: list[dict[str, Any]] = []
        self.cores: list[int] = []
        self._wanted = wanted
        self._environ = environ
        self._directory = directory
        self._run = run
        self._extras = importlib.metadata.entry_points(group=GROUP) if extras is None else extras
        self._found = Gpus()

    def examine(self) -> Iterator[Check]:
        """Looks at one thing after another."""
        yield _version("Python", platform.python_version(), PYTHON, "Use a Python from {} on, and before {}")
        yield self._keras_tuner()
        yield from self._look_at_gpus()
        yield from self._look_at_slots()
        yield self._look_at_cores()
        yield self._look_at_backend()
        yield from self._look_at_docker()
        yield self._look_at_results()
        for entry in self._extras:
            yield from _ask(entry)

    def tell(self, console: Console) -> bool:
        """Prints each check as soon as it is made; returns whether there is no problem."""
        good = True
        with console.status("looking"):
            for check in self.examine():
                good = good and check.state != PROBLEM
                console.print(_line(check))
        return good

    def as_json(self) -> dict[str, Any]:
        """Makes all checks, for machines; `ok` says whether there is no problem."""
        checks = list(self.examine())
        return {
            "ok": all(check.state != PROBLEM for check in checks),
            "checks": [asdict(check) for check in checks],
            "gpus": self.gpus,
            "cores": self.cores,
        }

    def _keras_tuner(self) -> Check:
        mend = "Mend it with: pip install 'keras-tuner>={},<{}'"
        try:
            return _version("KerasTuner", importlib.metadata.version("keras-tuner"), KERAS_TUNER, mend)
        except importlib.metadata.PackageNotFoundError:
            return Check("KerasTuner", PROBLEM, "is not installed", mend.format(*KERAS_TUNER))

    def _look_at_gpus(self) -> Iterator[Check]:
        wanted = self._wanted.kind
        try:
            self._found = found = devices.find_gpus(self._environ)
        except UsageError as error:
            yield Check("GPUs", PROBLEM, str(error), "Name GPUs that are there, or unset the variable")
            return
        except DeviceError as error:
            yield _from_error("GPUs", error, NOTE if wanted == "cpu" else PROBLEM)
            return
        driver = f", NVIDIA driver {found.driver}" if found.driver else ""
        lacking = PROBLEM if wanted == "gpu" else NOTE
        if found.usable:
            alone = ", and left alone (--device cpu)" if wanted == "cpu" else ""
            yield Check("GPUs", OK, f"{len(found.usable)} of {found.found} can be used{driver}{alone}")
        elif found.found:
            advice = "See the variables CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES"
            yield Check("GPUs", lacking, f"none of {found.found} may be used here{driver}", advice)
        else:
            advice = "Where there should be one, see what nvidia-smi says; a container has to be given its GPUs"
            so = "and --device gpu insists on one" if wanted == "gpu" else "trainers run on the CPU"
            yield Check("GPUs", lacking, f"none{driver}: {so}", advice)
        for gpu in found.usable:
            self.gpus.append(asdict(gpu) | {"slots": []})
            size = f", {gpu.memory / GIGABYTE:.0f} GB" if gpu.memory else ""
            yield Check(f"GPU {gpu.index}", OK, f"{gpu.name}{size}, {gpu.id}")

    def _look_at_slots(self) -> Iterator[Check]:
        if self._wanted.kind == "cpu":
            return
        try:
            directory = SlotDirectory(self._wanted.directory)
        except DeviceError as error:
            yield _from_error("slot directory", error)
            return
        kind = directory.file_system or "of an unknown file system"
        yield Check("slot directory", OK, f"{directory.path} ({kind}) can be written")
        if not self._found.usable:
            return
        try:
            # It is here that the GPUs' memory is held against the number of slots.
            placement.find(replace(self._wanted, kind="gpu"), self._environ)
        except ClusterError as error:
            yield Check("slots", PROBLEM, str(error), "Give fewer with --slots-per-gpu")
            return
        for gpu, facts in zip(self._found.usable, self.gpus, strict=True):
            yield self._look_at_slots_of(gpu, facts, directory)

    def _look_at_slots_of(self, gpu: Gpu, facts: dict[str, Any], directory: SlotDirectory) -> Check:
        name = f"slots, GPU {gpu.index}"
        numbers = range(self._wanted.slots_per_gpu)
        try:
            holders = [directory.holder(gpu.key, number) for number in numbers]
        except (DeviceError, OSError) as error:
            return Check(name, PROBLEM, str(error), "Give another directory with --slot-dir")
        facts["slots"] = holders
        told = [f"held by {holder}" if holder else "free" for holder in holders]
        if len(told) > 1:
            told = [f"slot {number + 1}: {text}" for number, text in zip(numbers, told, strict=True)]
        return Check(name, OK, ", ".join(told))

    def _look_at_cores(self) -> Check:
        self.cores = sorted(cores.allowed_cores())
        quota = cores.quota()
        limit = "" if quota is None else f", and the time of {quota:g} by the quota of the control group"
        return Check("cores", OK, f"{_count(len(self.cores), 'core')} ({cores.to_text(self.cores)}){limit}")

    def _look_at_backend(self) -> Check:
        name = backend_name(self._environ)
        try:
            done = self._run([sys.executable, "-P", "-c", PROBE], MODEST | dict(self._environ), LOAD_SECONDS)
        except subprocess.TimeoutExpired:
            return _does_not_load(name, f"not within {LOAD_SECONDS:.0f} s")
        facts = _last_object(done.stdout)
        if done.returncode or facts is None:
            return _does_not_load(name, _last_line(done.stderr) or _end(done.returncode))
        name, gpus = str(facts.get("name")), int(facts.get("gpus", 0))
        text = f"{name} {facts.get('version')}, sees {_count(gpus, 'GPU') if gpus else 'no GPU'}"
        if gpus or not self._found.usable or self._wanted.kind == "cpu":
            return Check("Keras backend", OK, text)
        return Check("Keras backend", PROBLEM, text, self._how_to_see_gpus(name))

    def _how_to_see_gpus(self, name: str) -> str:
        if name not in FOR_GPUS:
            return f"{name} runs on the CPU alone: set KERAS_BACKEND to one of {', '.join(FOR_GPUS)}"
        amd = self._found.usable[0].variable != "CUDA_VISIBLE_DEVICES"
        return f"Install {f'a build of {name} for ROCm' if amd else FOR_GPUS[name]}, or give --device cpu"

    def _look_at_docker(self) -> Iterator[Check]:
        only = "It is for runs in containers alone. "
        try:
            engine = self._docker("version", "--format", "{{.Server.Version}}")
        except OSError:
            advice = f"{only}To have them, install Docker Engine with Compose {COMPOSE} or newer"
            yield Check("Docker", NOTE, "there is no docker command", advice)
            return
        answers = engine.returncode == 0 and bool(engine.stdout.strip())
        if answers:
            yield Check("Docker", OK, f"engine {engine.stdout.strip()}")
        else:
            why = _last_line(engine.stderr) or _end(engine.returncode)
            advice = f"{only}To have them, start the engine, and see that this user may talk to it"
            yield Check("Docker", NOTE, f"the engine does not answer: {why}", advice)
        yield self._look_at_compose()
        if answers and self._found.found:
            yield self._look_at_gpus_of_docker()

    def _look_at_compose(self) -> Check:
        done = self._docker("compose", "version", "--short")
        version = done.stdout.strip()
        if done.returncode or not _numbers(version):
            return Check("Compose", NOTE, "docker has no compose", f"Install Compose {COMPOSE} or newer to use it")
        if _numbers(version) < _numbers(COMPOSE):
            return Check("Compose", PROBLEM, f"{version} is too old", f"Install Compose {COMPOSE} or newer")
        return Check("Compose", OK, version)

    def _look_at_gpus_of_docker(self) -> Check:
        info = _last_object(self._docker("info", "--format", "{{json .}}").stdout) or {}
        if "nvidia" in (info.get("Runtimes") or {}):
            return Check("GPUs in Docker", OK, "by the runtime nvidia")
        if any("nvidia" in json.dumps(device) for device in info.get("DiscoveredDevices") or []):
            return Check("GPUs in Docker", OK, "by CDI")
        advice = "Install NVIDIA's container toolkit, then: nvidia-ctk runtime configure --runtime=docker"
        return Check("GPUs in Docker", NOTE, "docker info lists no runtime nvidia, and no GPU by CDI", advice)

    def _docker(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return self._run(["docker", *words], self._environ, ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, 1, "", f"not within {ANSWER_SECONDS:.0f} s")

    def _look_at_results(self) -> Check:
        results = self._directory / "results"
        place = results if os.path.lexists(results) else self._directory
        try:
            ensure_writable(place)
        except CannotSave as error:
            return Check("results", PROBLEM, str(error).split(". What")[0], "Make room, or choose another directory")
        except DirectoryError as error:
            return _from_error("results", error)
        where = "./results" if place == results else "the current directory"
        return Check("results", OK, f"{where} can be written")


def _ask(entry: EntryPoint) -> Iterator[Check]:
    """The checks of another package; what goes wrong in it is told, and ends nothing."""
    try:
        for state, text, advice in entry.load()():
            if state not in STATES:
                raise ValueError(f"{state!r} is none of {', '.join(STATES)}")
            yield Check(entry.name, state, str(text), str(advice))
    except (Exception, SystemExit) as error:
        what = f"the check {entry.value} failed: {type(error).__name__}: {error}"
        yield Check(entry.name, PROBLEM, what, "Mend or remove the package that it is from")


def _version(name: str, version: str, known: tuple[str, str], advice: str) -> Check:
    low, high = known
    if _numbers(low) <= _numbers(version) < _numbers(high):
        return Check(name, OK, version)
    return Check(name, PROBLEM, f"{version} is none that is known to work", advice.format(low, high))


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, to be compared."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _from_error(name: str, error: ClusterError, state: str = PROBLEM) -> Check:
    """An error as a check: its last sentence says what to do."""
    what, _, advice = str(error).rpartition(". ")
    return Check(name, state, what, advice.rstrip(".")) if what else Check(name, state, advice)


def _does_not_load(name: str, why: str) -> Check:
    advice = "Install it, or set KERAS_BACKEND to a backend that is installed"
    return Check("Keras backend", PROBLEM, f"{name} does not load: {why}", advice)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not is_notice(line.encode())]
    return lines[-1] if lines else ""


def _last_object(text: str) -> dict[str, Any] | None:
    """The JSON object in the last line; None where there is none."""
    try:
        found = json.loads(_last_line(text))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _end(code: int) -> str:
    """How a process ended that said nothing."""
    return f"it was ended by the signal {signal.strsignal(-code) or -code}" if code < 0 else f"it ended with {code}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _line(check: Check) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=max(map(len, STATES)))
    table.add_column(width=14)
    table.add_column(overflow="fold")
    table.add_row(Text(check.state, STYLES[check.state]), Text(check.name), Text(check.text))
    if check.advice:
        table.add_row("", "", Text(f"→ {check.advice}"))
    return table
