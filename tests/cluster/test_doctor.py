"""What `cluster doctor` finds on hosts that are not here, and on this one."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster import doctor
from cluster.doctor import NOTE, OK, PROBLEM, PYTHON, Check, Doctor
from cluster.memory import backend_name
from cluster.placement import Wanted
from cluster.slots import SlotDirectory

ROOT = Path(__file__).parents[2]
FAKE_NVML = ROOT / "tests" / "fake_nvml"
GPU_0 = "GPU-00000000-aaaa-bbbb-cccc-0123456789ab"

Done = subprocess.CompletedProcess[str]
Answer = Done | Exception


def said(text: str, code: int = 0, err: str = "") -> Done:
    return subprocess.CompletedProcess([], code, text, err)


def loaded(name: str = "tensorflow", gpus: int = 0) -> Done:
    return said("a notice\n" + json.dumps({"name": name, "version": "2.21.0", "gpus": gpus}) + "\n")


LOADED = loaded()
ENGINE = said("28.2.2\n")
COMPOSE = said("2.26.1-4\n")
NO_RUNTIME = said('{"Runtimes": {"runc": {}}}')


class Commands:
    """Stands in for the commands of a host."""

    def __init__(self, backend: Answer, engine: Answer, compose: Answer, info: Answer) -> None:
        self.answers = {"-P": backend, "version": engine, "compose": compose, "info": info}

    def __call__(self, words: Sequence[str], environ: Mapping[str, str], seconds: float) -> Done:
        answer = self.answers[words[1]]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Host:
    """A host that is not here; to be called examines it, and returns the checks by name.

    Attributes:
        doctor: Who examined it last.
    """

    doctor: Doctor

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._monkeypatch = monkeypatch

    def __call__(
        self,
        gpus: str = "none",
        environ: dict[str, str] | None = None,
        extras: Sequence[EntryPoint] = (),
        backend: Answer = LOADED,
        engine: Answer = ENGINE,
        compose: Answer = COMPOSE,
        info: Answer = NO_RUNTIME,
        **wanted: Any,
    ) -> dict[str, Check]:
        self._monkeypatch.setenv("FAKE_GPUS", gpus)
        commands = Commands(backend, engine, compose, info)
        choice = Wanted(**{"directory": self._directory / "slots", **wanted})
        self.doctor = Doctor(choice, environ or {}, self._directory, commands, extras)
        return {check.name: check for check in self.doctor.examine()}


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host without GPUs, unless it is told how many; the fake of NVIDIA's module stands in for the real one."""
    monkeypatch.syspath_prepend(str(FAKE_NVML))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    yield Host(tmp_path, monkeypatch)
    sys.modules.pop("pynvml", None)


def problems(checks: dict[str, Check]) -> set[str]:
    return {name for name, check in checks.items() if check.state == PROBLEM}


# --- GPUs and their slots


def test_a_host_without_gpus_has_no_problem(examine: Host, tmp_path: Path) -> None:
    checks = examine()
    assert not problems(checks)
    assert checks["GPUs"] == Check("GPUs", NOTE, "none: trainers run on the CPU", checks["GPUs"].advice)
    assert "nvidia-smi" in checks["GPUs"].advice
    assert checks["Keras backend"].text == "tensorflow 2.21.0, sees no GPU"
    assert "GPUs in Docker" not in checks
    assert f"{tmp_path / 'slots'} (" in checks["slot directory"].text


def test_gpus_and_who_holds_them_are_told(examine: Host, tmp_path: Path) -> None:
    slot = SlotDirectory(tmp_path / "slots").take(GPU_0, 1, 2, "worker-7")
    assert slot is not None
    checks = examine("2", backend=loaded(gpus=2), slots_per_gpu=2)
    slot.release()
    assert not problems(checks)
    assert checks["GPUs"].text == "2 of 2 can be used, NVIDIA driver 555.42.06"
    assert checks["GPU 0"].text == f"NVIDIA H100 80GB HBM3, 80 GB, {GPU_0}"
    assert checks["slots, GPU 1"].text == "slot 1: free, slot 2: free"
    assert checks["slots, GPU 0"].text.startswith(f"slot 1: free, slot 2: held by worker-7 (process {os.getpid()} on ")
    gpus = examine.doctor.gpus
    assert [(gpu["index"], gpu["id"], gpu["memory"]) for gpu in gpus][:1] == [("0", GPU_0, 80 * 10**9)]
    assert [[bool(holder) for holder in gpu["slots"]] for gpu in gpus] == [[False, True], [False, False]]


def test_one_slot_has_no_number(examine: Host) -> None:
    assert examine("1", backend=loaded(gpus=1))["slots, GPU 0"].text == "free"


