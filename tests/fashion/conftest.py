"""What the tests share: a small data set in the official format, and a machine without data and without network."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion.idx import OfficialFile, OfficialFiles

# Before Keras is imported by any test, so that its notices stay out of the report.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

TRAIN, TEST = 60, 20  # images in the small data set


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """Returns an array in the IDX format, not compressed."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_official(path: Path, array: NDArray[np.uint8]) -> OfficialFile:
    """Writes an array as a gzipped IDX file, and returns the facts of that file."""
    content = gzip.compress(idx_bytes(array), mtime=0)
    path.write_bytes(content)
    return OfficialFile(path.name, len(content), hashlib.md5(content).hexdigest())


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, OfficialFiles]:
    """A folder with four files in the official format, and their facts."""
    folder = tmp_path / "small"
    folder.mkdir()
    rng = np.random.default_rng(0)

    def images(count: int) -> NDArray[np.uint8]:
        return rng.integers(256, size=(count, 28, 28), dtype=np.uint8)

    def labels(count: int) -> NDArray[np.uint8]:
        return rng.integers(10, size=count, dtype=np.uint8)

    files = OfficialFiles(
        write_official(folder / "train-images.gz", images(TRAIN)),
        write_official(folder / "train-labels.gz", labels(TRAIN)),
        write_official(folder / "test-images.gz", images(TEST)),
        write_official(folder / "test-labels.gz", labels(TEST)),
    )
    return folder, files


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a machine with no data in any cache and no network."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    home = tmp_path / "keras-home"
    home.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    return {"KERAS_HOME": str(home)}
