"""Files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fashion.files import read_json, replacing, write_json, write_text


def test_writes_and_reads_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "notes.json"
    write_json(path, {"ä": [1, 2.5, None]})
    assert read_json(path) == {"ä": [1, 2.5, None]}
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    write_text(path, "before")

    def fail_halfway() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "notes.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "", '{"a":'])
def test_no_file_or_no_json_reads_as_nothing(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "notes.json"
    if content is not None:
        path.write_text(content)
    assert read_json(path) is None
