"""Which GPUs a process may use, on boxes that are made up; and the stand-in for `pynvml` against the real one."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cluster import devices
from cluster.devices import Gpu, Gpus, backends_with_gpu, find_gpus
from cluster.errors import DeviceError, UsageError
from cluster.placement import no_gpu

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "fake_nvml" / "pynvml.py"
GIGABYTE = 10**9


@pytest.fixture
def fake() -> ModuleType:
    """The stand-in, loaded anew: a test may change it."""
    spec = importlib.util.spec_from_file_location("fake_pynvml", FAKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Find = Callable[..., Gpus]


@pytest.fixture
def find(fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Find:
    """Finds the GPUs of a box with so many, under some variables."""

    def found(gpus: int | str | None, mig: int | None = None, **environ: str) -> Gpus:
        for name, value in (("FAKE_GPUS", gpus), ("FAKE_MIG", mig)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, str(value))
        monkeypatch.delenv("FAKE_GPU_GB", raising=False)
        return find_gpus(environ, lambda: fake)

    return found


def indices(found: Gpus) -> list[str]:
    return [gpu.index for gpu in found.usable]


def uuid(number: int) -> str:
    return f"GPU-{number}0000000-aaaa-bbbb-cccc-0123456789ab"


def mig_uuid(number: int, part: int) -> str:
    return f"MIG-{number}{part}000000-aaaa-bbbb-cccc-0123456789ab"


# --- what is there


def test_whole_gpus(find: Find) -> None:
    found = find(2)
    assert found.usable == (
        Gpu(uuid(0), "0", "NVIDIA H100 80GB HBM3", 80 * GIGABYTE),
        Gpu(uuid(1), "1", "NVIDIA H100 80GB HBM3", 80 * GIGABYTE),
    )
    assert found.found == 2
    assert found.driver == "555.42.06"
    assert [(gpu.parent, gpu.variable, gpu.key) for gpu in found.usable] == [
        ("", "CUDA_VISIBLE_DEVICES", uuid(number)) for number in (0, 1)
    ]
    assert found.usable[1].label == "gpu 1 GPU-10000000"


def test_the_instances_of_partitioned_gpus(find: Find) -> None:
    found = find(2, mig=2)
    assert [(gpu.index, gpu.id, gpu.parent) for gpu in found.usable] == [
        (f"{number}:{part}", mig_uuid(number, part), uuid(number)) for number in (0, 1) for part in (0, 1)
    ]
    assert {gpu.memory for gpu in found.usable} == {40 * GIGABYTE}
    assert found.usable[3].label == "gpu 1:1 MIG-11000000"
    assert len({gpu.key for gpu in found.usable}) == 4


def test_a_box_where_one_gpu_is_partitioned_and_one_is_not(
    find: Find, fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "nvmlDeviceGetMigMode", lambda handle: [int(handle.index == 1)] * 2)
    assert indices(find(3, mig=2)) == ["0", "1:0", "1:1", "2"]
    assert indices(find(3, mig=2, CUDA_VISIBLE_DEVICES="2,1")) == ["2", "1:0", "1:1"]
    assert find(3, mig=2).usable[0].memory == 80 * GIGABYTE


def test_a_gpu_that_will_be_partitioned_at_its_next_reset_is_whole(
    find: Find, fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "nvmlDeviceGetMigMode", lambda handle: [0, 1])
    assert indices(find(1, mig=2)) == ["0"]


def test_a_partitioned_gpu_without_instances_can_run_nothing(
    find: Find, fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "nvmlDeviceGetMigMode", lambda handle: [1, 1])
    assert find(1, mig=0).usable == ()


def test_instances_are_found_behind_one_that_was_destroyed(
    find: Find, fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fake.nvmlDeviceGetMigDeviceHandleByIndex

    def with_a_hole(handle: Any, index: int) -> Any:
        if index == 0:
            raise fake.NVMLError_NotFound("Not Found")
        return real(handle, index)

    monkeypatch.setattr(fake, "nvmlDeviceGetMigDeviceHandleByIndex", with_a_hole)
    assert indices(find(1, mig=3)) == ["0:1", "0:2"]


def test_a_driver_that_knows_no_partitions(find: Find, fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(handle: Any) -> None:
        raise fake.NVMLError_FunctionNotFound("Function Not Found")

    monkeypatch.setattr(fake, "nvmlDeviceGetMigMode", unknown)
    assert indices(find(2)) == ["0", "1"]


def test_a_gpu_without_memory_of_its_own(find: Find, fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(handle: Any) -> None:
        raise fake.NVMLError_NotSupported("Not Supported")

    monkeypatch.setattr(fake, "nvmlDeviceGetMemoryInfo", unsupported)
    assert find(1).usable == (Gpu(uuid(0), "0", "NVIDIA H100 80GB HBM3", 0),)


def test_without_nvidias_library_there_is_nothing(find: Find) -> None:
    assert find(None) == Gpus()
    assert find(None, CUDA_VISIBLE_DEVICES="0") == Gpus(), "and nobody to ask what the variable means"


def test_a_driver_that_does_not_work_is_told_with_what_to_do(find: Find) -> None:
    with pytest.raises(DeviceError, match=r"does not work: RM has detected .*mismatch\. See .*nvidia-smi.*--allow-cpu"):
        find("broken")


@pytest.fixture
def balance(fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Whatever happens in a test, NVML is closed as often as it was opened."""
    calls: list[str] = []
    init = fake.nvmlInit

    def counted() -> None:
        init()
        calls.append("init")

    monkeypatch.setattr(fake, "nvmlInit", counted)
    monkeypatch.setattr(fake, "nvmlShutdown", lambda: calls.append("shutdown"))
    yield calls
    assert calls == ["init", "shutdown"]


