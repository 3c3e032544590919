"""A device for each worker, in real processes: GPUs that are not there, and the real cores of this host."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.launcher import CLUSTER, ENVIRONMENT, PROGRAMS, Running, children, cluster, events, trials

FAKE_NVML = str(Path(__file__).parents[1] / "fake_nvml")
CORES = len(os.sched_getaffinity(0))


def gpus(number: int | str, **more: str) -> dict[str, str]:
    """The variables of a box with so many GPUs."""
    return {"PYTHONPATH": FAKE_NVML, "FAKE_GPUS": str(number), "CLUSTER_SLOT_DIR": "slots", **more}


def seen(directory: Path) -> list[dict[str, Any]]:
    """What the trials of device_trials.py wrote down."""
    return [json.loads(line) for line in (directory / "seen.jsonl").read_text().splitlines()]


def test_six_workers_on_four_gpus(
    start: Callable[..., Running], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = [str(PROGRAMS / "device_trials.py"), "--trials", "12", "--seconds", "1.5"]
    run = start("run", "--workers", "6", "--device", "gpu", *program, **gpus(4))
    lines = [run.read_until(r"(worker-\d) +\| cluster: (on gpu (\d)|waiting for a free GPU)") for _ in range(6)]
    holders = {line[3]: line[1] for line in lines if line[3]}
    assert set(holders) == {"0", "1", "2", "3"}
    run.read_until(r"trial 03 → ")  # all four run one

    victim = holders["2"]
    [pid] = [x for x in children(run.process.pid) if victim.encode() in Path(f"/proc/{x}/cmdline").read_bytes()]
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    heir = run.read_until(r"(worker-\d) +\| cluster: on gpu 2 ")[1]
    with capsys.disabled():
        print(f"\n{heir} has the GPU of the killed {victim} after {time.monotonic() - killed:.2f} s")
    assert heir not in holders.values()
    assert time.monotonic() - killed < 10

    assert run.end() == 0, run.output
    found = seen(tmp_path)
    assert all(x["alone"] for x in found), "never two on one GPU"
    assert len({x["gpu"] for x in found}) == 4
    assert Counter(t["status"] for t in trials(tmp_path / "results/devices").values()) == {"COMPLETED": 12}
    assert all(re.match(r"gpu \d GPU-\d0000000", e["device"]) for e in events(tmp_path / "results/devices", "grant"))
    assert "no GPU is seen here" in run.output, "the chief sees none"


def test_never_two_on_one_slot_over_two_hundred_kills(start: Callable[..., Running], tmp_path: Path) -> None:
    """Supervisors and trainers, killed at random moments of their lives; those who wait take over."""
    dice = random.Random(4)
    kills = 200
    program = str(PROGRAMS / "hold_device.py")
    start("chief", "--listen", f"unix:{tmp_path}/c", program, **gpus(4)).read_until("the chief listens")
    words = [*CLUSTER, "worker", "--chief", f"unix:{tmp_path}/c", "--device", "gpu"]

    def worker(number: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*words, "--name", f"w{number}", program],
            cwd=tmp_path,
            env={**ENVIRONMENT, **gpus(4)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    workers = [worker(number) for number in range(6)]
    held = tmp_path / "held.txt"
    stopped: list[int] = []
    killed: Counter[str] = Counter()

    def lines() -> list[list[str]]:
        return [line.split() for line in held.read_text().splitlines()] if held.exists() else []

    try:
        # On a slow machine many are killed before they hold anything: then it goes on for longer.
        while sum(killed.values()) < kills or len(lines()) <= kills / 4:
            time.sleep(dice.uniform(0.0, 0.4))  # the chance is what is tested
            if stopped and dice.random() < 0.5:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stopped.pop(), signal.SIGKILL)
            number = dice.randrange(6)
            assert workers[number].poll() is None, "a worker that nobody killed is there"
            trainers = children(workers[number].pid)
            if trainers and dice.random() < 0.4:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(trainers[0], signal.SIGKILL)
                    killed["trainer"] += 1
                continue
            if not trainers and dice.random() < 0.5:
                continue  # may it come to hold one
            killed["waiting" if not trainers else "holder"] += 1
            if trainers and dice.random() < 0.3:  # one that cannot notice that its supervisor is gone holds the slot
                with contextlib.suppress(ProcessLookupError):  # it may have ended by itself just now
                    os.kill(trainers[0], signal.SIGSTOP)
                    stopped.append(trainers[0])
            workers[number].kill()
            workers[number].wait()
            workers[number] = worker(number)
    finally:
        for process in workers:
            process.kill()
            process.wait()
        for trainer in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(trainer, signal.SIGKILL)
    assert [line for line in lines() if line[1] != "alone"] == []
    assert len({line[0] for line in lines()}) == 4
    assert min(killed.values()) > 10, killed


@pytest.mark.parametrize(("hungry", "status"), [("packed", "COMPLETED"), ("always", "FAILED")])
def test_a_trial_without_memory_runs_once_more_alone(tmp_path: Path, hungry: str, status: str) -> None:
    words = ["--workers", "2", "--device", "gpu", "--slots-per-gpu", "2", str(PROGRAMS / "device_trials.py")]
    done = cluster(tmp_path, "run", *words, "--trials", "5", "--seconds", "0.5", **gpus(1, HUNGRY=hungry))
    assert done.returncode == 0, done.stdout
    found = trials(tmp_path / "results" / "devices")
    assert {k: t["status"] for k, t in found.items()} == {**dict.fromkeys("01234", "COMPLETED"), "2": status}
    first, second = [x for x in seen(tmp_path) if x["trial"] == "2"]
    assert (first["packed"], second["packed"]) == (True, False)
    assert first["process"] != second["process"], "what the first held of the GPU went with it"
    [lost] = events(tmp_path / "results" / "devices", "lost")
    assert (lost["counted"], lost["out_of_memory"]) == (False, True)
    others = [x for x in seen(tmp_path) if x["trial"] != "2"]
    assert all(x["packed"] for x in others)


def test_gpus_and_the_processor_in_one_search(tmp_path: Path) -> None:
    words = ["--workers", "2", "--device", "gpu", "--allow-cpu", str(PROGRAMS / "device_trials.py")]
    done = cluster(tmp_path, "run", *words, "--trials", "4", "--seconds", "1", **gpus(1))
    assert done.returncode == 0, done.stdout
    assert {x["gpu"][:4] for x in seen(tmp_path)} == {"GPU-", "-1"}
    assert {e["device"].split()[0] for e in events(tmp_path / "results/devices", "grant")} == {"gpu", "cpu"}
    report = (tmp_path / "results/devices/report.md").read_text()
    assert "gpu 0 GPU-00000000" in report


def test_gpus_that_no_backend_can_use_are_left_alone(tmp_path: Path) -> None:
    """The tests' Keras has no backend for GPUs: four workers would wait for nothing."""
    done = cluster(tmp_path, "run", "--workers", "2", str(PROGRAMS / "device_trials.py"), "--trials", "2", **gpus(1))
    assert done.returncode == 0, done.stdout
    assert "no installed Keras backend was built for GPUs" in done.stdout
    assert {x["gpu"] for x in seen(tmp_path)} == {"-1"}


