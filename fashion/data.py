"""Fashion-MNIST, ready for training: found, verified, scaled and split.

Owns: where to look, in which order, what to do when there is nothing, and the split. Does not own: the files' format
and checksums (`idx.py`), the download (`download.py`), or the drawing of stand-in images (`generated.py`).

The order: the folder in `FASHION_MNIST_DIR`; Keras's cache; the network; and, only for the source "auto" and never
in silence, generated images. A file that is there but wrong is an error, and so is a `FASHION_MNIST_DIR` that lacks a
file: who sets it wants that data and no other.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashion import generated
from fashion.download import fetch
from fashion.errors import DataError, DownloadError
from fashion.idx import OFFICIAL, OfficialFiles, RawArrays, missing, read_folder
from fashion.settings import SOURCES, TRAIN_SIZE, Source

__all__ = ["DataError", "Dataset", "DownloadError", "load"]

VARIABLE = "FASHION_MNIST_DIR"
TEST_SIZE = 10_000
VAL_SHARE = 10  # the last tenth of the official training set is for validation

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Pair = tuple[Images, Labels]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """The three parts, each images float32 `(n, 28, 28, 1)` in [0, 1] and labels int64 `(n,)` in 0-9.

    Iterates as `(x_train, y_train), (x_val, y_val), (x_test, y_test)`. `generated` tells that the images were drawn
    and are not Fashion-MNIST; whatever shows a result must show that too.
    """

    train: Pair
    val: Pair
    test: Pair
    generated: bool

    def __iter__(self) -> Iterator[Pair]:
        return iter((self.train, self.val, self.test))

    @property
    def kind(self) -> str:
        """For machines: "real" or "generated"."""
        return "generated" if self.generated else "real"

    @property
    def title(self) -> str:
        """For people: what the data are."""
        return "generated data, NOT Fashion-MNIST" if self.generated else "Fashion-MNIST"


def load(
    source: Source = "auto",
    train_samples: int | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    files: OfficialFiles = OFFICIAL,
) -> Dataset:
    """Returns the data set.

    Args:
        source: "real" for Fashion-MNIST or an error; "generated" for drawn images; "auto" for the real data where
            they can be had, and otherwise, with a warning, drawn ones.
        train_samples: For quick runs, keep the first n of the training part (54,000) and n // 9 of the validation
            part (6,000), at least one, so that their ratio stays. The test part is always whole (10,000).
        environ: Where `FASHION_MNIST_DIR` and `KERAS_HOME` are read from; `os.environ` by default.
        files: The files that count as official.

    Raises:
        DataError: The data that were asked for are missing, incomplete or damaged.
        ValueError: An unknown source, or more training samples than there are.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown source {source!r}; choose from {', '.join(SOURCES)}")
    if source != "generated":
        try:
            raw = _read_real(os.environ if environ is None else environ, files)
            return _split(raw, train_samples)
        except DownloadError as error:
            if source == "real":
                raise DownloadError(f"{error}. Set {VARIABLE} to the folder with the four official files.") from error
            _warn(error)
    return _generate(train_samples)


def _read_real(environ: Mapping[str, str], files: OfficialFiles) -> RawArrays:
    """Reads the real files from the first place that has them, downloading them if none has."""
    if given := environ.get(VARIABLE):
        folder = Path(given).expanduser()
        if lacking := missing(folder, files):
            names = ", ".join(file.name for file in lacking)
            what = "lacks" if folder.is_dir() else "is not a folder, so there is no"
            raise DataError(
                f"{VARIABLE} is {given}, which {what} {names}. Put the four official files there, or unset {VARIABLE}."
            )
        return read_folder(folder, files)

    caches = keras_caches(environ)
    for folder in caches:
        if not missing(folder, files):
            return _read_or_repair(folder, files)
    folder = next((folder for folder in caches if _can_write(folder)), caches[-1])
    fetch(missing(folder, files), folder)
    return _read_or_repair(folder, files)


def keras_caches(environ: Mapping[str, str]) -> list[Path]:
    """Where Keras keeps this data set: in its home, or in the temporary folder when it may not write there."""
    home = Path(environ.get("KERAS_HOME") or "~/.keras").expanduser()
    return [base / "datasets" / "fashion-mnist" for base in (home, Path(tempfile.gettempdir()) / ".keras")]


def _can_write(folder: Path) -> bool:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(nearest, os.W_OK)


def _read_or_repair(folder: Path, files: OfficialFiles) -> RawArrays:
    """Reads a cache, and downloads it again if it is damaged; without a network, the damage is the error."""
    try:
        return read_folder(folder, files)
    except DataError as damage:
        log.warning("%s Trying to download it again.", damage)
        try:
            fetch(files, folder)
        except DownloadError:
            # Not a DownloadError: for this one "auto" must not fall back, or the damage would never be noticed.
            raise damage from None
    return read_folder(folder, files)


def _warn(reason: DownloadError) -> None:
    log.warning(
        "No Fashion-MNIST here (%s). Using GENERATED images instead: the results will say nothing about "
        "Fashion-MNIST. Set %s to the folder with the four official files, or use --data real to stop instead.",
        reason,
        VARIABLE,
    )


def _split(raw: RawArrays, train_samples: int | None) -> Dataset:
    """Cuts the official training set in two, in its own order, which is already mixed."""
    train_size = len(raw.train_images) - len(raw.train_images) // VAL_SHARE
    keep_train, keep_val = _sizes(train_samples, train_size)
    train, val = slice(keep_train), slice(train_size, train_size + keep_val)
    return Dataset(
        train=(_scale(raw.train_images[train]), raw.train_labels[train].astype(np.int64)),
        val=(_scale(raw.train_images[val]), raw.train_labels[val].astype(np.int64)),
        test=(_scale(raw.test_images), raw.test_labels.astype(np.int64)),
        generated=False,
    )


def _generate(train_samples: int | None) -> Dataset:
    keep_train, keep_val = _sizes(train_samples, TRAIN_SIZE)
    # A seed for each part: no image of one is an image of another.
    return Dataset(
        train=generated.draw(keep_train, seed=1),
        val=generated.draw(keep_val, seed=2),
        test=generated.draw(TEST_SIZE, seed=3),
        generated=True,
    )


def _sizes(train_samples: int | None, train_size: int) -> tuple[int, int]:
    """Returns how many images the training and the validation part keep."""
    keep = train_size if train_samples is None else train_samples
    if not 1 <= keep <= train_size:
        raise ValueError(f"train_samples must be in 1..{train_size}, got {keep}")
    return keep, max(1, keep // (VAL_SHARE - 1))


def _scale(images: NDArray[np.uint8]) -> Images:
    """From bytes `(n, 28, 28)` to float32 `(n, 28, 28, 1)` in [0, 1]."""
    return np.divide(images, np.float32(255), dtype=np.float32)[..., np.newaxis]
