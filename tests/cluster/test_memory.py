"""Shares of a GPU's memory, the errors that say it has run out, and acting once a module is there."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cluster import memory
from cluster.afterimport import after_import
from cluster.memory import has_run_out, limit_tensorflow, limit_torch

GIGABYTES = 80 * 10**9


# --- TensorFlow


class FakeTensorFlow(SimpleNamespace):
    """What `limit_tensorflow` touches of TensorFlow, and what it did to it."""

    def __init__(self, gpus: int = 1) -> None:
        self.done: list[tuple[Any, ...]] = []
        devices = [f"GPU:{number}" for number in range(gpus)]
        config = SimpleNamespace(
            list_physical_devices=lambda kind: devices if kind == "GPU" else ["CPU:0"],
            set_visible_devices=lambda devices, kind: self.done.append(("visible", devices, kind)),
            LogicalDeviceConfiguration=lambda memory_limit: memory_limit,
            set_logical_device_configuration=lambda device, limits: self.done.append(("limit", device, limits)),
            experimental=SimpleNamespace(set_memory_growth=self._grow),
        )
        super().__init__(config=config, done=self.done)

    def _grow(self, device: str, enable: bool) -> None:
        self.done.append(("growth", device, enable))
        if any(what[0] == "limit" for what in self.done):
            raise ValueError("Cannot set memory growth on device when virtual devices configured")


@pytest.fixture(autouse=True)
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Keras's own settings are; without any, at first."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("backend", [None, "tensorflow"])
def test_tensorflow_keeps_to_its_share(backend: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend is not None:
        monkeypatch.setenv("KERAS_BACKEND", backend)
    tensorflow = FakeTensorFlow()
    limit_tensorflow(tensorflow, 0.46, GIGABYTES)
    (done,) = tensorflow.done
    assert done[:2] == ("limit", "GPU:0")
    (megabytes,) = done[2]
    assert 0.45 * GIGABYTES < megabytes * 2**20 <= 0.46 * GIGABYTES


def test_a_program_may_still_wish_for_growing_memory() -> None:
    """As many do in their first lines. Memory grows anyway, and TensorFlow would refuse it beside a limit."""
    tensorflow = FakeTensorFlow()
    limit_tensorflow(tensorflow, 0.46, GIGABYTES)
    before = list(tensorflow.done)
    for gpu in tensorflow.config.list_physical_devices("GPU"):
        tensorflow.config.experimental.set_memory_growth(gpu, True)
        tensorflow.config.experimental.set_memory_growth(gpu, enable=True)
        tensorflow.config.experimental.set_memory_growth(device=gpu, enable=True)
    assert tensorflow.done == before


@pytest.mark.parametrize(("share", "total"), [(1.0, GIGABYTES), (0.46, 0)])
def test_where_there_is_no_limit_the_program_decides_on_growth(share: float, total: int) -> None:
    tensorflow = FakeTensorFlow()
    limit_tensorflow(tensorflow, share, total)
    assert tensorflow.done == []
    tensorflow.config.experimental.set_memory_growth("GPU:0", True)
    assert tensorflow.done == [("growth", "GPU:0", True)]


@pytest.mark.parametrize("share", [0.46, 1.0])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_tensorflow_takes_no_memory_where_keras_runs_on_another_backend(
    backend: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras reads data with it all the same, and its context alone would take a part of the GPU."""
    monkeypatch.setenv("KERAS_BACKEND", backend)
    tensorflow = FakeTensorFlow()
    limit_tensorflow(tensorflow, share, GIGABYTES)
    assert tensorflow.done == [("visible", [], "GPU")]


