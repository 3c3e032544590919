"""TensorFlow's frames around records, read by TensorBoard's own reader and by what is known of the checksum."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.summary.writer.record_writer import RecordWriter

from cluster.tfrecord import crc32c, framed


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # of RFC 3720, as is the next
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_the_checksum_is_crc32c(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_frames_are_those_of_tensorboards_own_writer(records: list[bytes]) -> None:
    content = io.BytesIO()
    writer = RecordWriter(content)
    for record in records:
        writer.write(record)
    assert framed(records) == content.getvalue()


def test_tensorboard_reads_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(framed([b"one", b"", b"three"]))
    reader = PyRecordReader_New(str(tmp_path / "file"))
    found = []
    for _ in range(3):
        reader.GetNext()
        found.append(reader.record())
    assert found == [b"one", b"", b"three"]
