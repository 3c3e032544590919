"""Stands in for NVIDIA's `pynvml` where this directory is on PYTHONPATH: GPUs that are not there.

FAKE_GPUS in the environment is their number, or `broken` for a driver that does not work; FAKE_GPU_GB is their memory
each (default 80); FAKE_MIG=N partitions each into N instances. `tests/cluster/test_devices.py` holds what is here
against the real module.
"""

import os
from types import SimpleNamespace

NVML_DEVICE_MIG_ENABLE = 1


class NVMLError(Exception):
    pass


class NVMLError_LibraryNotFound(NVMLError):
    pass


class NVMLError_LibRmVersionMismatch(NVMLError):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


class NVMLError_FunctionNotFound(NVMLError):
    pass


class NVMLError_NotFound(NVMLError):
    pass


def nvmlInit():
    kind = os.environ.get("FAKE_GPUS", "none")
    if kind == "none":
        raise NVMLError_LibraryNotFound("NVML Shared Library Not Found")
    if kind == "broken":
        raise NVMLError_LibRmVersionMismatch("RM has detected an NVML/RM version mismatch.")


def nvmlShutdown():
    pass


def nvmlSystemGetDriverVersion():
    return "555.42.06"


def nvmlDeviceGetCount():
    return int(os.environ["FAKE_GPUS"])


def nvmlDeviceGetHandleByIndex(index):
    return SimpleNamespace(index=index, part=None)


def nvmlDeviceGetUUID(handle):
    kind, low = ("GPU", "") if handle.part is None else ("MIG", f"{handle.part:x}")
    return f"{kind}-{handle.index:x}{low:0<7}-aaaa-bbbb-cccc-0123456789ab"


def nvmlDeviceGetName(handle):
    return "NVIDIA H100 80GB HBM3" + ("" if handle.part is None else " MIG 1g.10gb")


def nvmlDeviceGetMemoryInfo(handle):
    gigabytes = float(os.environ.get("FAKE_GPU_GB", "80"))
    parts = 1 if handle.part is None else int(os.environ["FAKE_MIG"])
    total = int(gigabytes * 10**9 / parts)
    return SimpleNamespace(total=total, free=total, used=0)


def nvmlDeviceGetMigMode(handle):
    parts = os.environ.get("FAKE_MIG")
    if parts is None:
        raise NVMLError_NotSupported("Not Supported")
    return [int(parts != "0")] * 2


def nvmlDeviceGetMaxMigDeviceCount(handle):
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(handle, index):
    if index >= int(os.environ["FAKE_MIG"]):
        raise NVMLError_NotFound("Not Found")
    return SimpleNamespace(index=handle.index, part=index)