def test_the_backend_may_be_named_in_kerass_own_settings(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~/.keras/keras.json` counts where the variable is not set."""
    (keras_home / "keras.json").write_text('{"floatx": "float32", "backend": "torch"}')
    tensorflow, torch = FakeTensorFlow(), FakeTorch()
    limit_tensorflow(tensorflow, 0.46, GIGABYTES)
    limit_torch(torch, 0.46)
    assert tensorflow.done == [("visible", [], "GPU")]
    assert torch.fractions == [0.46]
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    limit_tensorflow(tensorflow, 0.46, GIGABYTES)
    assert tensorflow.done[-1][0] == "limit"


def test_a_tensorflow_that_sees_no_gpu_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorflow = FakeTensorFlow(gpus=0)
    limit_tensorflow(tensorflow, 0.46, GIGABYTES)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    limit_tensorflow(tensorflow, 0.46, GIGABYTES)
    assert tensorflow.done == []


def test_the_installed_tensorflow_has_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow

    config = tensorflow.config
    inspect.signature(config.list_physical_devices).bind("GPU")
    inspect.signature(config.set_visible_devices).bind([], "GPU")
    inspect.signature(config.set_logical_device_configuration).bind("GPU:0", [])
    assert config.LogicalDeviceConfiguration(memory_limit=1024).memory_limit == 1024
    assert list(inspect.signature(config.experimental.set_memory_growth).parameters) == ["device", "enable"]
    monkeypatch.setattr(config.experimental, "set_memory_growth", lambda: "replaced")
    import tensorflow as tf

    assert tf.config.experimental.set_memory_growth() == "replaced", "as a program calls it"


# --- PyTorch


class FakeTorch(SimpleNamespace):
    def __init__(self, available: bool = True) -> None:
        self.fractions: list[float] = []
        cuda = SimpleNamespace(
            is_available=lambda: available, set_per_process_memory_fraction=lambda x: self.fractions.append(x)
        )
        super().__init__(cuda=cuda, fractions=self.fractions)


@pytest.mark.parametrize(
    ("backend", "share", "available", "expected"),
    [
        ("torch", 0.46, True, [0.46]),
        ("torch", 1.0, True, []),
        ("torch", 0.46, False, []),
        ("jax", 0.46, True, []),
        (None, 0.46, True, []),
    ],
)
def test_torch_keeps_to_its_share_where_keras_runs_on_it(
    backend: str | None, share: float, available: bool, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend is not None:
        monkeypatch.setenv("KERAS_BACKEND", backend)
    torch = FakeTorch(available)
    limit_torch(torch, share)
    assert torch.fractions == expected


# --- errors


def named(name: str, *bases: type[BaseException]) -> type[BaseException]:
    return type(name, bases or (Exception,), {})


def jax_error(text: str) -> BaseException:
    from jax.errors import JaxRuntimeError

    error: BaseException = JaxRuntimeError(text)
    return error


def tensorflow_error(kind: str, text: str) -> BaseException:
    import tensorflow

    error: BaseException = getattr(tensorflow.errors, kind)(None, None, text)
    return error


OOM = "OOM when allocating tensor with shape[4096,4096] and type float on /device:GPU:0 by allocator GPU_0_bfc"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("ResourceExhaustedError", f"{{{{function_node __wrapped__MatMul}}}} {OOM} [Op:MatMul]"),
        ("ResourceExhaustedError", "failed to allocate memory [Op:AddV2]"),
        ("InternalError", "CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        ("InternalError", "Blas xGEMM launch failed: CUBLAS_STATUS_ALLOC_FAILED"),
        ("UnknownError", "CUDNN_STATUS_ALLOC_FAILED in dnn.cc(4369)"),
        # What an array that is larger than the GPU becomes on its way there.
        ("InternalError", "Failed copying input tensor from CPU:0 to GPU:0: Dst tensor is not initialized."),
    ],
)
def test_tensorflows_errors_that_say_so(kind: str, text: str) -> None:
    assert has_run_out(tensorflow_error(kind, text))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("ResourceExhaustedError", "/data/x.ckpt; No space left on device"),
        ("ResourceExhaustedError", "/data/x.ckpt; Disk quota exceeded"),
        ("ResourceExhaustedError", "/data/x.tfrecord; Too many open files [Op:ReadFile]"),
        ("InternalError", "Graph execution error"),
        ("InvalidArgumentError", "Incompatible shapes: [32,10] vs. [32,11]"),
        ("NotFoundError", "RESOURCE_EXHAUSTED is not a file"),
    ],
)
def test_tensorflows_other_errors(kind: str, text: str) -> None:
    """A full disk has the same class, and no GPU mends it."""
    assert not has_run_out(tensorflow_error(kind, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.", True),
        ("INTERNAL: Failed to load: CUDA_ERROR_OUT_OF_MEMORY: out of memory", True),
        ("INTERNAL: cublas error: CUBLAS_STATUS_ALLOC_FAILED", True),
        ("INVALID_ARGUMENT: Executable expected shape f32[2] for argument 0", False),
        ("RESOURCE_EXHAUSTED: /tmp/dump: No space left on device", False),
    ],
)
def test_jaxs_errors(text: str, expected: bool) -> None:
    assert has_run_out(jax_error(text)) == expected
    assert has_run_out(named("XlaRuntimeError", RuntimeError)(text)) == expected, "as it was called before"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (named("OutOfMemoryError", RuntimeError)("CUDA out of memory. Tried to allocate 20.00 GiB."), True),
        (named("OutOfMemoryError", RuntimeError)("HIP out of memory. Tried to allocate 20.00 GiB."), True),
        (named("AcceleratorError", RuntimeError)("CUDA error: CUDA_ERROR_OUT_OF_MEMORY"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (named("AcceleratorError", RuntimeError)("CUDA error: device-side assert triggered"), False),
    ],
)
def test_torchs_errors(error: BaseException, expected: bool) -> None:
    assert has_run_out(error) == expected


def test_a_subclass_says_what_its_class_says() -> None:
    assert has_run_out(named("MyError", named("OutOfMemoryError", RuntimeError))("too large"))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("RESOURCE_EXHAUSTED is what I would like to see"),
        MemoryError(),
        KeyError("CUDA out of memory"),
        OSError(28, "No space left on device"),
        KeyboardInterrupt(),
        None,
    ],
)
def test_unrelated_errors(error: BaseException | None) -> None:
    assert not has_run_out(error)


def raised(*errors: BaseException, cause: bool) -> BaseException:
    """The last of these, raised while the one before was being handled, and so on."""
    first, *rest = errors
    for error in rest:
        try:
            try:
                raise first
            except BaseException as before:
                if cause:
                    raise error from before
                raise error  # noqa: B904
        except BaseException as after:
            first = after
    return first


@pytest.mark.parametrize("cause", [True, False])
def test_an_error_behind_another_counts(cause: bool) -> None:
    """Programs wrap what a trial raises; so does Keras."""
    oom = named("OutOfMemoryError", RuntimeError)("CUDA out of memory")
    assert has_run_out(raised(oom, ValueError("bad trial"), cause=cause))
    assert has_run_out(raised(oom, ValueError("bad trial"), TypeError("worse"), KeyError("worst"), cause=cause))
    assert not has_run_out(raised(KeyError("x"), ValueError("bad trial"), cause=cause))


def test_errors_that_go_round_in_a_circle_come_to_an_end() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert not has_run_out(first)
    third = ValueError("3")
    third.__context__ = third
    assert not has_run_out(third)


# --- after an import


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for modules, which are forgotten afterwards; and nothing is left in the way of imports."""
    known, finders = set(sys.modules), list(sys.meta_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    assert sys.meta_path == finders


def load(name: str) -> ModuleType:
    return __import__(name)


def test_something_happens_once_a_module_is_there(modules: Path) -> None:
    (modules / "made_up_one.py").write_text("import logging\nvalue = 1\n")
    seen: list[Any] = []
    with after_import("made_up_one", lambda: seen.append(sys.modules["made_up_one"].value)):
        load("logging.handlers")
        assert seen == []
        module = load("made_up_one")
        assert seen == [1], "all of it is there, and before the program goes on"
        load("made_up_one")
    assert seen == [1]
    assert module.__spec__ is not None
    assert type(module.__spec__.loader).__name__ == "SourceFileLoader"
    assert module.__loader__ is module.__spec__.loader
    assert inspect.getsource(module) == "import logging\nvalue = 1\n"


def test_something_happens_at_once_when_the_module_is_there_already() -> None:
    seen: list[str] = []
    with after_import("logging", lambda: seen.append("logging")):
        assert seen == ["logging"]
        load("logging")
    assert seen == ["logging"]
    assert logging


def test_nothing_happens_for_a_module_that_is_never_imported(modules: Path) -> None:
    seen: list[str] = []
    with after_import("made_up_two", lambda: seen.append("it")):
        load("json")
        with pytest.raises(ModuleNotFoundError):
            load("made_up_two")
    (modules / "made_up_two.py").write_text("")
    load("made_up_two")
    assert seen == [], "from outside on, nobody looks any more"


def test_a_look_for_a_module_is_no_import(modules: Path) -> None:
    """As Keras looks whether another backend is installed."""
    import importlib.util

    (modules / "made_up_three.py").write_text("")
    seen: list[str] = []
    with after_import("made_up_three", lambda: seen.append("it")):
        assert importlib.util.find_spec("made_up_three") is not None
        assert seen == []
        load("made_up_three")
    assert seen == ["it"]


def test_a_package_and_what_is_in_it(modules: Path) -> None:
    (modules / "made_up_package").mkdir()
    (modules / "made_up_package" / "__init__.py").write_text("from made_up_package import inner\n")
    (modules / "made_up_package" / "inner.py").write_text("value = 2\n")
    seen: list[int] = []
    with after_import("made_up_package", lambda: seen.append(sys.modules["made_up_package"].inner.value)):
        load("made_up_package.inner")
    assert seen == [2]


def test_two_may_wait_for_one_module(modules: Path) -> None:
    (modules / "made_up_four.py").write_text("")
    seen: list[str] = []
    with (
        after_import("made_up_four", lambda: seen.append("first")),
        after_import("made_up_four", lambda: seen.append("second")),
    ):
        load("made_up_four")
    assert sorted(seen) == ["first", "second"]


def test_a_module_that_raises_is_as_it_was_and_the_next_try_counts(modules: Path) -> None:
    place = modules / "made_up_five.py"
    place.write_text("raise ImportError('a library is missing')\n")
    seen: list[str] = []
    with after_import("made_up_five", lambda: seen.append("it")):
        with pytest.raises(ImportError, match="a library is missing"):
            load("made_up_five")
        assert seen == []
        assert "made_up_five" not in sys.modules
        place.write_text("value = 'there now'\n")
        sys.path_importer_cache.clear()
        assert load("made_up_five").value == "there now"
        assert seen == ["it"]


def test_an_error_of_what_happens_is_the_imports() -> None:
    def refuse() -> None:
        raise LookupError("this version is not known")

    with pytest.raises(LookupError, match="not known"), after_import("logging", refuse):
        pass


def test_a_share_reaches_whichever_backend_is_imported(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (modules / "torch.py").write_text(
        "fractions = []\n"
        "class cuda:\n"
        "    is_available = staticmethod(lambda: True)\n"
        "    set_per_process_memory_fraction = staticmethod(fractions.append)\n"
    )
    tensorflow = FakeTensorFlow()
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with memory.shared(0.46, GIGABYTES):
        assert [what[0] for what in tensorflow.done] == ["limit"]
        monkeypatch.setenv("KERAS_BACKEND", "torch")  # as a program does before it imports Keras
        assert load("torch").fractions == [0.46]