@pytest.mark.usefixtures("balance")
def test_a_gpu_that_falls_off_its_bus_is_told(find: Find, fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(number: int) -> None:
        raise fake.NVMLError("GPU is lost")

    monkeypatch.setattr(fake, "nvmlDeviceGetHandleByIndex", lost)
    with pytest.raises(DeviceError, match="GPU is lost"):
        find(1)


@pytest.mark.usefixtures("balance")
def test_nvml_is_closed_after_a_variable_that_makes_no_sense(find: Find) -> None:
    with pytest.raises(UsageError):
        find(1, CUDA_VISIBLE_DEVICES="5")


@pytest.mark.usefixtures("balance")
def test_nvml_is_closed_after_use(find: Find) -> None:
    assert len(find(1).usable) == 1


# --- CUDA_VISIBLE_DEVICES


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "0123"),
        ("", ""),
        ("  ", ""),
        ("-1", ""),
        ("2", "2"),
        ("3,1", "31"),
        ("0,-1,1", "0"),
        ("-1,0", ""),
        ("0,,1", "0"),
        (" 2 , 0 ", "20"),
        ("1,1", "1"),
        ("1,0,1", "10"),
        ("NoDevFiles", ""),
        ("none", ""),
        (uuid(2), "2"),
        (f"{uuid(3)},{uuid(0)}", "30"),
        ("GPU-1", "1"),
        ("GPU-10000000-aaaa", "1"),
        (f"{uuid(1)},-1,{uuid(2)}", "1"),
    ],
)
def test_cuda_visible_devices_means_what_it_means_to_cuda(find: Find, value: str | None, expected: str) -> None:
    environ = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    found = find(4, **environ)
    assert "".join(indices(found)) == expected
    assert found.found == 4, "those are there all the same, and have to be hidden from who runs on the processor"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("7", "'7', and no GPU"),
        ("0,2", "'2', and no GPU"),
        ("GPU-", "'GPU-', and more than one GPU"),
        ("GPU-deadbeef", "'GPU-deadbeef', and no GPU"),
        (f"{uuid(0)}0", "and no GPU"),
        ("MIG-00000000", "'MIG-00000000', and no GPU"),
        ("0:0", "'0:0', and no GPU"),
        ("gpu0", "'gpu0', and no GPU"),
    ],
)
def test_a_name_of_no_gpu_is_refused_with_those_that_are_there(find: Find, value: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"CUDA_VISIBLE_DEVICES asks for .*{what}") as caught:
        find(2, CUDA_VISIBLE_DEVICES=value)
    assert f"0 = {uuid(0)}, 1 = {uuid(1)}" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (mig_uuid(1, 1), ["1:1"]),
        (f"{mig_uuid(1, 0)},{mig_uuid(0, 1)}", ["1:0", "0:1"]),
        ("MIG-01", ["0:1"]),
        ("1:0", ["1:0"]),
        ("1", ["1:0", "1:1"]),
        (uuid(1), ["1:0", "1:1"]),
        ("GPU-0", ["0:0", "0:1"]),
        (f"{mig_uuid(0, 0)},0", ["0:0", "0:1"]),
    ],
)
def test_instances_are_named_by_themselves_or_all_at_once_by_their_gpu(
    find: Find, value: str, expected: list[str]
) -> None:
    assert indices(find(2, mig=2, CUDA_VISIBLE_DEVICES=value)) == expected


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_beginning_of_several_instances_uuids_is_refused(find: Find, gpus: int) -> None:
    """Instances of one GPU too: whoever names one instance does not mean all."""
    with pytest.raises(UsageError, match="more than one"):
        find(gpus, mig=2, CUDA_VISIBLE_DEVICES="MIG-0")


