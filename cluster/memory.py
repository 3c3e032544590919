"""A trainer's share of its GPU's memory, and whether an error says that memory has run out.

Owns what cannot be said by a variable (`placement.py` sets those): TensorFlow and PyTorch are told once they are there.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.afterimport import after_import

ERRORS = {"ResourceExhaustedError", "OutOfMemoryError"}
RUNTIME_ERRORS = {
    "XlaRuntimeError",
    "JaxRuntimeError",
    "InternalError",
    "UnknownError",
    "RuntimeError",
    "AcceleratorError",
}
TEXTS = (
    "RESOURCE_EXHAUSTED",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Dst tensor is not initialized",  # TensorFlow's words for an array that did not fit
)
NOT_MEMORY = ("No space left on device", "Disk quota exceeded", "Too many open files")


@contextlib.contextmanager
def shared(share: float, total: int) -> Iterator[None]:
    """While open, this process keeps to its share of the GPU's memory, whichever backend it loads.

    Args:
        share: Its part of the memory, in (0, 1].
        total: The GPU's memory in bytes; 0 where unknown.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            after_import("tensorflow", lambda: limit_tensorflow(sys.modules["tensorflow"], share, total))
        )
        stack.enter_context(after_import("torch", lambda: limit_torch(sys.modules["torch"], share)))
        yield


def limit_tensorflow(tensorflow: Any, share: float, total: int) -> None:
    """Limits TensorFlow to a share of the only GPU that it sees, or to none where Keras runs on another backend."""
    config = tensorflow.config
    gpus = config.list_physical_devices("GPU")
    if not gpus:
        return
    if backend_name(os.environ) != "tensorflow":
        config.set_visible_devices([], "GPU")  # Keras reads data with it, and it would take memory to no purpose
        return
    if share < 1 and total:
        limit = config.LogicalDeviceConfiguration(memory_limit=int(total * share / 2**20))
        config.set_logical_device_configuration(gpus[0], [limit])
        # Memory grows already, up to the limit, and TensorFlow refuses the program's wish for it beside a limit.
        config.experimental.set_memory_growth = lambda *_, **__: None


def limit_torch(torch: Any, share: float) -> None:
    """Limits PyTorch to a share of the only GPU that it sees."""
    if share < 1 and backend_name(os.environ) == "torch" and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)


def backend_name(environ: Mapping[str, str]) -> str:
    """The backend that Keras would load: the variable's, or that of Keras's own settings, or TensorFlow."""
    if environ.get("KERAS_BACKEND"):
        return environ["KERAS_BACKEND"]
    home = Path(environ.get("KERAS_HOME") or Path(environ.get("HOME", "/")) / ".keras")
    try:
        settings = json.loads((home / "keras.json").read_text())
    except (OSError, ValueError):
        settings = None
    return str(settings.get("backend", "tensorflow")) if isinstance(settings, dict) else "tensorflow"


def has_run_out(error: BaseException | None) -> bool:
    """Whether an error of a Keras backend, or one behind it, says that the device has no memory left."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        kinds = {kind.__name__ for kind in type(error).__mro__}
        text = str(error)
        if not any(x in text for x in NOT_MEMORY) and (
            kinds & ERRORS or (kinds & RUNTIME_ERRORS and any(x in text for x in TEXTS))
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
