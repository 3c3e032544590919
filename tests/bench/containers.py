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

STOCK = Path(__file__).parent / "stock.yaml"
LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\S+Z) .*trial \d+ sleeps")


def why_not() -> str | None:
    """Why this cannot run here."""
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        return None
    return "no Docker Engine answers"


def first_trial(stack: Stack) -> float:
    """When the engine read the first line of a trial, in Unix seconds."""
    logs = "\n".join(docker("logs", "--timestamps", worker.id) for worker in stack.containers("worker"))
    return min(datetime.fromisoformat(match["time"]).timestamp() for match in LINE.finditer(logs))


def measure(name: str, overlays: tuple[Path, ...]) -> tuple[float, float]:
    """Runs one side; returns when its last worker and when its chief had left, in seconds from the first trial."""
    with tempfile.TemporaryDirectory() as directory:
        stack = Stack(f"bench-{name}", Path(directory), overlays=overlays)
        stack.program("sleep_trials.py")
        try:
            done = stack.up("--scale", "worker=3")
            assert done.returncode == 0, done.stdout
            start = first_trial(stack)
            workers = max(worker.finished for worker in stack.containers("worker")) - start
            chief = max(one.finished for one in stack.containers("chief")) - start
        finally:
            stack.down()
    return workers, chief


def main(runs: int) -> dict[str, Figures]:
    """Measures both sides in turn; returns seconds by side."""
    docker("compose", "--env-file", "/dev/null", "build", "--quiet", env={"CLUSTER_TAG": TAG}, timeout=1800)
    sides: dict[str, list[tuple[float, float]]] = {"stock": [], "cluster": []}
    for _ in range(runs):
        sides["stock"].append(measure("stock", (STOCK,)))
        sides["cluster"].append(measure("cluster", ()))
    return {
        name: {"last worker has left": [x for x, _ in both], "chief has left": [x for _, x in both]}
        for name, both in sides.items()
    }
