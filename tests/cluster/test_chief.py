"""Who is here, and which search a worker means."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from cluster.chief import Chief, Description, Host, Share
from cluster.cores import host_id
from cluster.errors import Refused, SearchFailed, TrainerAhead
from cluster.program import Identity

PROGRAM = Identity("tune.py", ("--epochs", "3"), "abc")


def hp(name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": "Int", "config": {"name": name, "conditions": [], **config}}


DESCRIPTION = Description("Tuner", "RandomSearchOracle", "loss (min)", 10, "results/x", (hp("units", max_value=64),))


class FakeSearch:
    """A search that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.over = False
        self.id = "the id"
        self.aside: str | None = None
        self.leases = self
        self.notes: list[tuple[str, str, bool]] = []

    def note_worker(self, worker: str, host: str, *, here: bool) -> None:
        self.notes.append((worker, host, here))

    def lose_worker(self, worker: str, reason: str, *, counted: bool) -> None:
        self.calls.append(("lose_worker", worker, reason, counted))

    def lose_trainer(self, trainer: str, reason: str, *, counted: bool) -> None:
        self.calls.append(("lose_trainer", trainer, reason, counted))

    def renew(self, worker: str) -> None:
        self.calls.append(("renew", worker))

    def set_aside(self, worker: str) -> str | None:
        return self.aside

    def dismissed(self, trainer: str) -> str | None:
        return f"{trainer} is stuck"

    def fail(self, error: Exception) -> None:
        self.calls.append(("fail", str(error)))

    def state_text(self) -> str:
        return '{"oracle": {}, "trials": []}'


def chief_with_search() -> tuple[Chief, FakeSearch]:
    chief, search = Chief(PROGRAM), FakeSearch()
    chief.begin(search, DESCRIPTION)  # type: ignore[arg-type]
    return chief, search


def test_a_worker_of_another_program_is_refused() -> None:
    chief = Chief(PROGRAM)
    with pytest.raises(Refused, match=r"program: 'other.py' on the worker, 'tune.py' on the chief"):
        chief.join("w", "s", Host("host"), replace(PROGRAM, name="other.py"))
    with pytest.raises(Refused, match="arguments: '' on the worker, '--epochs 3' on the chief"):
        chief.join("w", "s", Host("host"), replace(PROGRAM, arguments=()))
    assert chief.present == []


def test_a_name_is_taken_once() -> None:
    chief = Chief(PROGRAM)
    chief.join("w", "s1", Host("host"), PROGRAM)
    with pytest.raises(Refused, match="already here"):
        chief.join("w", "s2", Host("host"), PROGRAM)
    chief.left("w", "s1", "gone")
    chief.join("w", "s2", Host("host"), PROGRAM)
    assert chief.present == ["w"]


def test_a_worker_that_comes_back_on_a_second_connection_has_not_left() -> None:
    chief, search = chief_with_search()
    chief.join("w", "s", Host("host"), PROGRAM)
    chief.join("w", "s", Host("host"), PROGRAM)
    chief.left("w", "s", "the first connection broke")
    assert chief.present == ["w"]
    assert search.calls == []
    chief.left("w", "s", "gone")
    assert chief.present == []
    assert search.calls == [("lose_worker", "w", "gone", True)]


