"""Eight trials that sleep 1 s, on three workers in containers: stock KerasTuner beside the cluster.

    python -m tests.bench containers

Both sides run the same program in the same image under the same compose.yaml; stock.yaml only takes the launcher away.
The clock starts when the first trial does and is the engine's, so that both sides are measured by the same hand.
"""

import re
import shutil
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

from tests.bench.figures import Figures
from tests.e2e.stack import TAG, Stack, docker

SECONDS = 1.0  # that a trial takes
WHAT = ("last worker has left", "chief has left", "last trial to the last exit")
STOCK = Path(__file__).parent / "stock.yaml"
LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\S+Z) .*trial \d+ sleeps")


def why_not() -> str | None:
    """Why this cannot run here."""
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        return None
    return "no Docker Engine answers"


def trials_began(stack: Stack) -> list[float]:
    """When the engine read the first line of each trial, in Unix seconds."""
    logs = "\n".join(docker("logs", "--timestamps", worker.id) for worker in stack.containers("worker"))
    return [datetime.fromisoformat(match["time"]).timestamp() for match in LINE.finditer(logs)]


def measure(name: str, overlays: tuple[Path, ...]) -> tuple[float, float, float]:
    """Runs one side.

    Returns:
        When its last worker and when its chief had left, in seconds from the first trial; how long after the end of the
        last trial the last of them had, in seconds.
    """
    with tempfile.TemporaryDirectory() as directory:
        stack = Stack(f"bench-{name}", Path(directory), overlays=overlays)
        stack.program("sleep_trials.py")
        try:
            done = stack.up("--scale", "worker=3")
            assert done.returncode == 0, done.stdout
            began = trials_began(stack)
            workers = max(worker.finished for worker in stack.containers("worker"))
            chief = max(one.finished for one in stack.containers("chief"))
        finally:
            stack.down()
    return workers - min(began), chief - min(began), max(workers, chief) - (max(began) + SECONDS)


def main(runs: int) -> dict[str, Figures]:
    """Measures both sides in turn; returns seconds by side."""
    docker("compose", "--env-file", "/dev/null", "build", "--quiet", env={"CLUSTER_TAG": TAG}, timeout=1800)
    sides: dict[str, list[tuple[float, float, float]]] = {"stock": [], "cluster": []}
    for _ in range(runs):
        sides["stock"].append(measure("stock", (STOCK,)))
        sides["cluster"].append(measure("cluster", ()))
    return {name: dict(zip(WHAT, map(list, zip(*times, strict=True)), strict=True)) for name, times in sides.items()}