def test_the_beginning_of_a_whole_gpus_uuid_and_of_a_partitioned_ones_is_refused(
    find: Find, fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "nvmlDeviceGetMigMode", lambda handle: [handle.index] * 2)
    with pytest.raises(UsageError, match="more than one"):
        find(2, mig=2, CUDA_VISIBLE_DEVICES="GPU-")


# --- NVIDIA_VISIBLE_DEVICES


@pytest.mark.parametrize(
    ("gpus", "value", "expected"),
    [
        (2, "all", "01"),
        (2, "", "01"),
        (2, "none", ""),
        # Already applied: the runtime has left these two, and numbered them anew.
        (2, "2,3", "01"),
        (1, "3", "0"),
        (2, "0,1", "01"),
        # Not applied: nobody has left out anything.
        (4, "1", "1"),
        (4, "3, 1", "31"),
        (4, uuid(2), "2"),
        (4, f"{uuid(3)},{uuid(1)}", "31"),
        (2, f"{uuid(0)},{uuid(1)}", "01"),
    ],
)
def test_what_nvidias_container_runtime_was_told(find: Find, gpus: int, value: str, expected: str) -> None:
    assert "".join(indices(find(gpus, NVIDIA_VISIBLE_DEVICES=value))) == expected


@pytest.mark.parametrize(
    "value",
    [
        "void",  # in every container that was given its GPUs by CDI, so that the runtime's hook gives none beside
        "/var/run/nvidia-container-devices",  # Kubernetes, where devices are told by mounts
        "nvidia.com/gpu=all",
        "nvidia.com/gpu=0,nvidia.com/gpu=1",
    ],
)
def test_who_was_given_gpus_in_another_way_may_use_them(find: Find, value: str) -> None:
    assert indices(find(2, NVIDIA_VISIBLE_DEVICES=value)) == ["0", "1"]


def test_a_partitioned_gpu_that_the_runtime_has_numbered_anew_is_usable_with_all_its_instances(find: Find) -> None:
    """`NVIDIA_VISIBLE_DEVICES=1` on the host is GPU 0 in the container, with more instances than names."""
    assert indices(find(1, mig=3, NVIDIA_VISIBLE_DEVICES="1")) == ["0:0", "0:1", "0:2"]
    assert indices(find(1, mig=1, NVIDIA_VISIBLE_DEVICES="1:4")) == ["0:0"]


def test_instances_that_nobody_has_left_out_yet(find: Find) -> None:
    assert indices(find(2, mig=3, NVIDIA_VISIBLE_DEVICES="1")) == ["1:0", "1:1", "1:2"]
    assert indices(find(1, mig=3, NVIDIA_VISIBLE_DEVICES="0:1")) == ["0:1"]
    assert indices(find(1, mig=3, NVIDIA_VISIBLE_DEVICES=mig_uuid(0, 2))) == ["0:2"]