def test_a_driver_that_does_not_work_is_a_problem_in_its_own_words(examine: Host) -> None:
    check = examine("broken")["GPUs"]
    assert (check.state, check.text.partition(": ")[2]) == (PROBLEM, "RM has detected an NVML/RM version mismatch")
    assert check.advice.startswith("See what nvidia-smi says")
    assert examine("broken", kind="cpu")["GPUs"].state == NOTE


def test_a_variable_that_names_no_gpu_is_a_problem(examine: Host) -> None:
    check = examine("2", {"CUDA_VISIBLE_DEVICES": "7"})["GPUs"]
    assert check.state == PROBLEM
    assert "CUDA_VISIBLE_DEVICES asks for '7'" in check.text
    assert GPU_0 in check.text


def test_hidden_gpus_are_noted(examine: Host) -> None:
    check = examine("2", {"CUDA_VISIBLE_DEVICES": ""})["GPUs"]
    assert (check.state, check.text) == (NOTE, "none of 2 may be used here, NVIDIA driver 555.42.06")


def test_no_gpu_is_a_problem_for_who_insists(examine: Host) -> None:
    check = examine(kind="gpu")["GPUs"]
    assert (check.state, check.text) == (PROBLEM, "none: and --device gpu insists on one")
    assert examine("1", {"CUDA_VISIBLE_DEVICES": "-1"}, kind="gpu")["GPUs"].state == PROBLEM


def test_who_wants_the_cpu_has_no_problem_with_gpus(examine: Host) -> None:
    checks = examine("2", kind="cpu", directory=Path("/proc/no"))
    assert not problems(checks)
    assert checks["GPUs"].text.endswith("and left alone (--device cpu)")
    assert "slot directory" not in checks


def test_amds_gpus_have_no_uuid_and_no_memory(examine: Host) -> None:
    checks = examine(environ={"HIP_VISIBLE_DEVICES": "0,1"})
    assert checks["GPU 1"].text == "AMD GPU, 1"
    assert checks["Keras backend"].advice.startswith("Install a build of tensorflow for ROCm")


def test_a_slot_directory_that_cannot_be_made_is_a_problem(examine: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = examine("1", directory=tmp_path / "file" / "slots")["slot directory"]
    assert (check.state, check.text.rpartition(": ")[2]) == (PROBLEM, "Not a directory")
    assert check.advice.endswith("or give another with --slot-dir")


def test_a_slot_that_is_no_file_is_a_problem(examine: Host, tmp_path: Path) -> None:
    (tmp_path / "slots" / f"{GPU_0}.0").mkdir(parents=True)
    checks = examine("2", backend=loaded(gpus=2))
    assert problems(checks) == {"slots, GPU 0"}


def test_more_slots_than_memory_is_a_problem(examine: Host) -> None:
    check = examine("1", backend=loaded(gpus=1), slots_per_gpu=500)["slots"]
    assert (check.state, check.advice) == (PROBLEM, "Give fewer with --slots-per-gpu")
    assert "--slots-per-gpu 500 leaves 0.1 GB" in check.text


# --- Keras


@pytest.mark.parametrize(
    ("backend", "advice"),
    [("tensorflow", "tensorflow[and-cuda]"), ("jax", "jax[cuda12]"), ("torch", "torch for CUDA"), ("numpy", "the CPU")],
)
def test_a_backend_that_sees_no_gpu_is_a_problem(examine: Host, backend: str, advice: str) -> None:
    check = examine("1", backend=loaded(backend))["Keras backend"]
    assert (check.state, check.text) == (PROBLEM, f"{backend} 2.21.0, sees no GPU")
    assert advice in check.advice


def test_a_backend_that_sees_the_gpus_is_well(examine: Host) -> None:
    assert examine("1", backend=loaded(gpus=1))["Keras backend"].text == "tensorflow 2.21.0, sees 1 GPU"
    assert examine("2", backend=loaded(gpus=2))["Keras backend"].text == "tensorflow 2.21.0, sees 2 GPUs"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said("", 1, "Traceback:\n  line\nModuleNotFoundError: No module\n\nI0000 notice\n"), "ModuleNotFoundError"),
        (said("", -signal.SIGILL), "it was ended by the signal Illegal instruction"),
        (said("", 3), "it ended with 3"),
        (said("no object", 0), "it ended with 0"),
        (subprocess.TimeoutExpired("python", 120), "not within 120 s"),
    ],
)
def test_a_backend_that_does_not_load_is_a_problem(examine: Host, answer: Answer, why: str) -> None:
    check = examine(environ={"KERAS_BACKEND": "jax"}, backend=answer)["Keras backend"]
    assert check.state == PROBLEM
    assert check.text.startswith(f"jax does not load: {why}")
    assert "KERAS_BACKEND" in check.advice


