"""Files of trials: what a chief takes from workers elsewhere, and what they have of it. Without a network."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ChiefUnreachable, DirectoryError, LeaseLost, UsageError
from cluster.leases import LeaseTable
from cluster.transfer import entry as entries_module
from cluster.transfer.entry import CHUNK, Entry, is_name
from cluster.transfer.mirror import Mirror, Remote, sees
from cluster.transfer.scratch import LOCK, PREFIX, scratch_directory
from cluster.transfer.store import FOLDER, Store
from tests.cluster.conftest import Clock

GB = 10**9


class Chief:
    """A store, the leases that it goes by, and trial 7 in its first attempt."""

    def __init__(self, project: Path, limit: int = GB, free: int = 100 * GB) -> None:
        project.mkdir(exist_ok=True)
        self.project = project
        self.trial = project / "trial_7"
        self.leases = LeaseTable(Clock(), 10.0)
        self.leases.grant("7", "w", "t")
        self.store = Store(project, self.leases, contextlib.nullcontext, limit, GB, lambda path: free)

    def take_back(self) -> None:
        """Another worker gets the trial."""
        self.leases.drop("7")
        self.store.forget("7")
        self.leases.grant("7", "other", "t2")


@pytest.fixture
def chief(tmp_path: Path) -> Chief:
    return Chief(tmp_path / "project")


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def of(**files: bytes) -> list[Entry]:
    return [Entry(name.replace("__", "/"), len(content), sha(content)) for name, content in files.items()]


def give(chief: Chief, content: bytes, attempt: int = 1) -> int:
    """All of a content, in pieces."""
    here = chief.store.put("7", attempt, sha(content), len(content), 0, b"")
    while here < len(content):
        piece = content[here : here + CHUNK]
        here = chief.store.put("7", attempt, sha(content), len(content), here, piece)
    return here


def found(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


# --- the chief's side


def test_a_directory_becomes_what_its_worker_says(chief: Chief) -> None:
    weights, state = os.urandom(3 * CHUNK + 7), b'{"epoch": 1}'
    files = of(**{"checkpoint.weights.h5": weights, "resume__attempt-1__state.json": state, "empty": b""})
    assert chief.store.commit("7", 1, files) == sorted(x.digest for x in files)
    assert not chief.trial.exists(), "nothing is changed before all is there"
    for content in (weights, state, b""):
        assert give(chief, content) == len(content)
    assert chief.store.commit("7", 1, files) == []
    assert found(chief.trial) == {
        "checkpoint.weights.h5": weights,
        "resume/attempt-1/state.json": state,
        "empty": b"",
    }
    assert not list((chief.project / FOLDER).glob("*")), "what was put together is gone"
    assert chief.store.commit("7", 1, files) == [], "a repeat changes nothing"
    later = of(**{"checkpoint.weights.h5": weights})
    assert chief.store.commit("7", 1, later) == [], "what is there need not come again"
    assert set(found(chief.trial)) == {"checkpoint.weights.h5"}
    assert not (chief.trial / "resume").exists()


def test_the_trials_own_file_is_the_chiefs(chief: Chief) -> None:
    chief.trial.mkdir()
    (chief.trial / "trial.json").write_text("{}")
    assert chief.store.commit("7", 1, []) == []
    assert found(chief.trial) == {"trial.json": b"{}"}
    assert chief.store.entries("7") == []
    with pytest.raises(UsageError, match=r"trial\.json"):
        chief.store.commit("7", 1, of(**{"trial.json": b"x"}))
    with pytest.raises(UsageError):
        chief.store.read("7", "trial.json", 0)


def test_a_content_goes_on_where_it_broke_off(chief: Chief) -> None:
    content = os.urandom(2 * CHUNK)
    about = "7", 1, sha(content), len(content)
    assert chief.store.put(*about, 0, content[:CHUNK]) == CHUNK
    assert chief.store.put(*about, 0, content[:CHUNK]) == CHUNK, "a piece whose answer was lost is not taken twice"
    again = Store(chief.project, chief.leases, contextlib.nullcontext, GB, 0)  # the chief was restarted
    again.keep_only([("7", 1)])
    assert again.put(*about, 0, b"") == CHUNK
    assert again.put(*about, CHUNK, content[CHUNK:]) == len(content)
    assert again.commit("7", 1, of(weights=content)) == []
    assert found(chief.trial) == {"weights": content}


def test_what_is_not_what_its_hash_says_begins_again(chief: Chief) -> None:
    content = os.urandom(100)
    wrong = bytes([content[0] ^ 1]) + content[1:]
    about = "7", 1, sha(content), len(content)
    assert chief.store.put(*about, 0, wrong) == 0
    assert chief.store.commit("7", 1, of(weights=content)) == [sha(content)]
    assert chief.store.put(*about, 0, content) == len(content)
    assert chief.store.commit("7", 1, of(weights=content)) == []


def test_only_the_attempt_that_holds_the_trial_may_send(chief: Chief) -> None:
    give(chief, b"first")
    chief.take_back()
    files = of(weights=b"first")
    with pytest.raises(LeaseLost):
        chief.store.put("7", 1, sha(b"x"), 1, 0, b"x")
    with pytest.raises(LeaseLost):
        chief.store.commit("7", 1, files)
    with pytest.raises(LeaseLost):
        chief.store.commit("8", 1, [])
    assert chief.store.commit("7", 2, files) == [sha(b"first")], "what the first had sent is gone"
    assert not chief.trial.exists()


def test_a_trial_that_is_taken_back_in_the_last_moment_is_not_changed(tmp_path: Path) -> None:
    chief = Chief(tmp_path / "project")

    @contextlib.contextmanager
    def step() -> Iterator[None]:
        chief.leases.drop("7")  # while this call waited for the lock
        yield

    give(chief, b"x")
    late = Store(chief.project, chief.leases, step, GB, 0)
    with pytest.raises(LeaseLost):
        late.commit("7", 1, of(weights=b"x"))
    assert not chief.trial.exists()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/x",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        ".x",
        "a/.x",
        "a\\x",
        "a\nb",
        "\0",
        "a" * 300,
        "a/" * 300,
        "trial.json",
    ],
)
def test_names_lead_nowhere_else(chief: Chief, name: str) -> None:
    with pytest.raises(UsageError):
        chief.store.commit("7", 1, [Entry(name, 0, sha(b""))])
    with pytest.raises(UsageError):
        chief.store.read("7", name, 0)


@given(st.text(max_size=40) | st.lists(st.sampled_from(["a", "..", ".", "", "b.h5", "trial.json"])).map("/".join))
def test_a_name_that_is_taken_stays_inside(name: str) -> None:
    if is_name(name):
        place = Path("/project/trial_7")
        assert Path(os.path.normpath(place / name)).is_relative_to(place)
        assert Path(os.path.normpath(place / name)) != place


def test_links_lead_nowhere_else(chief: Chief, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    chief.trial.mkdir()
    (chief.trial / "way").symlink_to(outside)
    (chief.trial / "file").symlink_to(outside / "secret")
    give(chief, b"x")
    with pytest.raises(UsageError):
        chief.store.commit("7", 1, of(way__new=b"x"))
    for name in ("way/secret", "file"):
        with pytest.raises(UsageError):
            chief.store.read("7", name, 0)
    assert chief.store.entries("7") == []
    assert found(outside) == {"secret": b"secret"}


def test_what_makes_no_sense_is_refused(chief: Chief) -> None:
    digest = sha(b"x")
    for size, offset, data in [(1, 0, b"xx"), (1, 2, b""), (-1, 0, b""), (1, -1, b"x"), (10**9, 0, bytes(CHUNK + 1))]:
        with pytest.raises(UsageError):
            chief.store.put("7", 1, digest, size, offset, data)
    for wrong in ("", "x", "../" * 21 + "x", digest.upper(), f"{digest}0"):
        with pytest.raises(UsageError):
            chief.store.put("7", 1, wrong, 1, 0, b"x")
    with pytest.raises(UsageError, match="name each"):
        chief.store.commit("7", 1, [*of(a=b""), *of(a=b"")])
    with pytest.raises(UsageError, match="1001 files"):
        chief.store.commit("7", 1, [Entry(str(n), 0, sha(b"")) for n in range(1001)])
    with pytest.raises(UsageError):
        chief.store.append_log("7", 1, 0, bytes(CHUNK + 1))


def test_files_are_bounded(tmp_path: Path) -> None:
    chief = Chief(tmp_path / "small", limit=1500)
    with pytest.raises(
        DirectoryError, match=r"have 0\.00 GB, and the chief takes 1\.5e-06 GB of a trial \(--upload-gb\)"
    ):
        chief.store.commit("7", 1, of(weights=bytes(1501)))
    give(chief, bytes(1000))
    with pytest.raises(DirectoryError, match="upload-gb"):  # whatever is said of their size
        give(chief, bytes(501))
    full = Chief(tmp_path / "full", free=GB + 9)
    give(full, bytes(9))
    with pytest.raises(DirectoryError, match=r"its disk has 1\.0 GB left, and 1 GB stay free \(--free-gb\)"):
        give(full, bytes(10))


def test_what_nobody_will_make_whole_is_removed(chief: Chief) -> None:
    chief.store.put("7", 1, sha(b"xy"), 2, 0, b"x")
    (chief.project / FOLDER / "3.1").mkdir()
    chief.store.keep_only([("7", 1)])
    assert [x.name for x in (chief.project / FOLDER).iterdir()] == ["7.1"]
    chief.store.keep_only([])
    assert not (chief.project / FOLDER).exists()


# --- logs


def test_a_log_is_added_to_its_end_once(chief: Chief) -> None:
    path = chief.project / "logs" / "7.log"
    assert chief.store.append_log("7", 1, -1, b"") == 0
    assert chief.store.append_log("7", 1, 0, b"one\n") == 4
    assert chief.store.append_log("7", 1, 0, b"one\n") == 4, "again, for the answer was lost"
    assert chief.store.append_log("7", 1, 4, b"two\n") == 8
    assert chief.store.append_log("7", 1, 100, b"gap") == 8
    chief.leases.drop("7")
    assert chief.store.append_log("7", 1, 8, b"end\n") == 12, "the attempt is over, and is the last"
    chief.leases.grant("7", "other", "t2")
    with pytest.raises(LeaseLost):
        chief.store.append_log("7", 1, 12, b"late\n")
    assert chief.store.append_log("7", 2, -1, b"") == 12
    assert path.read_bytes() == b"one\ntwo\nend\n"


def test_a_log_is_bounded(chief: Chief, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.transfer.store.MOST_LOG", 10)
    assert chief.store.append_log("7", 1, 0, b"12345678") == 8
    assert chief.store.append_log("7", 1, 8, b"9abc") == 12, "taken, and dropped"
    assert (chief.project / "logs" / "7.log").read_bytes() == b"12345678"


# --- the worker's side


class Line:
    """A connection to a store that can break, for so many calls, after what was asked was done or before."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.sent = 0
        self.calls: list[str] = []
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        def call(*words: Any) -> Any:
            self.calls.append(name)
            if self.broken:
                raise ChiefUnreachable("the line is cut")
            if name == "put":
                self.sent += len(words[-1])
            return getattr(self._store, name)(*words)

        return call


