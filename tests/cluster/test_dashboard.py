"""What the page shows and where it comes from: rows of a record, directories, a chief that goes and comes."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.chief import Chief, Description
from cluster.dashboard.feed import delta, detail, header, plain, row
from cluster.dashboard.hub import Hub
from cluster.dashboard.plots import Plots
from cluster.dashboard.remote import RunningChief, source_of
from cluster.dashboard.sources import SCAN_SECONDS, Away, Directory, Projects, id_of
from cluster.errors import ChiefUnreachable, UsageError
from cluster.follow import Follower, read
from cluster.logs import log_of
from cluster.policy import Policy
from cluster.program import Identity
from cluster.record import Record
from cluster.rpc.server import serve
from cluster.watched import Reading
from tests.access import CALLER, guard
from tests.cluster.conftest import Clock, make_oracle, open_search, take
from tests.made_up import BEGAN, MadeUp, write

NOW = BEGAN + 1000


class TestFeed:
    def test_the_header_of_a_search_that_is_over(self, tmp_path: Path) -> None:
        record = read(write(tmp_path / "project"))
        found = header(record, NOW)
        assert (found["name"], found["state"], found["objective"], found["direction"]) == (
            "project",
            "ended",
            "val_accuracy",
            "max",
        )
        assert (found["counts"], found["trials"], found["max_trials"]) == ({"completed": 11, "failed": 1}, 12, 12)
        assert (found["losses"], found["seconds_left"]) == (2, None)
        assert found["best"] == record.done[0].id
        assert found["until"] == record.last_event, "what is over does not go on"
        span = record.last_event - BEGAN if record.last_event else 0
        assert found["trials_per_hour"] == pytest.approx(12 * 3600 / span)
        assert [x["name"] for x in found["workers"]] == ["worker-1", "worker-2", "worker-3"]
        assert not any(x["here"] for x in found["workers"])
        assert sum(x["trials"] for x in found["workers"]) == 12
        assert 0.5 < found["utilisation"] <= 1.0

    def test_busy_time_is_of_the_time_that_workers_were_here(self, tmp_path: Path) -> None:
        """One of two workers runs a trial of 10 s, of 20 s and 40 s that they are here."""
        events = [
            {"time": BEGAN, "event": "search_begin", "search": "s", "objective": "x", "direction": "min"},
            {"time": BEGAN, "event": "joined", "worker": "a", "host": "h"},
            {"time": BEGAN, "event": "joined", "worker": "b", "host": "h"},
            {"time": BEGAN + 5, "event": "grant", "trial": "0", "attempt": 1, "worker": "a"},
            {"time": BEGAN + 15, "event": "end", "trial": "0", "attempt": 1, "worker": "a", "status": "COMPLETED"},
            {"time": BEGAN + 20, "event": "left", "worker": "a"},
        ]
        (tmp_path / "events.jsonl").write_text("".join(json.dumps(x) + "\n" for x in events))
        found = header(read(tmp_path), BEGAN + 40)
        assert found["utilisation"] == pytest.approx(10 / 60)
        assert [(x["here"], x["seconds_here"], x["seconds_busy"]) for x in found["workers"]] == [
            (False, 20, 10),
            (True, 40, 0),
        ]

    def test_a_delta_has_what_is_new(self, tmp_path: Path) -> None:
        follower = Follower(write(tmp_path, MadeUp(running=2, over=False)))
        follower.poll()
        reading = Reading(follower.record, "mark")
        whole = delta(reading, "another", 99, NOW)
        assert (whole["whole"], len(whole["trials"])) == (True, 12)
        assert delta(reading, "mark", whole["version"], NOW)["trials"] == []
        json.dumps(whole, allow_nan=False)

    def test_a_row_of_a_running_trial(self, tmp_path: Path) -> None:
        record = read(write(tmp_path, MadeUp(running=2, over=False)))
        found = row(record, record.trials["0011"])
        assert (found["status"], found["score"], found["epoch"], found["of"]) == ("running", None, 2, 4)
        assert found["so_far"] == record.score_so_far(record.trials["0011"])
        assert row(record, record.trials["0000"])["so_far"] is None, "it has a score"

    def test_a_trial_of_its_own_tells_what_happened(self, tmp_path: Path) -> None:
        record = read(write(tmp_path))
        lines = [x["text"] for x in detail(record, record.trials["0000"])["story"]]
        assert lines[0] == "attempt 1 on worker-1, gpu 0 GPU-8932f937"
        assert lines[1] == "attempt 1 was lost: the trainer was killed by SIGKILL"
        assert lines[3].startswith("epoch 1: loss=")
        assert lines[-1] == "attempt 2 completed"
        [failed] = [x for x in record.trials.values() if x.status == "failed"]
        assert detail(record, failed)["message"].endswith("ValueError: no such layer\n")

    def test_what_json_has_not(self) -> None:
        odd = {1: math.nan, "b": (math.inf, {"c": {1}}), "d": True}
        assert plain(odd) == {"1": None, "b": [None, {"c": "{1}"}], "d": True}


class TestDirectory:
    def test_new_projects_appear(self, tmp_path: Path, clock: Clock) -> None:
        write(tmp_path / "a")
        source = Directory(tmp_path, clock=clock)
        assert [x.record.name for x in source.poll().values()] == ["a"]
        write(tmp_path / "group" / "b")
        clock.now += SCAN_SECONDS
        assert [x.record.name for x in source.poll().values()] == ["a", "b"], "the newest last"

    def test_a_project_itself(self, tmp_path: Path) -> None:
        project = write(tmp_path / "a")
        found = Directory(project).poll()
        assert list(found) == [id_of(project)]

    def test_one_that_is_removed_is_left_out(self, tmp_path: Path, clock: Clock) -> None:
        write(tmp_path / "a")
        write(tmp_path / "b")
        source = Directory(tmp_path, clock=clock)
        assert len(source.poll()) == 2
        shutil.rmtree(tmp_path / "b")
        clock.now += SCAN_SECONDS
        assert [x.record.name for x in source.poll().values()] == ["a"]
        shutil.rmtree(tmp_path)
        clock.now += SCAN_SECONDS
        with pytest.raises(Away, match="is not there"):
            source.poll()

    def test_no_search(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is no project directory"):
            Directory(tmp_path)
        with pytest.raises(UsageError, match="is not there"):
            Directory(tmp_path / "none", empty=True)
        assert Directory(tmp_path, empty=True).poll() == {}

    def test_the_end_of_a_log(self, tmp_path: Path) -> None:
        project = write(tmp_path / "a")
        log_of(project, "0003").parent.mkdir()
        log_of(project, "0003").write_text("a line\n")
        source = Directory(tmp_path)
        source.poll()
        assert source.log(id_of(project), "0003") == "a line\n"
        for search, trial in ((id_of(project), "../x"), ("none", "0003")):
            with pytest.raises(KeyError):
                source.log(search, trial)

    def test_the_projects_of_an_owner_come_one_by_one(self, tmp_path: Path) -> None:
        projects = Projects()
        assert projects.poll() == {}
        for name in ("a", "b", "a"):
            projects.looker(write(tmp_path / name))
        assert [x.record.name for x in projects.poll().values()] == ["b", "a"], "the newest last, and each once"


class TestChief:
    @pytest.fixture
    def chief(self, tmp_path: Path, owned: None) -> Iterator[tuple[str, Any]]:
        address = f"unix:{tmp_path}/chief.sock"
        chief = Chief(Identity("tune.py", (), "abc"))
        with open_search(tmp_path, oracle=make_oracle(trials=3)) as search:
            chief.begin(search, Description("T", "O", "score (min)", 3, "results/x", ()))
            server = serve(chief, Policy(), address, guard())
            yield address, (chief, search, server)
            server.stop(0).wait()

    def test_is_followed_and_what_it_told_stays_when_it_goes(self, chief: tuple[str, Any], tmp_path: Path) -> None:
        address, (served, search, server) = chief
        source = source_of(address, lambda: CALLER)
        assert isinstance(source, RunningChief)
        [first] = source.poll().values()
        assert first.record.trials == {}
        take(search)
        [second] = source.poll().values()
        assert second.mark == first.mark
        assert [x.status for x in second.record.trials.values()] == ["running"]
        assert first.record.trials == {}, "it stays as it was"
        assert source.log(id_of(search.directory), "0") == ""

        server.stop(0).wait()
        with pytest.raises(Away, match="does not answer"):
            source.poll()
        again = serve(served, Policy(), address, guard())
        try:
            assert source._client.wait_until_there(20.0)
            [third] = source.poll().values()
            assert third.mark != second.mark, "another process's reading"
            assert [x.status for x in third.record.trials.values()] == ["running"]
        finally:
            source.close()
            again.stop(0).wait()

    def test_of_another_program_on_the_same_port(self, chief: tuple[str, Any], tmp_path: Path) -> None:
        address, (served, search, server) = chief
        source = RunningChief(address, CALLER)
        source.poll()
        server.stop(0).wait()
        served.searches.clear()
        again = serve(served, Policy(), address, guard())
        try:
            assert source._client.wait_until_there(20.0)
            assert [x.record.name for x in source.poll().values()] == ["project"], "what was known"
            assert [x.record.name for x in source.poll().values()] == ["project"]
            (tmp_path / "later").mkdir()
            with open_search(tmp_path / "later", oracle=make_oracle(trials=3)) as other:
                served.begin(other, Description("T", "O", "score (min)", 3, "results/x", ()))
                source.poll()
                assert list(source.poll()) == [id_of(search.directory), id_of(other.directory)]
        finally:
            source.close()
            again.stop(0).wait()

    def test_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ChiefUnreachable, match="no chief answers"):
            source_of(f"unix:{tmp_path}/none.sock", lambda: CALLER, seconds=0.1)

    def test_a_directory_counts_more_than_an_address(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "host:80")
        monkeypatch.chdir(tmp_path)
        assert isinstance(source_of("host:80", lambda: CALLER), Directory)


class Fake:
    """A source that counts how often it is read."""

    name = "a fake"

    def __init__(self) -> None:
        self.polls = 0
        self.error: Exception | None = None

    def poll(self) -> dict[str, Reading]:
        self.polls += 1
        if self.error is not None:
            raise self.error
        return {"x": Reading(Record("d", "x"), "m")}

    def log(self, search: str, trial: str) -> str:
        return ""

    def close(self) -> None:
        pass


class TestHub:
    def test_reads_while_somebody_looks_and_not_otherwise(self) -> None:
        source = Fake()
        hub = Hub(source, seconds=0.01)

        async def looked() -> int:
            running = asyncio.create_task(hub.run())
            await asyncio.sleep(0)
            before = source.polls
            with hub.looking():
                while source.polls < 3:
                    await hub.next(5.0)
            assert not hub._wanted.is_set(), "nobody looks any more"
            running.cancel()
            return before

        assert asyncio.run(looked()) == 0

    def test_what_was_known_stays_while_the_source_is_away(self, caplog: pytest.LogCaptureFixture) -> None:
        source = Fake()
        hub = Hub(source, seconds=0.0)

        async def looked() -> list[str]:
            said = []
            for error in (None, Away("gone"), OSError("broken"), None):
                source.error = error
                await hub.fresh()
                said.append(hub.away)
                assert list(hub.readings) == ["x"]
            return said

        assert asyncio.run(looked()) == ["", "gone", "a fake cannot be read: broken", ""]


class TestPlots:
    def test_are_made_when_something_has_changed_and_not_too_often(self, clock: Clock) -> None:
        made: list[int] = []

        def figure(record: Record) -> dict[str, Any]:
            made.append(record.version)
            return {"data": [math.nan], "layout": {}}

        plots = Plots({"importance": figure}, clock)

        def get(version: int, mark: str = "m") -> dict[str, Any]:
            reading = Reading(Record("d", "x", version=version), mark)
            found: dict[str, Any] = json.loads(asyncio.run(plots.get("s", reading, "importance")))
            return found

        assert get(1) == {"version": 1, "again": 10.0, "figure": {"data": [None], "layout": {}}}
        assert get(1)["version"] == 1
        clock.now += 4
        assert (get(2)["version"], get(2)["again"]) == (1, 6.0), "ten seconds are not over"
        clock.now += 6
        assert get(2)["version"] == 2
        assert get(1, mark="another")["version"] == 1, "of another reading, at once"
        assert made == [1, 2, 1]

    def test_one_that_fails_is_none(self, caplog: pytest.LogCaptureFixture) -> None:
        plots = Plots({"odd": lambda record: {"data": record.trials["x"]}})
        reading = Reading(Record("d", "x"), "m")
        assert json.loads(asyncio.run(plots.get("s", reading, "odd")))["figure"] is None
        with pytest.raises(KeyError):
            asyncio.run(plots.get("s", reading, "none"))