def test_the_backend_is_named_as_keras_would(tmp_path: Path) -> None:
    assert backend_name({"KERAS_BACKEND": "jax", "HOME": str(tmp_path)}) == "jax"
    assert backend_name({"HOME": str(tmp_path)}) == "tensorflow"
    (tmp_path / ".keras").mkdir()
    settings = tmp_path / ".keras" / "keras.json"
    for text, name in (('{"backend": "torch"}', "torch"), ("{", "tensorflow"), ("[]", "tensorflow")):
        settings.write_text(text)
        assert backend_name({"HOME": str(tmp_path)}) == name
        assert backend_name({"KERAS_HOME": str(settings.parent), "KERAS_BACKEND": ""}) == name


def test_a_version_that_is_not_known_is_a_problem(examine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.14.0rc1")
    monkeypatch.setattr("importlib.metadata.version", {"keras-tuner": "1.5.0"}.__getitem__)
    checks = examine()
    assert problems(checks) == {"Python", "KerasTuner"}
    assert checks["KerasTuner"].advice == "Mend it with: pip install 'keras-tuner>=1.4.8,<1.5'"

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    assert examine()["KerasTuner"].text == "is not installed"


def test_the_pythons_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">={},<{}".format(*PYTHON)


# --- Docker


def test_no_docker_is_a_note(examine: Host) -> None:
    checks = examine("1", backend=loaded(gpus=1), engine=FileNotFoundError(2, "No such file or directory"))
    assert not problems(checks)
    assert checks["Docker"].text == "there is no docker command"
    assert "Compose" not in checks
    assert "GPUs in Docker" not in checks


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said("\n", 1, "Cannot connect to the Docker daemon\n"), "Cannot connect to the Docker daemon"),
        (subprocess.TimeoutExpired("docker", 10), "not within 10 s"),
        (said("", 0), "it ended with 0"),
    ],
)
def test_an_engine_that_does_not_answer_is_a_note(examine: Host, answer: Answer, why: str) -> None:
    checks = examine("1", backend=loaded(gpus=1), engine=answer)
    assert not problems(checks)
    assert checks["Docker"].text == f"the engine does not answer: {why}"
    assert checks["Compose"].state == OK
    assert "GPUs in Docker" not in checks


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (said("v2.20.0\n"), OK),
        (said("2.24.6-desktop.1\n"), OK),
        (said("2.19.1\n"), PROBLEM),
        (said("v2.3.3\n"), PROBLEM),
        (said("", 1, "unknown flag: --short"), NOTE),
        (subprocess.TimeoutExpired("docker", 10), NOTE),
    ],
)
def test_compose_is_there_and_new_enough(examine: Host, answer: Answer, state: str) -> None:
    check = examine(compose=answer)["Compose"]
    assert check.state == state
    assert ("2.20 or newer" in check.advice) is (state != OK)


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ('{"Runtimes": {"runc": {}, "nvidia": {"path": "nvidia-container-runtime"}}}', OK),
        ('{"Runtimes": {"runc": {}}, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}', OK),
        ('{"Runtimes": {"runc": {}}, "DiscoveredDevices": null}', NOTE),
        ('{"Runtimes": null}', NOTE),
        ("nonsense", NOTE),
    ],
)
def test_whether_docker_gives_gpus_is_told(examine: Host, info: str, state: str) -> None:
    assert examine("1", backend=loaded(gpus=1), info=said(info))["GPUs in Docker"].state == state


# --- the place for results


def test_nothing_is_left_behind(examine: Host, tmp_path: Path) -> None:
    (tmp_path / "slots").mkdir()
    assert examine()["results"].text == "the current directory can be written"
    (tmp_path / "results").mkdir()
    assert examine()["results"].text == "./results can be written"
    assert sorted(os.listdir(tmp_path)) == ["results", "slots"]
    assert os.listdir(tmp_path / "results") == []


def test_results_that_cannot_be_written_are_a_problem(examine: Host, tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to("nowhere")
    check = examine()["results"]
    assert (check.state, check.text.rpartition(": ")[2]) == (PROBLEM, "File exists")
    assert check.advice.endswith("or choose another directory")


def test_a_full_disk_is_a_problem(examine: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    check = examine()["results"]
    assert (check.state, check.advice) == (PROBLEM, "Make room, or choose another directory")
    assert check.text.endswith("No space left on device")


# --- checks of others


def fine() -> list[tuple[str, str, str]]:
    return [(OK, "all is well", "")]


def halfway() -> Iterator[tuple[str, str, str]]:
    yield NOTE, "something", "do this"
    raise RuntimeError("cannot go on")


def wrong() -> list[tuple[str, str, str]]:
    return [("great", "text", "")]


def leaving() -> None:
    raise SystemExit(3)


def entry(name: str) -> EntryPoint:
    return EntryPoint(name, f"tests.cluster.test_doctor:{name}", doctor.GROUP)


def test_checks_of_other_packages_are_made(examine: Host) -> None:
    assert examine(extras=[entry("fine")])["fine"] == Check("fine", OK, "all is well")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("halfway", "RuntimeError: cannot go on"),
        ("wrong", "ValueError: 'great' is none of ok, note, problem"),
        ("leaving", "SystemExit: 3"),
        ("not_there", "AttributeError: "),
    ],
)
def test_a_check_of_another_package_that_fails_is_a_problem(examine: Host, name: str, why: str) -> None:
    check = examine(extras=[entry(name), entry("fine")])[name]
    assert check.state == PROBLEM
    assert f"tests.cluster.test_doctor:{name} failed: {why}" in check.text


