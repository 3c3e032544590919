"""The official files: a file is read exactly, or refused with an error that says what is wrong."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion import idx
from fashion.errors import DataError
from fashion.idx import OFFICIAL, OfficialFiles, read_folder, read_idx
from tests.fashion.conftest import TEST, TRAIN, idx_bytes, write_official

SHAPES = st.lists(st.integers(0, 5), min_size=1, max_size=3)


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_reads_back_what_was_written(shape: list[int], seed: int) -> None:
    array = np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array.gz"
        write_official(path, array)
        np.testing.assert_array_equal(read_idx(path), array)


@given(content=st.binary(max_size=40), packed=st.booleans())
def test_any_other_content_is_a_data_error_or_an_array(content: bytes, packed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array.gz"
        path.write_bytes(gzip.compress(content) if packed else content)
        try:
            array = read_idx(path)
        except DataError:
            return
        assert idx_bytes(np.array(array)) == content


@given(cut=st.integers(1, 60))
def test_a_file_that_lacks_its_end_is_refused(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array.gz"
        write_official(path, np.arange(200, dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(DataError, match=r"array\.gz"):
            read_idx(path)


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_the_check_notices_a_single_changed_bit(position: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array.gz"
        facts = write_official(path, np.arange(200, dtype=np.uint8))
        content = bytearray(path.read_bytes())
        content[position % len(content)] ^= 1 << bit
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"expected MD5 {facts.md5}"):
            idx.check(path, facts)


def test_reads_a_folder(small: tuple[Path, OfficialFiles]) -> None:
    raw = read_folder(*small)
    assert [array.shape for array in raw] == [(TRAIN, 28, 28), (TRAIN,), (TEST, 28, 28), (TEST,)]


def test_a_cut_file_is_told_by_its_size(small: tuple[Path, OfficialFiles]) -> None:
    folder, files = small
    path = folder / files.test_images.name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError) as caught:
        read_folder(folder, files)
    message = str(caught.value)
    assert str(path) in message
    assert f"expected {files.test_images.size:,} bytes, found 100" in message
    assert "cut short" in message
    assert "Delete it" in message


def test_a_missing_file_is_a_data_error(small: tuple[Path, OfficialFiles]) -> None:
    folder, files = small
    (folder / files.train_labels.name).unlink()
    assert idx.missing(folder, files) == [files.train_labels]
    with pytest.raises(DataError, match=r"train-labels\.gz cannot be read"):
        read_folder(folder, files)


def test_the_official_files_are_those_that_were_published() -> None:
    # The table in the data set's README.
    published = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    assert {file.name: file.md5 for file in OFFICIAL} == published