def mirror_of(chief: Chief, place: Path) -> tuple[Mirror, Line]:
    line = Line(chief.store)
    remote: Remote = line
    return Mirror(place, remote), line


def write(mirror: Mirror, **files: bytes) -> None:
    for name, content in files.items():
        path = mirror.project / "trial_7" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(".new")
        new.write_bytes(content)
        os.replace(new, path)


def test_what_a_trial_has_written_is_the_chiefs(chief: Chief, tmp_path: Path) -> None:
    mirror, line = mirror_of(chief, tmp_path / "mirror")
    mirror.begin("7", 1)
    weights = os.urandom(CHUNK + 5)
    write(mirror, weights=weights, resume__state=b"1", copy=weights)
    mirror.flush()
    assert found(chief.trial) == {"weights": weights, "resume/state": b"1", "copy": weights}
    assert line.sent == len(weights) + 1, "two files with one content travel once"
    write(mirror, weights=b"better")
    (mirror.project / "trial_7" / "copy").unlink()
    mirror.offer()
    mirror.flush()
    assert found(chief.trial) == {"weights": b"better", "resume/state": b"1"}
    mirror.end()
    assert not (mirror.project / "trial_7").exists()
    assert not list((mirror.project / "snapshots").glob("*"))


def test_files_that_are_replaced_meanwhile_go_as_they_were(chief: Chief, tmp_path: Path) -> None:
    mirror, _ = mirror_of(chief, tmp_path / "mirror")
    mirror.begin("7", 1)
    write(mirror, state=b"epoch 1", weights=b"weights 1")
    snapshot = mirror._snapshot()
    assert snapshot is not None
    write(mirror, state=b"epoch 2", weights=b"weights 2")
    mirror._send(snapshot)
    assert found(chief.trial) == {"state": b"epoch 1", "weights": b"weights 1"}