def test_a_worker_of_another_host_may_be_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection broke, and its process goes on."""
    monkeypatch.setattr("cluster.chief.BACK_SECONDS", 60.0)
    chief, search = chief_with_search()
    there = Host("there", "another kernel's boot id")
    chief.join("w", "s", there, PROGRAM)
    with ThreadPoolExecutor(1) as pool:
        left = pool.submit(chief.left, "w", "s", "its connection closed")
        chief.join("w", "s", there, PROGRAM)
        left.result(30)
    assert (chief.present, search.calls) == (["w"], [])
    chief.left("w", "s", "told to leave", counted=False)  # who says goodbye is not waited for
    assert (chief.present, search.calls) == ([], [("lose_worker", "w", "told to leave", False)])


@pytest.mark.parametrize("host", [Host("here", host_id()), Host("nobody knows where")])
def test_a_worker_whose_process_is_gone_is_gone_at_once(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    monkeypatch.setattr("cluster.chief.BACK_SECONDS", 60.0)
    chief, search = chief_with_search()
    chief.join("w", "s", host, PROGRAM)
    chief.left("w", "s", "gone")
    assert search.calls == [("lose_worker", "w", "gone", True)]


def test_a_worker_of_another_host_that_is_not_back_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.chief.BACK_SECONDS", 0.01)
    chief, search = chief_with_search()
    chief.join("w", "s", Host("there", "another kernel's boot id"), PROGRAM)
    chief.left("w", "s", "gone")
    assert (chief.present, search.calls) == ([], [("lose_worker", "w", "gone", True)])


def test_a_heartbeat_renews_and_tells_of_the_end() -> None:
    chief, search = chief_with_search()
    assert chief.beat("w") is None
    assert search.calls == [("renew", "w")]
    chief.leave("no disk", 6)
    leaving = chief.beat("w")
    assert leaving is not None
    assert (leaving.reason, leaving.exit_code) == ("no disk", 6)
    assert ("fail", "no disk") in search.calls


def test_a_worker_that_is_set_aside_is_told_to_leave() -> None:
    chief, search = chief_with_search()
    search.aside = "w has lost 3 trials in a row"
    leaving = chief.beat("w")
    assert leaving is not None
    assert (leaving.reason, leaving.exit_code) == ("w has lost 3 trials in a row; look at this machine", 10)


def test_a_trainer_is_dismissed_by_its_id() -> None:
    chief, _ = chief_with_search()
    assert chief.dismissed("t") == "t is stuck"
    assert chief.dismissed("") is None
    assert Chief(PROGRAM).dismissed("t") is None


def test_a_search_is_found_by_its_place_in_the_program() -> None:
    chief, search = chief_with_search()
    found = chief.find(0, replace(DESCRIPTION, directory="elsewhere/named-by-a-clock"), timeout=0)
    assert found is not None
    assert found[0] is search  # type: ignore[comparison-overlap]
    assert chief.find(1, DESCRIPTION, timeout=0) is None


def test_a_trainer_waits_for_the_chiefs_search() -> None:
    chief = Chief(PROGRAM)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(chief.find(0, DESCRIPTION, timeout=30)))
    waiting.start()
    chief.begin(FakeSearch(), DESCRIPTION)  # type: ignore[arg-type]
    waiting.join(timeout=10)
    assert found[0] is not None


@pytest.mark.parametrize(
    ("worker", "message"),
    [
        (
            replace(DESCRIPTION, oracle="GridSearchOracle"),
            "oracle: 'GridSearchOracle' on the worker, 'RandomSearchOracle'",
        ),
        (replace(DESCRIPTION, objective="acc (max)"), r"objective: 'acc \(max\)' on the worker"),
        (replace(DESCRIPTION, max_trials=None), "max_trials: None on the worker, 10 on the chief"),
        (
            replace(DESCRIPTION, space=(hp("units", max_value=128),)),
            "hyperparameter 'units': max_value=128 on the worker, 64 on the chief",
        ),
        (replace(DESCRIPTION, space=()), "hyperparameter 'units' is not on the worker"),
        (replace(DESCRIPTION, space=(*DESCRIPTION.space, hp("rate"))), "hyperparameter 'rate' is not on the chief"),
    ],
)
def test_a_worker_with_another_search_is_refused_with_the_difference(worker: Description, message: str) -> None:
    chief, _ = chief_with_search()
    with pytest.raises(Refused, match=message):
        chief.find(0, worker, timeout=0)


@pytest.mark.parametrize("space", [(*DESCRIPTION.space, hp("found in a trial")), (hp("units", max_value=32),)])
def test_a_resumed_chief_may_know_another_space_than_a_worker_declares(space: tuple[dict[str, Any], ...]) -> None:
    """Trials have added to it, or the program has changed its ranges since: the saved space holds, as in KerasTuner."""
    chief = Chief(PROGRAM)
    chief.begin(FakeSearch(), replace(DESCRIPTION, space=space, whole=False))  # type: ignore[arg-type]
    assert chief.find(0, DESCRIPTION, timeout=0) is not None


class TestATrainerAfterARestartOfItsChief:
    def test_begins_again_when_the_chief_is_in_an_earlier_search(self) -> None:
        """The chief needs somebody to come to that search's end, and all are further on."""
        chief, search = chief_with_search()
        with pytest.raises(TrainerAhead, match="is in search 1, not 2"):
            chief.search_at(1, "", timeout=0)
        search.over = True
        assert chief.search_at(1, "", timeout=0) is None

    def test_begins_again_when_its_search_is_another_one(self) -> None:
        chief, search = chief_with_search()
        assert chief.search_at(0, search.id, timeout=0) is search  # type: ignore[comparison-overlap]
        with pytest.raises(TrainerAhead, match="its search 1 is another one"):
            chief.search_at(0, "the old id", timeout=0)

    def test_waits_for_a_chief_that_is_on_its_way(self) -> None:
        chief, search = Chief(PROGRAM), FakeSearch()
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.append(chief.search_at(0, "", timeout=30)))
        waiting.start()
        chief.begin(search, DESCRIPTION)  # type: ignore[arg-type]
        waiting.join(timeout=10)
        assert found == [search]


