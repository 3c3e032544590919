"""Files of trials: what a chief takes from workers elsewhere, and what they have of it. Without a network."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
        ".",
        "a/..",
        ".new-x",
        "a/.part-x",
        "a/.state.json.tmp",
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
    with pytest.raises(UsageError, match="comes twice"):
        chief.store.commit("7", 1, [*of(a=b""), *of(a=b"")])
    for names in (["a", "a/b"], ["a/b", "a"], ["a/b/c", "a.h5", "a/b"]):
        with pytest.raises(UsageError, match="a directory of another"):
            chief.store.commit("7", 1, [Entry(name, 0, sha(b"")) for name in names])
    with pytest.raises(DirectoryError, match="has 1001 files, and the chief takes 1000 of a trial"):
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


def test_a_content_that_was_whole_when_the_chief_was_killed_becomes_a_file(chief: Chief) -> None:
    folder = chief.project / FOLDER / "7.1"
    for content, asked in ((b"whole", 0), (b"as whole", 8)):
        folder.mkdir(parents=True)
        (folder / f"{sha(content)}.part").write_bytes(content)
        assert chief.store.put("7", 1, sha(content), len(content), asked, b"") == len(content)
        assert chief.store.commit("7", 1, of(weights=content)) == []
        assert found(chief.trial) == {"weights": content}


def test_files_of_one_content_are_files_of_their_own(chief: Chief) -> None:
    give(chief, b"same")
    assert chief.store.commit("7", 1, of(best=b"same", last=b"same", third=b"same")) == []
    with (chief.trial / "best").open("r+b") as file:
        file.write(b"else")
    assert found(chief.trial) == {"best": b"else", "last": b"same", "third": b"same"}


def test_a_file_takes_the_place_of_a_directory_and_the_other_way_round(chief: Chief) -> None:
    for files in (of(a=b"x"), of(a__b=b"x", c=b"x"), of(a=b"x", c__d__e=b"x"), of(c=b"x")):
        chief.store.commit("7", 1, files)
        give(chief, b"x")
        assert chief.store.commit("7", 1, files) == []
        assert set(found(chief.trial)) == {x.name for x in files}


def test_what_is_in_the_way_is_said(chief: Chief) -> None:
    (chief.trial / "weights").mkdir(parents=True)
    (chief.trial / "weights" / "link").symlink_to("/")  # not a file that came, so it is not removed
    give(chief, b"x")
    with pytest.raises(DirectoryError, match=r"cannot keep the files of trial 7: .*: Is a directory"):
        chief.store.commit("7", 1, of(weights=b"x"))


def test_what_is_not_wanted_any_more_makes_room(tmp_path: Path) -> None:
    chief = Chief(tmp_path / "project", limit=15)
    give(chief, b"0123456789")
    assert chief.store.commit("7", 1, of(weights=b"9876543210")) == [sha(b"9876543210")]
    give(chief, b"9876543210")
    assert chief.store.commit("7", 1, of(weights=b"9876543210")) == []


def test_an_attempt_whose_pieces_go_while_they_are_put_together_is_over(
    chief: Chief, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_back(path: Path) -> str:
        chief.take_back()
        return sha(b"x")

    monkeypatch.setattr("cluster.transfer.store.digest_of", taken_back)
    with pytest.raises(LeaseLost):
        give(chief, b"x")


def test_a_piece_that_waited_for_another_is_not_taken_of_an_attempt_that_is_over(
    chief: Chief, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, check = threading.Event(), chief.leases.check

    def told(trial_id: str, attempt: int) -> Any:
        lease = check(trial_id, attempt)
        asked.set()
        return lease

    monkeypatch.setattr(chief.leases, "check", told)
    with ThreadPoolExecutor(1) as pool:
        with chief.store._locks["7"]:
            late = pool.submit(chief.store.put, "7", 1, sha(b"xy"), 2, 0, b"x")
            assert asked.wait(30)
            chief.take_back()
        with pytest.raises(LeaseLost):
            late.result(30)
    assert not list((chief.project / FOLDER).glob("*"))


def test_an_attempt_that_has_ended_may_add_to_what_it_left(chief: Chief) -> None:
    give(chief, b"weights")
    chief.store.commit("7", 1, of(weights=b"weights"))
    chief.leases.end("7", 1)
    chief.store.forget("7")
    late = of(summary=b"late")
    with pytest.raises(LeaseLost):
        chief.store.commit("7", 1, late)
    assert chief.store.commit("7", 1, late, more=True) == [sha(b"late")]
    give(chief, b"late")
    assert chief.store.commit("7", 1, late, more=True) == []
    assert found(chief.trial) == {"weights": b"weights", "summary": b"late"}
    chief.leases.grant("7", "other", "t2")
    with pytest.raises(LeaseLost):
        chief.store.commit("7", 1, late, more=True)


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
    """A connection to a store that can break."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.sent = 0
        self.calls: list[str] = []
        self.broken = False
        self.reads = 10**9  # after so many it breaks

    def __getattr__(self, name: str) -> Any:
        def call(*words: Any, **named: Any) -> Any:
            self.calls.append(name)
            if self.broken or self.calls.count("read") > self.reads:
                raise ChiefUnreachable("the line is cut")
            if name == "put":
                self.sent += len(words[-1])
            return None if name == "progress" else getattr(self._store, name)(*words, **named)

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
    mirror.begin("8", 1)
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