def test_an_attempt_takes_up_what_the_one_before_has_left(chief: Chief, tmp_path: Path) -> None:
    first, _ = mirror_of(chief, tmp_path / "first")
    first.begin("7", 1)
    weights = os.urandom(2 * CHUNK + 1)
    write(first, weights=weights, resume__state=b"1")
    first.flush()
    chief.take_back()
    second, _ = mirror_of(chief, tmp_path / "second")
    second.begin("7", 2)
    assert found(second.project / "trial_7") == {"weights": weights, "resume/state": b"1"}
    write(first, weights=b"from one that is not heard any more")
    with pytest.raises(LeaseLost):
        first.flush()
    second.flush()
    assert found(chief.trial)["weights"] == weights


def test_what_other_trials_have_left_is_fetched(chief: Chief, tmp_path: Path) -> None:
    (chief.project / "trial_3").mkdir()
    (chief.project / "trial_3" / "weights").write_bytes(b"parent")
    mirror, line = mirror_of(chief, tmp_path / "mirror")
    mirror.begin("7", 1)
    mirror.need("7")
    assert line.calls == [], "the trial in hand is here"
    mirror.need("3")
    assert found(mirror.project / "trial_3") == {"weights": b"parent"}
    mirror.need("3")
    assert line.calls.count("read") == 2, "what is here is not fetched again"
    (chief.project / "trial_3" / "weights").write_bytes(b"newer!")
    mirror.need("3")
    assert found(mirror.project / "trial_3") == {"weights": b"newer!"}
    line.broken = True
    mirror.need("3")
    with pytest.raises(DirectoryError, match=r"trial 4 are the chief's, and it is away.*--linger-seconds"):
        mirror.need("4")


