"""Trainers packed on one GPU: how many images a second each of them trains on, and all of them together.

    python -m tests.bench.gpu [--packs 1 2 4 8] [--backend jax] [--json FILE]

Every row is `cluster run --workers K --slots-per-gpu K --device gpu` of programs/cnn.py, on the first GPU that this
process may use. Each trainer is timed while all K are at work. The GPU's memory is what NVML tells, of all who use it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.devices import Gpu, Gpus, find_gpus
from cluster.errors import ClusterError

PROGRAM = Path(__file__).parent / "programs" / "cnn.py"
LIMIT = 1200.0  # seconds for one row
LOOK_SECONDS = 0.1  # how often the GPU's memory is looked at
SHOWN = 40  # lines of a run that failed


@dataclass(frozen=True)
class Row:
    """What so many trainers did.

    Attributes:
        trainers: How many.
        speeds: The images a second of each, the slowest first.
        overlap: Which part of the time from the first start to the last end all of them were timed.
        memory: The most of the GPU's memory that was in use at a time, in bytes; None where NVML does not tell.
        device: What the backend said that it trained on.
    """

    trainers: int
    speeds: list[float]
    overlap: float
    memory: int | None
    device: str

    @property
    def total(self) -> float:
        return sum(self.speeds)


def look_for_gpus() -> tuple[Gpus, str]:
    """The GPUs that this process may use; where there are none, how it looked."""
    import pynvml

    try:
        gpus = find_gpus(os.environ)
    except ClusterError as error:
        return Gpus(), str(error).split(". See what")[0]
    if gpus.usable:
        return gpus, ""
    if gpus.found:
        names = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
        told = ", ".join(f"{name}={os.environ[name]!r}" for name in names if name in os.environ)
        return gpus, f"NVML finds {gpus.found}, and {told} leaves none"
    try:
        pynvml.nvmlInit()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return gpus, f"NVML says: {error}"
    return gpus, "NVML works, and finds none"


def memory_in_use(gpu: Gpu) -> int | None:
    """The bytes in use on a GPU; None where NVML does not tell."""
    import pynvml

    number, _, part = gpu.index.partition(":")
    try:
        handle: Any = pynvml.nvmlDeviceGetHandleByIndex(int(number))
        if part:
            handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, int(part))
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    except pynvml.NVMLError:
        return None


@contextmanager
def watched(gpu: Gpu) -> Iterator[list[int]]:
    """While open, looks at a GPU's memory; yields the bytes that were in use, which grow."""
    import pynvml

    used: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_SECONDS):
            now = memory_in_use(gpu)
            if now is not None:
                used.append(now)

    if gpu.variable != "CUDA_VISIBLE_DEVICES":
        yield used
        return
    pynvml.nvmlInit()
    watcher = threading.Thread(target=watch, name="memory of the GPU", daemon=True)
    watcher.start()
    try:
        yield used
    finally:
        done.set()
        watcher.join()
        pynvml.nvmlShutdown()


@contextmanager
def started(command: list[str], directory: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process, both of whose streams are read through one pipe; it is told to end where it takes too long."""
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        late = threading.Timer(LIMIT, process.terminate)
        late.start()
        try:
            yield process
        finally:
            late.cancel()


def measure(trainers: int, gpu: Gpu, backend: str, words: list[str]) -> Row:
    """Packs so many trainers on the GPU.

    Raises:
        SystemExit: the run has failed, or took too long; its last lines are shown.
    """
    options = ["--workers", str(trainers), "--slots-per-gpu", str(trainers), "--device", "gpu"]
    command = [sys.executable, "-m", "cluster", "run", *options, str(PROGRAM), "--together", str(trainers), *words]
    environment = os.environ | {gpu.variable: gpu.id, "KERAS_BACKEND": backend}
    with tempfile.TemporaryDirectory() as directory:
        with watched(gpu) as used, started(command, directory, environment) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "waiting for a free GPU" in line:
                    print(line, end="", file=sys.stderr, flush=True)  # others are on it: it may take long
        speeds = [json.loads(file.read_text()) for file in Path(directory).glob("speeds/*.json")]
    if process.returncode != 0 or len(speeds) != trainers:
        sys.exit(f"{''.join(lines[-SHOWN:])}\n{trainers} trainers: exit code {process.returncode}, see above")
    starts, ends = [x["start"] for x in speeds], [x["end"] for x in speeds]
    overlap = max(0.0, min(ends) - max(starts)) / (max(ends) - min(starts))
    devices = ", ".join(sorted({x["device"] for x in speeds}))
    return Row(trainers, sorted(x["images_per_second"] for x in speeds), overlap, max(used, default=None), devices)


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| trainers | images/s of each | images/s of all | times the first row | timed together | peak GPU memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        each = ", ".join(f"{speed:,.0f}" for speed in row.speeds)
        memory = "unknown" if row.memory is None else f"{row.memory / 10**9:.1f} GB"
        ratio = row.total / rows[0].total
        lines.append(f"| {row.trainers} | {each} | {row.total:,.0f} | {ratio:.2f} | {row.overlap:.0%} | {memory} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description="Packs trainers on one GPU.")
    parser.add_argument("--packs", type=int, nargs="+", default=[1, 2, 4, 8], help="how many (default: 1 2 4 8)")
    parser.add_argument("--backend", default="jax", help="Keras's backend (default: jax)")
    parser.add_argument("--images", type=int, default=20_000, help="how many an epoch has (default: 20000)")
    parser.add_argument("--batch", type=int, default=128, help="how many a step has (default: 128)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each row is timed (default: 20)")
    parser.add_argument("--json", type=Path, help="where to keep every figure")
    arguments = parser.parse_args()
    gpus, why = look_for_gpus()
    if not gpus.usable:
        print(f"nothing is measured: no GPU can be reached. {why}")
        return
    gpu = gpus.usable[0]
    words = [f"--images={arguments.images}", f"--batch={arguments.batch}", f"--seconds={arguments.seconds}"]
    rows = []
    for trainers in arguments.packs:
        rows.append(measure(trainers, gpu, arguments.backend, words))
        print(f"{trainers} trainers: {rows[-1].total:,.0f} images/s", file=sys.stderr, flush=True)
    saw = ", ".join(sorted({row.device for row in rows}))
    beside = ", NOT on the GPU" if "cpu" in saw else ""
    about = f"{gpu.label} ({gpu.name}, {gpu.memory / 10**9:.0f} GB, driver {gpus.driver or 'unknown'})"
    print(f"{about}; Keras on {arguments.backend}, which trained on {saw}{beside}; batches of {arguments.batch}\n")
    print(table(rows))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        facts = {"gpu": asdict(gpu), "driver": gpus.driver, "backend": arguments.backend, "saw": saw, "words": words}
        figures = [asdict(row) | {"total": row.total} for row in rows]
        arguments.json.write_text(json.dumps(facts | {"rows": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
