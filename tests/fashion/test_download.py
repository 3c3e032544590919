"""Downloads: whole and checked, or not there. The addresses are files, so no network is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fashion.download import fetch
from fashion.errors import DownloadError
from fashion.idx import OfficialFiles, missing


def test_fetches_files_and_leaves_nothing_else(small: tuple[Path, OfficialFiles], tmp_path: Path) -> None:
    source, files = small
    target = tmp_path / "new" / "cache"
    fetch(files, target, f"{source.as_uri()}/")
    assert sorted(path.name for path in target.iterdir()) == sorted(file.name for file in files)
    assert not missing(target, files)


def test_a_wrong_file_never_gets_its_name(small: tuple[Path, OfficialFiles], tmp_path: Path) -> None:
    source, files = small
    (source / files.train_images.name).write_bytes(b"<html>Please log in to the network</html>")
    target = tmp_path / "cache"
    with pytest.raises(DownloadError, match=r"train-images\.gz could not be downloaded: .*not the official file"):
        fetch(files, target, f"{source.as_uri()}/")
    assert list(target.iterdir()) == []


def test_a_failed_download_keeps_the_file_that_was_there(small: tuple[Path, OfficialFiles], tmp_path: Path) -> None:
    folder, files = small
    before = (folder / files.train_images.name).read_bytes()
    with pytest.raises(DownloadError):
        fetch(files, folder, f"{(tmp_path / 'nowhere').as_uri()}/")
    assert (folder / files.train_images.name).read_bytes() == before


def test_a_folder_that_cannot_be_made_is_a_download_error(small: tuple[Path, OfficialFiles], tmp_path: Path) -> None:
    source, files = small
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError):
        fetch(files, tmp_path / "file" / "cache", f"{source.as_uri()}/")


def test_no_network_is_a_short_message(bare: dict[str, str], small: tuple[Path, OfficialFiles], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"^train-images\.gz could not be downloaded: no network in this test$"):
        fetch(small[1], tmp_path / "cache")