def test_a_chief_that_takes_no_more_is_told_of(tmp_path: Path) -> None:
    chief = Chief(tmp_path / "project", limit=10)
    mirror, _ = mirror_of(chief, tmp_path / "mirror")
    mirror.begin("7", 1)
    write(mirror, weights=bytes(11))
    mirror.offer()  # a try beside the training says so, and no more
    with pytest.raises(DirectoryError, match="upload-gb"):
        mirror.flush()


def test_a_file_that_changes_all_the_time_is_told_of(
    chief: Chief, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, _ = mirror_of(chief, tmp_path / "mirror")
    mirror.begin("7", 1)
    write(mirror, log=b"0")
    was = entries_module.Digests.entry

    def changes(self: Any, name: str, path: Path) -> Entry:
        entry = was(self, name, path)
        path.write_bytes(os.urandom(entry.size))
        return entry

    monkeypatch.setattr(entries_module.Digests, "entry", changes)
    with pytest.raises(DirectoryError, match="change all the time"):
        mirror.flush()


def test_a_directory_is_the_chiefs_where_its_mark_is(tmp_path: Path) -> None:
    assert not sees(tmp_path / "none", ".search-1")
    (tmp_path / ".search-1").touch()
    assert sees(tmp_path, ".search-1")
    assert not sees(tmp_path, ".search-2"), "another search's"
    assert not sees(tmp_path, ".search-1", lambda path, mode: False), "it can only be read"


# --- the place


def test_a_workers_place_goes_with_it(tmp_path: Path) -> None:
    killed = tmp_path / f"{PREFIX}killed"
    killed.mkdir()
    (killed / LOCK).touch()
    with scratch_directory(tmp_path / "deep" / "er") as own:
        assert own.is_dir()
    with scratch_directory(tmp_path) as one, scratch_directory(tmp_path) as other:
        assert one != other
        assert one.is_dir(), "that of a worker which lives is left alone"
        assert not killed.exists()
    assert [x.name for x in tmp_path.iterdir()] == ["deep"]


def test_a_place_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--scratch: nothing can be kept in"), scratch_directory(tmp_path / "file"):
        pass
