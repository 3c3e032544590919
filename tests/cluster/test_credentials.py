"""The token: where it is found, and how one is made."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from cluster import credentials
from cluster.errors import UsageError


def test_a_file_counts_before_the_variable_and_that_before_the_users_own(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert credentials.find(home) is None
    made = credentials.find_or_make(home)
    assert (made.file, made.place) == (tmp_path / credentials.FILE, str(tmp_path / credentials.FILE))
    assert credentials.find(home) == made == credentials.find_or_make(home)
    variable = credentials.find({**home, "CLUSTER_TOKEN": " of the variable\n"})
    assert variable is not None
    assert (variable.value, variable.place, variable.file) == ("of the variable", "CLUSTER_TOKEN", None)
    file = tmp_path / "file"
    file.write_text("of the file\n")
    file.chmod(0o600)
    found = credentials.find({**home, "CLUSTER_TOKEN": "x"}, file)
    assert found is not None
    assert (found.value, found.file) == ("of the file", file)
    assert credentials.find({**home, "CLUSTER_TOKEN": " "}) == made, "an empty variable is as good as none"


def test_one_that_is_made_is_the_users_alone(tmp_path: Path) -> None:
    made = credentials.find_or_make({"HOME": str(tmp_path / "home")})
    assert made.file is not None
    assert (made.file.stat().st_mode & 0o777, made.file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert len(made.value) >= 43, "256 bits"
    assert made.value not in repr(made)
    assert list(made.file.parent.iterdir()) == [made.file]
    assert credentials.find_or_make({"HOME": str(tmp_path / "other")}).value != made.value


def test_many_at_once_make_one(tmp_path: Path) -> None:
    barrier, found = threading.Barrier(16), set()

    def make() -> None:
        barrier.wait()
        found.add(credentials.find_or_make({"HOME": str(tmp_path)}).value)

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


def test_a_file_that_others_can_read_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    for mode, told in ((0o600, False), (0o400, False), (0o640, True), (0o604, True)):
        file.chmod(mode)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "cluster"):
            credentials.find({}, file)
        assert ("can be read by others" in caplog.text) == told, oct(mode)
        assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff\xfe", "cannot be read: it is no text"),
        (b" \n", "is empty"),
        (b"two\nlines", "holds no token"),
        ("schlüssel".encode(), "holds no token"),
        (b"x" * 5000, "holds no token"),
        (b"a\x00b", "holds no token"),
    ],
)
def test_a_file_that_holds_none(tmp_path: Path, content: bytes | None, text: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(UsageError, match=text) as caught:
        credentials.find_or_make({"HOME": str(tmp_path), "CLUSTER_TOKEN": "x"}, file)
    assert str(file) in str(caught.value)
    assert content is None or len(content) < 3 or repr(content)[2:-1] not in str(caught.value)


def test_a_variable_that_holds_none() -> None:
    with pytest.raises(UsageError, match="CLUSTER_TOKEN holds no token"):
        credentials.find({"CLUSTER_TOKEN": "two\nlines"})


def test_without_a_home(tmp_path: Path) -> None:
    assert credentials.find({}) is None
    with pytest.raises(UsageError, match="no home directory to keep a token in; set CLUSTER_TOKEN"):
        credentials.find_or_make({})
    (tmp_path / "home").write_text("a file")
    with pytest.raises(UsageError, match=r"a token cannot be kept in .*: Not a directory\. Set CLUSTER_TOKEN"):
        credentials.find_or_make({"HOME": str(tmp_path / "home")})


def test_a_named_pipe_or_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        credentials.find({}, tmp_path)
    assert os.listdir(tmp_path) == []