# --- cores


def test_workers_share_the_cores(tmp_path: Path) -> None:
    words = ["--workers", "2", str(PROGRAMS / "device_trials.py"), "--trials", "4", "--seconds", "1"]
    done = cluster(tmp_path, "run", *words)
    assert done.returncode == 0, done.stdout
    shares = {tuple(x["cores"]) for x in seen(tmp_path)}
    assert len(shares) == min(2, CORES)
    assert Counter(core for share in shares for core in share) == dict.fromkeys(os.sched_getaffinity(0), 1)
    assert {x["threads"] for x in seen(tmp_path)} == {str(len(share)) for share in shares}


THREADS = """
import collections, contextlib, os, pathlib
import keras, keras_tuner, numpy

def threads():
    names, places = collections.Counter(), set()
    for task in pathlib.Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread may end while it is looked at
            status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
            names[status["Name"].strip()] += 1
            places.add(status["Cpus_allowed_list"].strip())
    return names, places

class Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial, *args, **kwargs):
        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(numpy.zeros((256, 64)), numpy.zeros((256, 1)), verbose=0)
        looks = [threads() for _ in range(50)]
        names = looks[0][0]
        for found, _ in looks:  # one that has just begun has the name of who began it, until it takes its own
            names &= found
        places = set().union(*(found for _, found in looks))
        print(f"backend={keras.backend.backend()} compute={names['tf_Compute']} eigen={names['tf_XLAEigen']}"
              f" all={names.total()} on={sorted(places)}")
        return trial.hyperparameters.Float("x", 0.0, 1.0)

oracle = keras_tuner.oracles.RandomSearchOracle(objective=keras_tuner.Objective("s", "min"), max_trials=2)
Tuner(oracle=oracle, directory="results", project_name="p").search()
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_backend_has_as_many_threads_as_its_trainer_has_cores(tmp_path: Path, backend: str) -> None:
    (tmp_path / "program.py").write_text(THREADS)
    done = cluster(tmp_path, "run", "--workers", "2", "program.py", KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stdout
    found = re.findall(r"backend=(\w+) compute=(\d+) eigen=(\d+) all=\d+ on=\[(.*)\]", done.stdout)
    assert len(found) == 2, done.stdout
    share = max(1, CORES // 2)
    for name, compute, eigen, places in found:
        assert name == backend
        if backend == "tensorflow":
            assert 0 < int(compute) <= 2 * share, "two pools"
        else:
            assert int(eigen) == share
        assert places.count("'") == 2, "every thread is on the trainer's cores"


def test_what_the_user_sets_wins(tmp_path: Path) -> None:
    words = ["--workers", "1", str(PROGRAMS / "device_trials.py"), "--trials", "1", "--seconds", "0"]
    done = cluster(tmp_path, "run", *words, OMP_NUM_THREADS="7")
    assert done.returncode == 0, done.stdout
    assert [x["threads"] for x in seen(tmp_path)] == ["7"]


@pytest.mark.skipif(CORES < 2, reason="one core cannot be shared")
def test_the_cores_of_a_worker_that_leaves_are_dealt_again(start: Callable[..., Running], tmp_path: Path) -> None:
    program = [str(PROGRAMS / "device_trials.py"), "--trials", "60", "--seconds", "0.5"]
    chief = start("chief", "--listen", f"unix:{tmp_path}/c", "--expected", "2", *program)
    workers = [start("worker", "--chief", f"unix:{tmp_path}/c", *program) for _ in range(2)]
    chief.read_until("trial 03 → ")
    assert all(len(x["cores"]) < CORES for x in seen(tmp_path))
    workers[0].process.terminate()
    assert workers[0].end() == 0
    while len(seen(tmp_path)[-1]["cores"]) < CORES:
        chief.read_until(r"trial \d+ → ")
    chief.process.terminate()
    assert chief.end() == 143


# --- bad input


@pytest.mark.parametrize(
    ("options", "environment", "code", "text"),
    [
        (["--slots-per-gpu", "0"], {}, 2, "'--slots-per-gpu'"),
        (["--device", "tpu"], {}, 2, "--device 'tpu' is none of auto, gpu, cpu"),
        (["--device", "gpu"], {}, 11, "this process may use no GPU"),
        (["--device", "gpu"], gpus(4, CUDA_VISIBLE_DEVICES=""), 11, "no GPU among the 4 that are here"),
        (["--device", "gpu"], gpus(2, CUDA_VISIBLE_DEVICES="GPU-777"), 2, "CUDA_VISIBLE_DEVICES asks for 'GPU-777'"),
        (["--device", "gpu"], gpus(2, NVIDIA_VISIBLE_DEVICES="GPU-777"), 2, "NVIDIA_VISIBLE_DEVICES asks for"),
        ([], gpus("broken"), 11, "driver is installed, but does not work: RM has detected"),
        (["--device", "gpu", "--slots-per-gpu", "9"], gpus(1, FAKE_GPU_GB="8"), 2, "leaves 0.8 GB for each trainer"),
        (
            ["--device", "gpu", "--slot-dir", "/proc/slots"],
            gpus(1),
            11,
            "the slot directory /proc/slots cannot be used",
        ),
        ([], {"CLUSTER_SLOTS_PER_GPU": "two"}, 2, "CLUSTER_SLOTS_PER_GPU"),
    ],
)
@pytest.mark.parametrize("command", [["run", "--workers", "2"], ["worker"]], ids=["run", "worker"])
def test_bad_input_gets_one_clear_line(
    tmp_path: Path, command: list[str], options: list[str], environment: dict[str, str], code: int, text: str
) -> None:
    done = cluster(tmp_path, *command, *options, str(PROGRAMS / "sleep_trials.py"), **environment)
    assert (done.returncode, "Traceback" in done.stdout) == (code, False), done.stdout
    assert text in " ".join(done.stdout.split())


def test_a_broken_driver_and_allow_cpu(tmp_path: Path) -> None:
    words = ["--workers", "1", "--allow-cpu", str(PROGRAMS / "device_trials.py"), "--trials", "1", "--seconds", "0"]
    done = cluster(tmp_path, "run", *words, **gpus("broken"))
    assert done.returncode == 0, done.stdout
    assert "does not work: RM has detected an NVML/RM version mismatch. Trainers run on the CPU" in done.stdout
    assert [x["gpu"] for x in seen(tmp_path)] == ["-1"]
