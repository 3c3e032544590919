"""The bench of trainers on one GPU, as a process: what it says without a GPU, and its table with one that is fake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.launcher import ENVIRONMENT
from tests.e2e.stack import ROOT

FAKE_NVML = {"PYTHONPATH": str(ROOT / "tests" / "fake_nvml")}
VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def bench(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in ENVIRONMENT.items() if name not in VISIBLE}
    return subprocess.run(
        [sys.executable, "-m", "tests.bench.gpu", *words],
        cwd=ROOT,
        env=own | FAKE_NVML | environment,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.parametrize(
    ("environment", "how"),
    [
        ({"FAKE_GPUS": "none"}, "NVML says: NVML Shared Library Not Found"),
        ({"FAKE_GPUS": "broken"}, "RM has detected an NVML/RM version mismatch"),
        ({"FAKE_GPUS": "2", "CUDA_VISIBLE_DEVICES": ""}, "NVML finds 2, and CUDA_VISIBLE_DEVICES='' leaves none"),
    ],
    ids=["no-driver", "broken-driver", "none-visible"],
)
def test_without_a_gpu_it_says_how_it_looked(environment: dict[str, str], how: str) -> None:
    done = bench(**environment)
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert line.startswith("nothing is measured: no GPU can be reached. ")
    assert how in line


def test_its_table_has_a_row_for_each_pack(tmp_path: Path) -> None:
    figures = tmp_path / "figures" / "gpu.json"
    words = ["--packs", "1", "2", "--images", "128", "--seconds", "0.5", "--json", str(figures)]
    done = bench(*words, FAKE_GPUS="2", CLUSTER_SLOT_DIR=str(tmp_path / "slots"))
    assert done.returncode == 0, done.stdout + done.stderr

    about, _, _, _, first, second = done.stdout.splitlines()
    assert "gpu 0 GPU-00000000" in about
    assert "trained on cpu (cpu), NOT on the GPU" in about
    assert (first[:5], second[:5]) == ("| 1 |", "| 2 |")
    rows = json.loads(figures.read_text())["rows"]
    assert [len(row["speeds"]) for row in rows] == [1, 2]
    assert all(speed > 0 for row in rows for speed in row["speeds"])
    assert rows[1]["total"] == pytest.approx(sum(rows[1]["speeds"]))