def test_the_chief_waits_for_the_end_of_each_search_anew() -> None:
    chief, _ = chief_with_search()
    chief.join("w", "s", Host("host"), PROGRAM)
    chief.read("w", 0)
    chief.begin(FakeSearch(), DESCRIPTION)  # type: ignore[arg-type]
    ending = threading.Thread(target=lambda: chief.finish(30))
    ending.start()
    assert ending.is_alive()
    chief.read("w", 1)
    chief.beat("w")
    ending.join(timeout=10)
    assert not ending.is_alive()


def test_a_worker_that_searches_once_more_than_the_chief_is_refused() -> None:
    chief, _ = chief_with_search()
    chief.finish(0)
    with pytest.raises(Refused, match="ended after 1 searches"):
        chief.find(1, DESCRIPTION, timeout=0)


def test_a_chief_that_left_says_why() -> None:
    chief = Chief(PROGRAM)
    chief.leave("its program raised", 1)
    with pytest.raises(SearchFailed, match="its program raised"):
        chief.find(0, DESCRIPTION, timeout=0)


def test_the_chief_stays_until_every_worker_has_read_the_end() -> None:
    chief, _ = chief_with_search()
    chief.join("reads", "s", Host("host"), PROGRAM)
    chief.join("leaves", "s", Host("host"), PROGRAM)
    ending = threading.Thread(target=lambda: chief.finish(30))
    ending.start()
    chief.read("reads", 0)
    assert ending.is_alive()
    chief.left("leaves", "s", "its program has ended", counted=False)
    chief.beat("reads")  # whose supervisor learns that this is the end
    ending.join(timeout=10)
    assert not ending.is_alive()


