"""The main job in real containers: `docker compose up --scale worker=N` runs a KerasTuner program and ends by itself.

The programs are in tests/e2e/containers; none knows of the cluster. Where a figure is printed, the assertion beside it
is wide: the figure is for people, and a busy machine is not a bug.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import UID, Container, Stack, docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(280, func_only=True)]


def events(project: Path) -> list[dict[str, Any]]:
    """The chief's event log of one search."""
    return [json.loads(line) for line in (project / "events.jsonl").read_text().splitlines()]


def trials(project: Path) -> dict[str, dict[str, Any]]:
    """KerasTuner's own record of each trial."""
    files = sorted(project.glob("trial_*/trial.json"))
    return {trial["trial_id"]: trial for trial in (json.loads(file.read_text()) for file in files)}


def check_completed(project: Path, count: int) -> None:
    """Every trial is COMPLETED in KerasTuner's own files, by one result."""
    records = trials(project)
    assert len(records) == count
    assert {trial["status"] for trial in records.values()} == {"COMPLETED"}
    oracle = json.loads((project / "oracle.json").read_text())
    assert sorted(oracle["end_order"]) == sorted(records)
    assert oracle["ongoing_trials"] == {}
    assert times(project, "end", status="COMPLETED") == dict.fromkeys(records, 1)


def check_completed_at_the_first_attempt(project: Path, count: int) -> None:
    """As `check_completed`, and no trial was started twice."""
    check_completed(project, count)
    assert set(times(project, "grant").values()) == {1}


def times(project: Path, event: str, **fields: str) -> dict[str, int]:
    """How often the event log holds such an event, by trial."""
    wanted = {"event": event, **fields}
    return dict(Counter(record["trial"] for record in events(project) if wanted.items() <= record.items()))


def workers_of(project: Path) -> set[str]:
    return {event["worker"] for event in events(project) if event["event"] == "grant"}


def check_all_ended_well(containers: list[Container], count: int) -> None:
    assert [(one.status, one.exit_code, one.restarts) for one in containers] == [("exited", 0, 0)] * count