def test_an_unknown_uuid_for_the_runtime_is_refused_by_its_name(find: Find) -> None:
    with pytest.raises(UsageError, match="NVIDIA_VISIBLE_DEVICES asks for 'GPU-deadbeef'"):
        find(2, NVIDIA_VISIBLE_DEVICES="GPU-deadbeef")


def test_cuda_chooses_among_what_the_runtime_has_left(find: Find) -> None:
    assert indices(find(2, NVIDIA_VISIBLE_DEVICES="4,5", CUDA_VISIBLE_DEVICES="1")) == ["1"]
    assert indices(find(2, NVIDIA_VISIBLE_DEVICES="none", CUDA_VISIBLE_DEVICES="")) == []
    with pytest.raises(UsageError, match=r"CUDA_VISIBLE_DEVICES asks for '0'.* There are: none"):
        find(2, NVIDIA_VISIBLE_DEVICES="none", CUDA_VISIBLE_DEVICES="0")


# --- AMD


@pytest.mark.parametrize("variable", ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
def test_amds_gpus_are_those_that_are_named(find: Find, variable: str) -> None:
    found = find(None, **{variable: "2, 3"})
    assert [(gpu.id, gpu.index, gpu.variable) for gpu in found.usable] == [("2", "0", variable), ("3", "1", variable)]
    assert found.found == 2
    assert len({gpu.key for gpu in found.usable}) == 2
    assert found.usable[0].label == "gpu 0"


@pytest.mark.parametrize("variable", ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
def test_amds_gpus_end_where_a_number_is_negative(find: Find, variable: str) -> None:
    assert [gpu.id for gpu in find(None, **{variable: "1,-1,0"}).usable] == ["1"]


@pytest.mark.parametrize("variable", ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
@pytest.mark.parametrize("value", ["", "-1"])
def test_who_hides_amds_gpus_has_said_nothing_about_nvidias(find: Find, variable: str, value: str) -> None:
    assert indices(find(2, **{variable: value})) == ["0", "1"]


@pytest.mark.parametrize("gpus", [None, 2])
def test_who_is_to_see_no_gpu_finds_none(find: Find, gpus: int | None) -> None:
    assert find(gpus, **no_gpu({})).usable == ()


# --- the stand-in and the real module


@pytest.fixture(scope="module")
def real() -> ModuleType:
    import pynvml

    assert Path(pynvml.__file__) != FAKE
    return pynvml  # type: ignore[no-any-return]


def used_calls() -> dict[str, set[int]]:
    """The names of `pynvml` that `devices.py` uses, and with how many arguments those that it calls."""
    found: dict[str, set[int]] = {}
    tree = ast.parse(Path(devices.__file__).read_text())

    def named(node: ast.AST) -> str | None:
        is_nvml = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        return node.attr if is_nvml and node.value.id in ("nvml", "session") else None  # type: ignore[attr-defined]

    for node in ast.walk(tree):
        name = named(node)
        if name is not None:
            found.setdefault(name, set())
        if isinstance(node, ast.Call) and (name := named(node.func)) is not None:
            assert not node.keywords, "parameters are called otherwise in other releases"
            found.setdefault(name, set()).add(len(node.args))
    return found


def test_what_is_used_is_in_both(fake: ModuleType, real: ModuleType) -> None:
    used = used_calls()
    assert {"nvmlInit", "NVMLError", "nvmlDeviceGetUUID", "nvmlSystemGetDriverVersion"} <= set(used)
    for name, counts in used.items():
        for module in (fake, real):
            assert hasattr(module, name), f"{module.__file__} has no {name}"
            for count in counts:
                inspect.signature(getattr(module, name)).bind(*range(count))


def test_the_stand_in_has_nothing_that_the_real_one_has_not(fake: ModuleType, real: ModuleType) -> None:
    names = [name for name in vars(fake) if name.lower().startswith("nvml")]
    assert len(names) > 15
    for name in names:
        ours, theirs = getattr(fake, name), getattr(real, name)
        if isinstance(ours, type):
            assert issubclass(theirs, real.NVMLError), name
        elif callable(ours):
            parameters = len(inspect.signature(ours).parameters)
            inspect.signature(theirs).bind(*range(parameters))
            needed = [x for x in inspect.signature(theirs).parameters.values() if x.default is x.empty]
            assert len(needed) == parameters, name
        else:
            assert ours == theirs, name


def test_the_real_errors_are_caught_by_name(real: ModuleType) -> None:
    """NVML reports numbers; the classes that are caught are made from them."""
    for name in ("LibraryNotFound", "NotSupported", "FunctionNotFound", "NotFound"):
        number = getattr(real, "NVML_ERROR_" + "".join(f"_{x}" if x.isupper() else x for x in name).upper().lstrip("_"))
        assert type(real.NVMLError(number)) is getattr(real, f"NVMLError_{name}")


# --- Keras's backends


class Installed:
    """Packages that are made up, as an installer writes them down."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def add(self, name: str | None, version: str = "1.0") -> None:
        record = self._place / f"{(name or 'nameless').replace('-', '_')}-{version}.dist-info"
        record.mkdir()
        lines = ["Metadata-Version: 2.1", *([f"Name: {name}"] if name else []), f"Version: {version}"]
        (record / "METADATA").write_text("\n".join(lines) + "\n")

    def torch(self, text: str | None) -> None:
        self.add("torch", "2.5.1")
        if text is not None:
            (self._place / "torch").mkdir()
            (self._place / "torch" / "version.py").write_text(text)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    everything = importlib.metadata.distributions

    def found() -> list[importlib.metadata.Distribution]:
        return list(everything(path=[str(tmp_path)]))

    def by_name(name: str) -> importlib.metadata.Distribution:
        return next(x for x in found() if x.metadata["Name"] == name)

    monkeypatch.setattr(importlib.metadata, "distributions", found)
    monkeypatch.setattr(importlib.metadata, "distribution", by_name)
    return Installed(tmp_path)


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ([], []),
        (["tensorflow-cpu", "keras", "numpy"], []),
        (["tensorflow_cpu", "tensorflow-io-gcs-filesystem", "tensorflow-estimator"], []),
        (["tensorflow"], ["tensorflow"]),
        (["TensorFlow", "tensorflow-cpu"], ["tensorflow"]),
        (["tensorflow-rocm"], ["tensorflow"]),
        (["jax", "jaxlib"], []),
        (["jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda12-pjrt"], ["jax"]),
        (["jax", "jaxlib", "jax_cuda13_plugin"], ["jax"]),
        (["jax", "jaxlib", "jax-rocm60-plugin"], ["jax"]),
        (["jax", "jax-metal"], []),
        (["tensorflow", "jax", "jax-cuda12-plugin"], ["tensorflow", "jax"]),
    ],
)
def test_backends_that_were_built_for_gpus(installed: Installed, packages: list[str], expected: list[str]) -> None:
    for package in packages:
        installed.add(package)
    assert backends_with_gpu() == expected


def test_a_record_without_a_name_is_passed_over(installed: Installed) -> None:
    """What an installer that was killed leaves behind."""
    installed.add(None)
    installed.add("tensorflow")
    assert backends_with_gpu() == ["tensorflow"]


VERSION = """from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'xpu']
__version__ = '2.5.1+x'
debug = False
cuda: Optional[str] = {cuda}
git_version = 'a8d6afb511a69687bbb2b7e88a3cf67917e1697e'
hip: Optional[str] = {hip}
xpu: Optional[str] = None
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VERSION.format(cuda="None", hip="None"), []),
        (VERSION.format(cuda="'12.4'", hip="None"), ["torch"]),
        (VERSION.format(cuda="None", hip="'6.2.41133-dd7f95766'"), ["torch"]),
        ("__version__ = '1.13.1'\ndebug = False\ncuda = '11.7'\nhip = None\n", ["torch"]),
        ("__version__ = '1.13.1+cpu'\ndebug = False\ncuda = None\nhip = None\n", []),
        (None, ["torch"]),  # not where it should be: nobody can tell
    ],
)
def test_torch_says_what_it_was_built_for(installed: Installed, text: str | None, expected: list[str]) -> None:
    installed.torch(text)
    assert backends_with_gpu() == expected
