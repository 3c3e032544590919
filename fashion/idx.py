"""The four official files of Fashion-MNIST: which they are, whether a file is one of them, and what it holds.

Owns: names, sizes and checksums, the check, and the IDX format. Does not own: where to look for the files, or how
their images are scaled and split (see `data.py`).
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fashion.errors import DataError

Bytes = NDArray[np.uint8]

HOMEPAGE = "https://github.com/zalandoresearch/fashion-mnist"
UNSIGNED_BYTE = 0x08  # the IDX code for the only element type that these files use


@dataclass(frozen=True)
class OfficialFile:
    """A file as published: its name, its size in bytes, and the MD5 of its (compressed) content."""

    name: str
    size: int
    md5: str


class OfficialFiles(NamedTuple):
    """The files that make a data set; `OFFICIAL` is Fashion-MNIST."""

    train_images: OfficialFile
    train_labels: OfficialFile
    test_images: OfficialFile
    test_labels: OfficialFile


class RawArrays(NamedTuple):
    """What the files hold: images uint8 `(n, rows, columns)` in 0-255, labels uint8 `(n,)`."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes


# MD5 as in the table of the data set's README at HOMEPAGE; the sizes are those of the files with these sums. MD5 is
# no proof against malice, but it is what the publisher gives.
OFFICIAL = OfficialFiles(
    OfficialFile("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    OfficialFile("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    OfficialFile("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    OfficialFile("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
)


def missing(folder: Path, files: Iterable[OfficialFile] = OFFICIAL) -> list[OfficialFile]:
    """Returns those of the files that the folder lacks."""
    return [file for file in files if not (folder / file.name).is_file()]


def check(path: Path, file: OfficialFile) -> None:
    """Raises `DataError` unless the content of `path` is that of the official file."""
    try:
        size = path.stat().st_size
        # The size first: it is free, and tells a cut download from a changed file.
        if size != file.size:
            raise _not_official(
                path, f"{file.size:,} bytes", f"{size:,}", "cut short" if size < file.size else "changed"
            )
        with path.open("rb") as content:
            md5 = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Check that it exists and its rights."
        ) from error
    if md5 != file.md5:
        raise _not_official(path, f"MD5 {file.md5}", md5, "changed")


def read_folder(folder: Path, files: OfficialFiles = OFFICIAL) -> RawArrays:
    """Checks and reads the four files of a folder.

    Raises:
        DataError: One of them is missing, wrong or unreadable.
    """
    for file in files:
        check(folder / file.name, file)
    return RawArrays(*(read_idx(folder / file.name) for file in files))


def read_idx(path: Path) -> Bytes:
    """Reads a gzipped IDX file of bytes.

    Source of the format: two zero bytes, the element type, the number of dimensions, each dimension as a big-endian
    32-bit integer, then the elements, the last dimension changing fastest (Y. LeCun's MNIST page).

    Returns:
        A read-only uint8 array with the dimensions that the file states.

    Raises:
        DataError: It is not such a file, or its end is missing.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}. Get it again from {HOMEPAGE}.") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise DataError(f"{path} is not an IDX file of bytes: it starts with {content[:4].hex() or 'nothing'}.")
    header = 4 + 4 * content[3]
    if not 1 <= content[3] <= 3 or len(content) < header:
        raise DataError(f"{path} has a damaged header. Get it again from {HOMEPAGE}.")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=content[3], offset=4))
    if len(content) - header != math.prod(shape):
        raise DataError(f"{path} should hold {math.prod(shape):,} values {shape}, but holds {len(content) - header:,}.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _not_official(path: Path, expected: str, found: str, state: str) -> DataError:
    return DataError(
        f"{path} is not the official file: expected {expected}, found {found}; it was probably {state}. "
        f"Delete it and get it again from {HOMEPAGE}."
    )