def test_eight_trials_of_a_second_on_three_workers(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.program("sleep_trials.py")
    done = stack.up("--scale", "worker=3")
    assert done.returncode == 0, done.stdout

    project = stack.results / "sleep"
    check_completed_at_the_first_attempt(project, 8)
    assert len(workers_of(project)) == 3
    check_all_ended_well(stack.containers("worker"), 3)
    check_all_ended_well(stack.containers("chief"), 1)

    first_grant = min(event["time"] for event in events(project) if event["event"] == "grant")
    last_end = max(event["time"] for event in events(project) if event["event"] == "end")
    last_exit = max(one.finished for service in ("chief", "worker") for one in stack.containers(service))
    with capsys.disabled():
        print(
            f"\n8 trials of 1 s, 3 workers: {last_exit - first_grant:.1f} s from the first grant to the last exit "
            f"({last_end - first_grant:.1f} s to the last trial's end)"
        )
    assert last_exit - first_grant < 20


def test_containers_may_do_little(stack: Stack) -> None:
    """No root, no capabilities, nothing but the mounts to write to, and bounds; with every profile."""
    whole = stack.compose("--profile", "ui", "--profile", "ray", "config", "--format", "json")
    services = json.loads(docker(*whole, env=stack.env()))["services"]
    assert set(services) == {
        *("prepare", "chief", "worker", "dashboard", "tensorboard"),
        *("ray-prepare", "ray", "ray-worker"),
    }
    for name, service in services.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        if name.endswith("prepare"):  # gives directories away, and ends
            assert service["network_mode"] == "none", name
            continue
        assert service["user"] == f"{UID}:{UID}", name
        assert "cap_add" not in service, name
        assert int(service["mem_limit"]) > 2**30, name
        assert 100 < int(service["pids_limit"]) <= 4096, name
    tried = "for d in / /opt /etc /workspace /tmp $HOME; do touch $d/x 2>/dev/null && echo wrote $d; done; id -u"
    told = stack.run("bash", "-c", tried)
    assert re.findall(r"^wrote \S+|^\d+$", told, re.MULTILINE) == [
        *("wrote /workspace", "wrote /tmp", "wrote /home/cluster"),
        str(UID),
    ]


def test_the_flagship_leaves_its_results_to_the_user(stack: Stack) -> None:
    program = "-m fashion tune --oracle random --max-trials 4 --epochs 1 --train-samples 500 --data generated"
    stack.settings["PROGRAM"] = program
    done = stack.up("--scale", "worker=2")
    assert done.returncode == 0, done.stdout

    project = stack.results / "fashion-random"
    check_completed_at_the_first_attempt(project, 4)
    assert (project / "best/model.keras").stat().st_size > 0
    assert json.loads((project / "best/hyperparameters.json").read_text())
    assert (project / "report.md").stat().st_size > 0
    assert {path.stat().st_uid for path in (stack.results, *stack.results.rglob("*"))} == {UID}

    # The same program without the launcher is stock KerasTuner: it finds its own files, and nothing left to do.
    again = stack.run("python", *program.split())
    assert "Reloading Tuner from results/fashion-random/tuner0.json" in again
    assert "Best of 4 trials" in again
    check_completed_at_the_first_attempt(project, 4)


def test_a_program_of_ones_own_with_two_searches(stack: Stack) -> None:
    stack.program("two_searches.py")
    done = stack.up("--scale", "worker=2")
    assert done.returncode == 0, done.stdout

    check_completed_at_the_first_attempt(stack.results / "coarse", 4)
    check_completed_at_the_first_attempt(stack.results / "fine", 4)
    last_line = "fine: best model gives 64 answers"
    assert last_line in stack.logs("chief")
    assert stack.logs("worker").count(last_line) == 2
    assert {path.stat().st_uid for path in stack.results.rglob("*")} == {UID}


def test_a_worker_that_joins_in_mid_run_takes_trials(stack: Stack) -> None:
    stack.program("sleep_trials.py", "--trials", "16")
    assert stack.up("-d", "--scale", "worker=1").returncode == 0
    stack.wait_for_line("worker", "sleeps")
    assert len(stack.containers("worker")) == 1

    more = stack.up("-d", "--scale", "worker=2", "--no-recreate")
    assert more.returncode == 0, more.stdout
    stack.wait()

    check_completed_at_the_first_attempt(stack.results / "sleep", 16)
    assert len(workers_of(stack.results / "sleep")) == 2
    check_all_ended_well(stack.containers("worker"), 2)
    check_all_ended_well(stack.containers("chief"), 1)


def test_a_worker_that_is_scaled_away_hands_its_trial_back(stack: Stack) -> None:
    stack.program("sleep_trials.py", "--trials", "8")
    assert stack.up("-d", "--scale", "worker=2").returncode == 0
    stack.wait_for_line("worker", "sleeps")

    fewer = stack.up("-d", "--scale", "worker=1", "--no-recreate")
    assert fewer.returncode == 0, fewer.stdout
    stack.wait()

    check_completed(stack.results / "sleep", 8)
    check_all_ended_well(stack.containers("worker"), 1)
    check_all_ended_well(stack.containers("chief"), 1)


def test_a_chief_that_is_killed_is_started_again(stack: Stack) -> None:
    stack.program("sleep_trials.py", "--trials", "8")
    assert stack.up("-d", "--scale", "worker=2").returncode == 0
    stack.wait_for_line("chief", "default_objective=")

    stack.kill("chief")
    stack.wait()

    check_completed(stack.results / "sleep", 8)
    (chief,) = stack.containers("chief")
    assert (chief.exit_code, chief.restarts) == (0, 1)
    assert {worker.exit_code for worker in stack.containers("worker")} == {0}


def test_a_killed_workers_trial_runs_on_another(stack: Stack) -> None:
    stack.program("sleep_trials.py", "--trials", "6", "--seconds", "3")
    assert stack.up("-d", "--scale", "worker=2").returncode == 0
    stack.wait_for_line("chief", "trial 1 →")
    victim, *_ = stack.containers("worker")
    docker("kill", victim.id)  # which the engine does not undo
    stack.wait()

    project = stack.results / "sleep"
    check_completed(project, 6)
    [lost] = [event for event in events(project) if event["event"] == "lost"]
    assert lost["worker"].startswith(victim.id[:12])
    assert "its connection closed" in lost["reason"]
    check_all_ended_well(stack.containers("chief"), 1)


def test_a_stack_that_is_stopped_goes_on(stack: Stack) -> None:
    stack.program("sleep_trials.py", "--trials", "6", "--seconds", "2")
    assert stack.up("-d", "--scale", "worker=2").returncode == 0
    stack.wait_for_line("chief", "trial 2 →")
    docker(*stack.compose("stop"), env=stack.env())
    assert {one.exit_code for one in stack.containers("chief")} == {143}
    assert {one.exit_code for one in stack.containers("worker")} == {0}
    finished = set(times(stack.results / "sleep", "end"))

    assert stack.up("-d", "--scale", "worker=2").returncode == 0
    stack.wait()
    check_completed(stack.results / "sleep", 6)
    again = [e for e in events(stack.results / "sleep") if e["event"] == "grant" and e["attempt"] > 1]
    assert not {e["trial"] for e in again} & finished
    check_all_ended_well(stack.containers("chief"), 1)


def test_workers_come_and_go(stack: Stack) -> None:
    stack.program("sleep_trials.py", "--trials", "40", "--seconds", "1")
    assert stack.up("-d", "--scale", "worker=4").returncode == 0
    stack.wait_for_line("chief", "trial 03 →")
    for count in ("1", "3"):
        assert stack.up("-d", "--scale", f"worker={count}", "--no-recreate").returncode == 0
    stack.wait()
    check_completed(stack.results / "sleep", 40)
    lost = [event for event in events(stack.results / "sleep") if event["event"] == "lost"]
    assert all(event["counted"] is False for event in lost), "nobody is to blame"
    check_all_ended_well(stack.containers("chief"), 1)


def test_a_worker_that_is_cut_off_comes_back(stack: Stack) -> None:
    """Its network is gone for longer than its lease: its trial runs elsewhere, and what it then says is refused."""
    stack.program("sleep_trials.py", "--trials", "5", "--seconds", "4")
    stack.settings["CLUSTER_LEASE_SECONDS"] = "3"
    assert stack.up("-d", "--scale", "worker=2").returncode == 0
    stack.wait_for_line("chief", "trial 1 →")
    victim, *_ = stack.containers("worker")
    stack.network("disconnect", victim)
    stack.wait_for_line("chief", "was not heard of in time")
    stack.network("connect", victim)
    stack.wait()

    project = stack.results / "sleep"
    check_completed(project, 5)
    [lost] = [event for event in events(project) if event["event"] == "lost"]
    assert lost["worker"].startswith(victim.id[:12])
    check_all_ended_well(stack.containers("worker"), 2)
    check_all_ended_well(stack.containers("chief"), 1)


def test_a_program_that_does_not_exist_ends_with_its_name(stack: Stack) -> None:
    stack.settings |= {"PROGRAM": "no_such_program.py", "WORKSPACE": str(stack.workspace)}
    done = stack.up("--scale", "worker=2", timeout=120)

    assert done.returncode != 0
    assert "no_such_program.py" in stack.logs("chief")
    stack.wait("chief")  # the engine tries some times more, without anybody waiting for it
    (chief,) = stack.containers("chief")
    assert chief.exit_code == 2