def test_the_chief_does_not_wait_for_a_worker_that_waits_for_a_device(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has run nothing in this search, and will read no end."""
    monkeypatch.setattr("cluster.chief.TOLD_SECONDS", 0)
    chief, _ = chief_with_search()
    chief.join("waits from the start", "s", Host("host"), PROGRAM, waiting=True)
    chief.join("waits again", "s", Host("host"), PROGRAM)
    chief.beat("waits again", waiting=True)
    chief.finish(0)
    assert "not waiting any longer" not in caplog.text
    chief.join("works", "s", Host("host"), PROGRAM)
    chief.beat("waits again", waiting=False)
    chief.finish(0)
    assert "not waiting any longer for waits again, works" in caplog.text


def test_the_end_comes_as_soon_as_the_last_worker_waits_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.chief.TOLD_SECONDS", 0)
    chief, _ = chief_with_search()
    chief.join("w", "s", Host("host"), PROGRAM)
    ending = threading.Thread(target=lambda: chief.finish(30))
    ending.start()
    chief.beat("w", waiting=False)
    assert ending.is_alive()
    chief.beat("w", waiting=True)
    ending.join(timeout=10)
    assert not ending.is_alive()


class TestTheCoresOfAHost:
    """Are shared by the workers that run on it, and by those that are about to come."""

    HERE = Host("here", "boot-1", "0-7", "group-1")

    def join(self, chief: Chief, *names: str, host: Host = HERE, waiting: bool = False) -> None:
        for name in names:
            chief.join(name, f"session of {name}", host, PROGRAM, waiting=waiting)

    def places(self, chief: Chief) -> dict[str, tuple[int, int]]:
        shares = {name: chief.share(name) for name in chief.present}
        return {name: (share.place, share.places) for name, share in shares.items()}

    def test_are_all_for_one_who_is_alone(self) -> None:
        chief = Chief(PROGRAM)
        assert chief.share("not here yet") == Share(0, 1, 1)
        self.join(chief, "w")
        assert chief.share("w") == Share(0, 1, 1)

    def test_are_dealt_by_name_whoever_came_first(self) -> None:
        for names in itertools.permutations(["a", "b", "c"]):
            chief = Chief(PROGRAM)
            self.join(chief, *names)
            assert self.places(chief) == {"a": (0, 3), "b": (1, 3), "c": (2, 3)}

    def test_are_known_by_the_hosts_id_and_not_by_its_name(self) -> None:
        """Containers of one host have names of their own, and hosts may have the same."""
        chief = Chief(PROGRAM)
        self.join(chief, "a", host=Host("container-1", "boot-1", "0-7", "g1"))
        self.join(chief, "b", host=Host("container-2", "boot-1", "0-7", "g2"))
        self.join(chief, "c", host=Host("container-1", "boot-2", "0-7", "g1"))
        assert self.places(chief) == {"a": (0, 2), "b": (1, 2), "c": (0, 1)}

    def test_of_two_hosts_without_an_id_are_known_by_their_names(self) -> None:
        """Systems other than Linux have none."""
        chief = Chief(PROGRAM)
        self.join(chief, "a", host=Host("mac-1", "", "0-7"))
        self.join(chief, "b", host=Host("mac-2", "", "0-7"))
        self.join(chief, "c", host=Host("mac-2", "", "0-7"))
        assert self.places(chief) == {"a": (0, 1), "b": (0, 2), "c": (1, 2)}

    def test_that_a_worker_may_not_use_are_not_shared_with_it(self) -> None:
        chief = Chief(PROGRAM)
        self.join(chief, "a", "b", host=Host("here", "boot-1", "0-3"))
        self.join(chief, "c", host=Host("here", "boot-1", "4-7"))
        assert self.places(chief) == {"a": (0, 2), "b": (1, 2), "c": (0, 1)}

    def test_are_not_for_those_who_wait_for_a_device(self) -> None:
        chief = Chief(PROGRAM)
        self.join(chief, "a", "c")
        self.join(chief, "b", waiting=True)
        assert (chief.share("a"), chief.share("c")) == (Share(0, 2, 2), Share(1, 2, 2))
        assert chief.share("b") == Share(1, 3, 3), "as it will be, when it has one"
        chief.beat("b", waiting=False)
        assert self.places(chief) == {"a": (0, 3), "b": (1, 3), "c": (2, 3)}
        chief.beat("a", waiting=True)
        assert (chief.share("b"), chief.share("c")) == (Share(0, 2, 2), Share(1, 2, 2))

    def test_are_kept_for_those_who_are_about_to_come(self) -> None:
        """Else the first of four would start with all of them."""
        chief = Chief(PROGRAM, expected=3)
        self.join(chief, "b")
        assert chief.share("b") == Share(0, 3, 3)
        self.join(chief, "a")
        assert self.places(chief) == {"a": (0, 3), "b": (1, 3)}
        self.join(chief, "c")
        assert self.places(chief) == {"a": (0, 3), "b": (1, 3), "c": (2, 3)}

    def test_are_dealt_again_when_a_worker_has_left(self) -> None:
        chief = Chief(PROGRAM, expected=3)
        self.join(chief, "a", "b", "c")
        chief.left("b", "session of b", "it was told to leave", counted=False)
        assert self.places(chief) == {"a": (0, 2), "c": (1, 2)}
        self.join(chief, "d")
        assert self.places(chief) == {"a": (0, 3), "c": (1, 3), "d": (2, 3)}

    def test_are_counted_once_for_a_worker_on_two_connections(self) -> None:
        chief = Chief(PROGRAM)
        self.join(chief, "a", "a", "b")
        assert self.places(chief) == {"a": (0, 2), "b": (1, 2)}

    def test_are_together_under_the_quota_of_a_control_group(self) -> None:
        chief = Chief(PROGRAM)
        self.join(chief, "a", "b", host=Host("here", "boot-1", "0-7", "group-1"))
        self.join(chief, "c", host=Host("here", "boot-1", "0-7", "group-2"))
        self.join(chief, "d", host=Host("here", "boot-1", "0-7", "group-1"), waiting=True)
        assert [chief.share(name) for name in "abc"] == [Share(0, 3, 2), Share(1, 3, 2), Share(2, 3, 1)]
        assert chief.share("d") == Share(3, 4, 3)


def test_a_traceback_is_told_once() -> None:
    chief = Chief(PROGRAM)
    assert [chief.tell_once("Traceback A"), chief.tell_once("Traceback A"), chief.tell_once("B")] == [True, False, True]