def test_what_was_fetched_in_part_is_not_taken_for_whole(chief: Chief, tmp_path: Path) -> None:
    (chief.project / "trial_3").mkdir()
    for name in ("a", "b"):
        (chief.project / "trial_3" / name).write_bytes(os.urandom(10))
    mirror, line = mirror_of(chief, tmp_path / "mirror")
    line.reads = 3  # the first file, and one piece of the second
    for _ in range(2):
        with pytest.raises(DirectoryError, match="trial 3 are the chief's, and it is away"):
            mirror.need("3")


def test_the_best_trial_stays_when_the_chief_has_gone(chief: Chief, tmp_path: Path) -> None:
    for trial in ("3", "4"):
        (chief.project / f"trial_{trial}").mkdir()
        (chief.project / f"trial_{trial}" / "weights").write_bytes(trial.encode())
    mirror, line = mirror_of(chief, tmp_path / "mirror")
    mirror.finish(line, "3")
    line.broken = True
    asked = len(line.calls)
    mirror.need("3")
    assert len(line.calls) == asked, "nobody waits for a chief that is not needed"
    assert found(mirror.project / "trial_3") == {"weights": b"3"}
    with pytest.raises(DirectoryError):
        mirror.need("4")
    other, line = mirror_of(chief, tmp_path / "other")
    line.broken = True
    other.finish(line, "3")  # the search has ended well, whatever the program will ask for


def test_what_is_written_after_a_trials_end_is_sent_too(chief: Chief, tmp_path: Path) -> None:
    mirror, _ = mirror_of(chief, tmp_path / "mirror")
    mirror.begin("7", 1)
    write(mirror, weights=b"weights", resume__state=b"1")
    mirror.flush()
    chief.leases.end("7", 1)
    (chief.trial / "weights").unlink()  # as --keep-checkpoints does
    mirror.end()
    mirror.need("7")
    write(mirror, summary=b"late")
    mirror.begin("8", 1)
    assert found(chief.trial) == {"summary": b"late", "resume/state": b"1"}


def test_a_trainer_after_another_begins_with_nothing(chief: Chief, tmp_path: Path) -> None:
    """One that was killed while it sent has left links to what it sent."""
    (tmp_path / "mirror" / "snapshots" / "1").mkdir(parents=True)
    (tmp_path / "mirror" / "trial_7").mkdir()
    mirror, _ = mirror_of(chief, tmp_path / "mirror")
    assert list(mirror.project.iterdir()) == []
    mirror.begin("7", 1)
    write(mirror, weights=b"x")
    mirror.flush()
    assert found(chief.trial) == {"weights": b"x"}


def test_a_worker_without_room_says_so(
    chief: Chief, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mirror, _ = mirror_of(chief, tmp_path / "mirror")
    mirror.begin("7", 1)
    write(mirror, weights=b"x")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "weights")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr("shutil.copyfile", full)
    mirror.offer()
    assert "what the trial has saved is not on the chief" in caplog.text
    with pytest.raises(DirectoryError, match="weights cannot be kept on the worker's host: No space left"):
        mirror.flush()


def test_hidden_files_and_links_travel_and_what_does_not_is_said(
    chief: Chief, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirror, _ = mirror_of(chief, tmp_path / "mirror")
    mirror.begin("7", 1)
    write(mirror, **{"store__.zarray": b"{}", "store__0.0": b"data", ".new-odd": b"in the making"})
    trial = mirror.project / "trial_7"
    (trial / "latest").symlink_to("store/0.0")
    (trial / "away").symlink_to("/etc/hostname")
    for _ in range(2):
        mirror.flush()
    assert found(chief.trial) == {"store/.zarray": b"{}", "store/0.0": b"data", "latest": b"data"}
    assert [x for x in caplog.messages if "stays here" in x] == [
        "what trial 7 has in away stays here: it is no plain file with a plain name"
    ]


def test_a_trial_that_fetches_gets_somewhere(chief: Chief, tmp_path: Path) -> None:
    (chief.project / "trial_3").mkdir()
    (chief.project / "trial_3" / "weights").write_bytes(bytes(3 * CHUNK))
    clock, line = Clock(), Line(chief.store)

    def later() -> float:
        clock.now += 0.6
        return clock.now

    mirror = Mirror(tmp_path / "mirror", line, later)
    mirror.begin("7", 1)
    mirror.need("3")
    assert line.calls.count("progress") >= 1


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
    write(mirror, log=bytes(16))
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


def test_a_place_that_was_swept_away_before_it_was_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker starts at the same moment, and takes the directory for one that was left."""
    lock = fcntl.flock
    swept: list[Path] = []

    def between(file: Any, how: int) -> None:
        if how == fcntl.LOCK_EX and not swept:
            [own] = tmp_path.iterdir()
            swept.append(own)
            shutil.rmtree(own)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", between)
    with scratch_directory(tmp_path) as own:
        assert own.is_dir()
        assert own not in swept
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--scratch: nothing can be kept in"), scratch_directory(tmp_path / "file"):
        pass