def test_the_flagships_check_is_registered() -> None:
    values = [point.value for point in importlib.metadata.entry_points(group=doctor.GROUP)]
    assert "fashion.diagnose:diagnose" in values


# --- how it is told


def told(doctor: Doctor, width: int = 100, **options: Any) -> tuple[bool, list[str]]:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, **options)
    good = doctor.tell(console)
    assert isinstance(console.file, io.StringIO)
    return good, console.file.getvalue().splitlines()


class OneCheck(Doctor):
    """A doctor who has found one thing."""

    def __init__(self, *checks: Check) -> None:
        self._checks = checks

    def examine(self) -> Iterator[Check]:
        yield from self._checks


def test_lines_are_aligned_and_wrapped() -> None:
    long = Check("GPUs", PROBLEM, "many words " * 20, "Install tensorflow[and-cuda]")
    good, lines = told(OneCheck(Check("Python", OK, "3.12.1"), long))
    assert not good
    assert lines[0] == "ok       Python          3.12.1"
    assert lines[1].startswith("problem  GPUs            many words many")
    assert all(line.startswith(" " * 25) and len(line) <= 100 for line in lines[2:])
    assert [line.strip() for line in lines if "→" in line] == ["→ Install tensorflow[and-cuda]"]
    assert "\x1b" not in "".join(lines)


def test_colour_is_for_terminals() -> None:
    good, lines = told(OneCheck(Check("Python", OK, "3.12.1")), force_terminal=True, color_system="standard")
    assert good
    assert "\x1b[32mok" in "".join(lines)


# --- real processes


def cluster(directory: Path, *words: str, **environ: str) -> Done:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CLUSTER_", "CUDA_", "NVIDIA_", "COLUMNS"))}
    command = [sys.executable, "-m", "cluster", *words]
    return subprocess.run(command, cwd=directory, env=clean | environ, capture_output=True, text=True, timeout=200)


def test_this_host_as_json(tmp_path: Path) -> None:
    done = cluster(tmp_path, "doctor", "--json", "--device", "cpu", "--slot-dir", str(tmp_path / "slots"))
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["ok"] else 1), done.stderr
    assert {"Python", "KerasTuner", "GPUs", "cores", "Keras backend", "Docker", "results", "fashion"} <= {
        check["name"] for check in found["checks"]
    }
    [backend] = [check for check in found["checks"] if check["name"] == "Keras backend"]
    assert backend["state"] == OK, backend
    assert found["cores"]
    assert os.listdir(tmp_path) == []


def test_gpus_that_no_backend_can_load_for(tmp_path: Path) -> None:
    done = cluster(
        tmp_path,
        *("doctor", "--slots-per-gpu", "2", "--slot-dir", str(tmp_path / "slots")),
        PYTHONPATH=str(FAKE_NVML),
        FAKE_GPUS="1",
        KERAS_BACKEND="nonsense",
    )
    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert f"ok       GPU 0           NVIDIA H100 80GB HBM3, 80 GB, {GPU_0}" in [line.rstrip() for line in lines]
    assert any(line.startswith("problem  Keras backend   nonsense does not load: ") for line in lines)
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--slot-dir", "/proc/self/no/such"], 1, "problem  slot directory  the slot directory /proc/self/no/such"),
        (["--slot-dir", __file__], 1, "Not a directory"),
        (["--device", "tpu"], 2, "cluster: error: --device 'tpu' is none of auto, gpu, cpu\n"),
        (["--slots-per-gpu", "0"], 2, "'--slots-per-gpu'"),
        (["--frobnicate"], 2, "--frobnicate"),
    ],
)
def test_bad_input_gets_an_answer_and_no_traceback(tmp_path: Path, options: list[str], code: int, text: str) -> None:
    done = cluster(tmp_path, "doctor", *options, KERAS_BACKEND="nonsense")
    assert done.returncode == code
    assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_it_can_be_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cluster", "doctor", "--slot-dir", str(tmp_path / "slots")]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("cores" in line for line in lines), "the next one takes seconds"
    process.send_signal(signal.SIGINT)
    rest = "".join(lines)
    assert process.wait(timeout=30) == 130
    process.stdout.close()
    assert "Traceback" not in rest
