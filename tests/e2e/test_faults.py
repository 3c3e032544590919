"""Workers that are killed, told to leave, stuck or bad, as real processes; what each costs is in the event log."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.launcher import ENVIRONMENT, PROGRAMS, Running, check_completed, children, cluster, events

SLOW = str(PROGRAMS / "slow_epochs.py")


def chief_and_workers(
    start: Callable[..., Running],
    port: int,
    *program: str,
    names: tuple[str, ...] = ("a", "b"),
    options: tuple[str, ...] = (),
) -> tuple[Running, dict[str, Running]]:
    """A chief at a port, and workers with these names."""
    chief = start("chief", "--listen", f"127.0.0.1:{port}", *options, *program)
    chief.read_until("the chief listens")
    workers = {name: start("worker", "--chief", f"127.0.0.1:{port}", "--name", name, *program) for name in names}
    return chief, workers


def epochs_of(*outputs: str) -> list[int]:
    return [int(epoch) for output in outputs for epoch in re.findall(r"^epoch (\d+) at step", output, re.MULTILINE)]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_killed_workers_trial_goes_on_elsewhere(
    start: Callable[..., Running],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "KERAS_BACKEND", backend)
    chief, workers = chief_and_workers(start, 18780, SLOW)
    for name in ("a", "b"):
        chief.read_until(f"{'ab'[name == 'b']} joined|joined")
    holder = chief.read_until(r"trial 0 → (\w)").group(1)
    other = "b" if holder == "a" else "a"
    workers[holder].read_until("epoch 3")
    killed = time.time()
    workers[holder].process.kill()
    workers[holder].end()
    assert workers[other].end() == 0, workers[other].output
    assert chief.end() == 0, chief.output

    project = tmp_path / "results" / "slow"
    check_completed(project, 1)
    [first, second] = events(project, "grant")
    assert (first["worker"], second["worker"], second["attempt"]) == (holder, other, 2)
    seconds = second["time"] - killed
    with capsys.disabled():
        print(f"\na killed worker's trial ran elsewhere after {1000 * seconds:.0f} ms")
    assert seconds < 10
    again = epochs_of(workers[other].output)
    assert again[0] == 3, "the epochs that were over are kept, with the optimizer's steps"
    assert f"epoch 3 at step {3 * 4}" in workers[other].output
    assert again == [3, 4, 5]


def test_a_worker_told_to_leave_ends_its_epoch_and_gives_its_trial_back(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    chief, workers = chief_and_workers(start, 18781, SLOW, names=("a",), options=("--max-attempts", "1"))
    workers["a"].read_until("epoch 2")
    workers["a"].process.send_signal(signal.SIGTERM)
    assert workers["a"].end() == 0, workers["a"].output
    assert "leaving at the end of the epoch" in workers["a"].output
    assert epochs_of(workers["a"].output)[-1] == 2
    chief.read_until(r"trial 0 is lost \(a was told to leave\) and will run again")

    later = start("worker", "--chief", "127.0.0.1:18781", "--name", "later", SLOW)
    assert later.end() == 0, later.output
    assert chief.end() == 0, chief.output
    assert epochs_of(later.output) == [3, 4, 5]
    [lost] = events(tmp_path / "results" / "slow", "lost")
    assert lost["counted"] is False
    check_completed(tmp_path / "results" / "slow", 1)


def test_a_worker_told_twice_leaves_at_once(start: Callable[..., Running]) -> None:
    chief, workers = chief_and_workers(start, 18782, SLOW, "--epochs", "100", names=("a",))
    workers["a"].read_until("epoch 1")
    for _ in range(2):
        workers["a"].process.send_signal(signal.SIGTERM)
    assert workers["a"].end() == 0
    chief.read_until("trial 0 is lost")
    chief.process.send_signal(signal.SIGTERM)
    assert chief.end() == 143


def test_an_idle_worker_told_to_leave_does_so_at_once(start: Callable[..., Running]) -> None:
    chief, workers = chief_and_workers(start, 18783, SLOW, "--epochs", "40")
    holder = chief.read_until(r"trial 0 → (\w)").group(1)
    idle = workers["b" if holder == "a" else "a"]
    begin = time.monotonic()
    idle.process.send_signal(signal.SIGTERM)
    assert idle.end() == 0, idle.output
    assert time.monotonic() - begin < 15, "far less than the epochs and the waits of the others"
    chief.process.send_signal(signal.SIGTERM)
    assert chief.end() == 143
    workers[holder].end()


def test_a_stuck_trial_is_taken_back(start: Callable[..., Running], tmp_path: Path) -> None:
    program = (SLOW, "--epochs", "2")
    chief = start("chief", "--listen", "127.0.0.1:18784", "--stall-seconds", "3", *program)
    chief.read_until("the chief listens")
    worker = start("worker", "--chief", "127.0.0.1:18784", "--name", "a", *program, STUCK=str(tmp_path / "stuck"))
    chief.read_until(r"trial 0 is lost \(it got nowhere for 3 s \(--stall-seconds\)\) and will run again")
    assert worker.end() == 0, worker.output
    assert "the trainer is stopped: trial 0: it got nowhere" in worker.output
    assert chief.end() == 0, chief.output
    check_completed(tmp_path / "results" / "slow", 1)


def test_a_bad_worker_is_set_aside_and_the_others_go_on(start: Callable[..., Running], tmp_path: Path) -> None:
    program = (SLOW, "--trials", "2", "--epochs", "1")
    chief = start("chief", "--listen", "127.0.0.1:18785", "--max-attempts", "9", *program)
    chief.read_until("the chief listens")
    bad = start("worker", "--chief", "127.0.0.1:18785", "--name", "bad", *program, BAD="kill")
    assert bad.end() == 10, bad.output
    assert "leaving: bad has lost 3 trials in a row; look at this machine" in bad.output
    good = start("worker", "--chief", "127.0.0.1:18785", "--name", "good", *program)
    assert good.end() == 0, good.output
    assert chief.end() == 0, chief.output
    check_completed(tmp_path / "results" / "slow", 2)
    reasons = [event["reason"] for event in events(tmp_path / "results" / "slow", "lost")]
    assert len(reasons) == 3
    assert all(x.startswith("the trainer of bad was killed by SIGKILL; its last lines:\n") for x in reasons)
    assert all("epoch 0 at step 0" in reason for reason in reasons)


def test_a_trainer_is_replaced_between_trials(tmp_path: Path) -> None:
    done = cluster(tmp_path, "run", "--workers", "1", "--recycle-after", "1", SLOW, "--trials", "2", "--epochs", "1")
    assert done.returncode == 0, done.stdout
    project = tmp_path / "results" / "slow"
    check_completed(project, 2)
    assert len({event["trainer"] for event in events(project, "grant")}) == 2
    assert events(project, "lost") == []


def test_a_killed_trainer_costs_the_epoch_it_was_in(start: Callable[..., Running], tmp_path: Path) -> None:
    chief, workers = chief_and_workers(start, 18786, SLOW, names=("a",))
    workers["a"].read_until("epoch 3")
    [trainer] = children(workers["a"].process.pid)
    os.kill(trainer, signal.SIGKILL)
    assert workers["a"].end() == 0, workers["a"].output
    assert chief.end() == 0, chief.output
    before, after = workers["a"].output.split("cluster: the trial goes on at epoch 4")
    assert epochs_of(after) == [3, 4, 5]
    assert "epoch 3 at step 12" in before
    check_completed(tmp_path / "results" / "slow", 1)


def test_a_stopped_worker_comes_back_too_late(start: Callable[..., Running], tmp_path: Path) -> None:
    """SIGSTOP past its lease, then SIGCONT: its trial ran elsewhere, and what it still says is refused."""
    chief, workers = chief_and_workers(start, 18787, SLOW, options=("--lease-seconds", "2"))
    holder = chief.read_until(r"trial 0 → (\w)").group(1)
    workers[holder].read_until("epoch 1")
    processes = [workers[holder].process.pid, *children(workers[holder].process.pid)]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    chief.read_until(rf"trial 0 is lost \({holder} was not heard of in time\)")
    chief.read_until("trial 0 → ")
    for pid in reversed(processes):
        os.kill(pid, signal.SIGCONT)
    codes = [worker.end() for worker in workers.values()]
    assert codes == [0, 0]
    assert chief.end() == 0, chief.output
    check_completed(tmp_path / "results" / "slow", 1)


def test_a_local_run_that_is_killed_goes_on_at_its_next_epoch(start: Callable[..., Running], tmp_path: Path) -> None:
    first = start("run", SLOW)
    first.read_until("epoch 3")
    first.process.kill()
    first.end()
    second = cluster(tmp_path, "run", SLOW)
    assert second.returncode == 0, second.stdout
    assert epochs_of(second.stdout) == [3, 4, 5]
    assert "epoch 3 at step 12" in second.stdout
    check_completed(tmp_path / "results" / "slow", 1)
