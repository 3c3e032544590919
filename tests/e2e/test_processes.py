"""The launcher as a user runs it: real processes, KerasTuner programs that know nothing of it, signals, bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.launcher import (
    BACKENDS,
    ENVIRONMENT,
    PROGRAMS,
    Running,
    arguments,
    check_completed,
    children,
    cluster,
    events,
    trials,
)

# --- the main job


@pytest.mark.parametrize("options", BACKENDS, ids=["local", "workers"])
def test_a_base_tuner_subclass(tmp_path: Path, options: list[str]) -> None:
    done = cluster(tmp_path, "run", *options, str(PROGRAMS / "sleep_trials.py"), "--trials", "6", "--seconds", "0.2")
    assert done.returncode == 0, done.stdout
    project = tmp_path / "results" / "sleep"
    check_completed(project, 6)
    best = min(t["score"] for t in trials(project).values())
    assert f"best score={best:.5g}" in done.stdout
    assert done.stdout.count("best x ") == (4 if options else 1), "the rest of the program runs on every role"
    assert len((project / "trials.csv").read_text().splitlines()) == 7
    assert "6 trials completed" in (project / "report.md").read_text()


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("options", BACKENDS, ids=["local", "workers"])
def test_a_hyper_model_with_reads_after_the_search(tmp_path: Path, options: list[str], backend: str) -> None:
    done = cluster(tmp_path, "run", *options, str(PROGRAMS / "hyper_model.py"), KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stdout
    check_completed(tmp_path / "results" / "hm", 4)
    processes = 4 if options else 1
    assert done.stdout.count("seen 4 remaining 0") == processes
    assert done.stdout.count("output (64, 1)") == processes
    assert len(set(re.findall(r"best trial (\S+) output", done.stdout))) == 1
    found = {
        hp["config"]["name"]
        for t in trials(tmp_path / "results" / "hm").values()
        for hp in t["hyperparameters"]["space"]
    }
    assert found == {"hidden", "units", "rate", "batch"}


@pytest.mark.parametrize("options", BACKENDS, ids=["local", "workers"])
def test_two_searches_in_a_row(tmp_path: Path, options: list[str]) -> None:
    done = cluster(tmp_path, "run", *options, str(PROGRAMS / "two_searches.py"))
    assert done.returncode == 0, done.stdout
    check_completed(tmp_path / "results" / "coarse", 5)
    [fine] = (tmp_path / "results").glob("fine-*")
    check_completed(fine, 4)
    results = re.findall(r"coarse 5 fine -?\d+ trials 4", done.stdout)
    assert len(results) == (4 if options else 1)
    assert len(set(results)) == 1


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["local", "workers"])
def test_a_program_that_does_odd_things(tmp_path: Path, options: list[str]) -> None:
    """Pools of threads and processes, a search within a trial, a score that is no number, work after the search."""
    done = cluster(tmp_path, "run", *options, str(PROGRAMS / "odd_things.py"))
    assert done.returncode == 0, done.stdout
    statuses = {k: t["status"] for k, t in trials(tmp_path / "results" / "odd").items()}
    assert statuses == {"0": "FAILED", "1": "COMPLETED", "2": "COMPLETED", "3": "COMPLETED"}
    assert done.stdout.count("after the search: 32") == (3 if options else 1), "a worker may finish alone"
    assert "report could not be written" not in done.stdout


def test_a_trial_that_kills_its_worker_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    text = BASE.format(body="import os; x = trial.hyperparameters['x']; x > 6 and os.kill(os.getpid(), 9); return x")
    space = "space = keras_tuner.HyperParameters(); space.Int('x', 0, 9)\noracle ="
    text = text.replace("oracle =", space, 1).replace("seed=1", "seed=4, hyperparameters=space")
    (tmp_path / "program.py").write_text(text)
    done = cluster(tmp_path, "run", "--workers", "1", "program.py")
    assert done.returncode == 0, done.stdout
    found = trials(tmp_path / "results" / "p")
    assert len(found) == 5
    for trial in found.values():
        deadly = trial["hyperparameters"]["values"]["x"] > 6
        assert trial["status"] == ("FAILED" if deadly else "COMPLETED")
        assert ("lost 3 workers" in (trial["message"] or "")) == deadly
    assert {t["status"] for t in found.values()} == {"FAILED", "COMPLETED"}, "the seed gives both kinds"


def test_the_run_goes_on_when_its_reader_has_gone(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "cluster",
        "run",
        "--workers",
        "1",
        str(PROGRAMS / "sleep_trials.py"),
        "--seconds",
        "0",
    ]
    run = subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert run.stdout is not None
    run.stdout.readline()
    run.stdout.close()
    run.wait(timeout=60)
    check_completed(tmp_path / "results" / "sleep", 8)


def test_a_worker_that_leaves_in_the_middle_ends_the_run(tmp_path: Path) -> None:
    """With 0, as if all were well: nobody is left to run the rest."""
    (tmp_path / "program.py").write_text(BASE.format(body="raise SystemExit(0)"))
    done = cluster(tmp_path, "run", "--workers", "2", "program.py")
    assert done.returncode == 3, done.stdout
    assert "every worker has left before the search had come to its end" in done.stdout


def test_local_and_cluster_propose_the_same_trials(tmp_path: Path) -> None:
    values = []
    for name, options in {"local": [], "one worker": ["--workers", "1"]}.items():
        directory = tmp_path / name
        directory.mkdir()
        program = [str(PROGRAMS / "sleep_trials.py"), "--trials", "5", "--seconds", "0"]
        done = cluster(directory, "run", *options, *program)
        assert done.returncode == 0, done.stdout
        granted = events(directory / "results" / "sleep", "grant")
        values.append([(e["trial"], e["values"]) for e in granted])
    assert len(values[0]) == 5
    assert values[0] == values[1]


def test_a_chief_and_a_worker_over_a_port(start: Callable[..., Running], tmp_path: Path) -> None:
    program = [str(PROGRAMS / "sleep_trials.py"), "--trials", "3", "--seconds", "0"]
    chief = start("chief", "--listen", "127.0.0.1:18770", *program)
    chief.read_until("the chief listens")
    worker = start("worker", "--chief", "127.0.0.1:18770", "--name", "here", *program)
    assert worker.end() == 0, worker.output
    assert chief.end() == 0, chief.output
    check_completed(tmp_path / "results" / "sleep", 3)
    assert {e["worker"] for e in events(tmp_path / "results" / "sleep", "grant")} == {"here"}


def test_a_stock_client_joins(start: Callable[..., Running], tmp_path: Path) -> None:
    program = [str(PROGRAMS / "sleep_trials.py"), "--trials", "4", "--seconds", "0"]
    chief = start("chief", "--listen", "127.0.0.1:18771", "--allow-stock-clients", *program)
    chief.read_until("the chief listens")
    variables = {
        "KERASTUNER_TUNER_ID": "stock0",
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": "18771",
    }
    stock = subprocess.run([sys.executable, *program], cwd=tmp_path, env={**ENVIRONMENT, **variables}, timeout=100)
    assert chief.end() == 0, chief.output
    check_completed(tmp_path / "results" / "sleep", 4)
    assert {e["worker"] for e in events(tmp_path / "results" / "sleep", "grant")} == {"stock stock0"}
    assert stock.returncode in (0, 1), "the read after the search may find the chief gone"


# --- interruptions


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["local", "workers"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_goes_on(
    start: Callable[..., Running], tmp_path: Path, options: list[str], number: int, code: int
) -> None:
    words = ["run", *options, str(PROGRAMS / "sleep_trials.py"), "--trials", "4", "--seconds", "0.5", "--overwrite"]
    first = start(*words)
    first.read_until("trial 0 score=")
    first.read_until("trial 1 →|trial 2 →")
    first.process.send_signal(number)
    assert first.end() == code, first.output
    assert "run the same command again to go on" in first.output
    project = tmp_path / "results" / "sleep"
    kept = {k for k, t in trials(project).items() if t["status"] == "COMPLETED"}
    assert "0" in kept
    assert json.loads((project / "oracle.json").read_text())["ongoing_trials"] == {}

    second = cluster(tmp_path, *words)
    assert second.returncode == 0, second.stdout
    assert "it goes on, in spite of overwrite=True" in second.stdout
    check_completed(project, 4)
    assert not {e["trial"] for e in events(project, "grant") if e["attempt"] > 1} & kept


def test_overwrite_and_fresh_start_anew(tmp_path: Path) -> None:
    words = [str(PROGRAMS / "sleep_trials.py"), "--trials", "2", "--seconds", "0"]
    project = tmp_path / "results" / "sleep"
    for run in (["run", *words], ["run", *words, "--overwrite"], ["run", "--fresh", *words]):
        done = cluster(tmp_path, *run)
        assert done.returncode == 0, done.stdout
        check_completed(project, 2)
        assert "are there already" not in done.stdout
    resumed = cluster(tmp_path, "run", *words)
    assert "2 trials are there already" in resumed.stdout


def test_a_killed_run_goes_on_and_leaves_no_process(start: Callable[..., Running], tmp_path: Path) -> None:
    words = ["run", "--workers", "2", str(PROGRAMS / "sleep_trials.py"), "--trials", "4", "--seconds", "0.5"]
    first = start(*words)
    first.read_until("trial 0 score=")
    first.process.kill()
    first.end()  # the output ends when the last child has closed it: none outlives the launcher
    second = cluster(tmp_path, *words)
    assert second.returncode == 0, second.stdout
    check_completed(tmp_path / "results" / "sleep", 4)


def test_a_trainer_that_is_killed_is_replaced(start: Callable[..., Running], tmp_path: Path) -> None:
    program = [str(PROGRAMS / "sleep_trials.py"), "--trials", "2", "--seconds", "2"]
    chief = start("chief", "--listen", "127.0.0.1:18772", *program)
    chief.read_until("the chief listens")
    worker = start("worker", "--chief", "127.0.0.1:18772", "--name", "here", *program)
    chief.read_until("trial 0 →")
    [trainer] = children(worker.process.pid)
    os.kill(trainer, signal.SIGKILL)
    chief.read_until(r"trial 0 is lost \(the trainer of here was killed by SIGKILL\) and will run again")
    assert worker.end() == 0, worker.output
    assert chief.end() == 0, chief.output
    check_completed(tmp_path / "results" / "sleep", 2)


def test_a_killed_chief_takes_the_results_of_its_workers(start: Callable[..., Running], tmp_path: Path) -> None:
    """Workers train on while it is away; no trial that was finished or running is run again."""
    words = [
        "run",
        "--workers",
        "2",
        str(PROGRAMS / "sleep_trials.py"),
        "--trials",
        "6",
        "--seconds",
        "4",
        "--overwrite",
    ]
    run = start(*words)
    run.read_until("trial 2 →")
    run.read_until("trial 3 →")
    [chief] = [
        pid for pid in children(run.process.pid) if b"chief.sock" in arguments(pid) and b"--listen" in arguments(pid)
    ]
    os.kill(chief, signal.SIGKILL)
    run.read_until("chief was killed by SIGKILL and is started again")
    run.read_until("trial 2 is still worker-")
    assert run.end() == 0, run.output
    project = tmp_path / "results" / "sleep"
    check_completed(project, 6)
    assert {e["attempt"] for e in events(project, "grant")} == {1}
    assert events(project, "lost") == []


def test_a_killed_worker_is_replaced(start: Callable[..., Running], tmp_path: Path) -> None:
    words = ["run", "--workers", "2", str(PROGRAMS / "sleep_trials.py"), "--trials", "6", "--seconds", "2"]
    run = start(*words)
    run.read_until("trial 1 →")
    [worker] = [pid for pid in children(run.process.pid) if b"worker-2" in arguments(pid)]
    [trainer] = children(worker)
    os.kill(worker, signal.SIGKILL)
    run.read_until(r"trial \d is lost \(worker-2 is gone \(its connection closed\)\) and will run again")
    assert run.end() == 0, run.output
    assert not Path(f"/proc/{trainer}").exists(), "a trainer does not outlive its supervisor"
    check_completed(tmp_path / "results" / "sleep", 6)


# --- bad input

NO_SEARCH = "print('nothing to tune')\n"
RAISES = "import keras_tuner\nraise ValueError('here it is')\n"
BASE = """
import keras_tuner
class Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial):
        {body}
oracle = keras_tuner.oracles.RandomSearchOracle(objective=keras_tuner.Objective("score", "min"), max_trials=5, seed=1)
Tuner(oracle=oracle, directory="results", project_name="p").search()
"""
FATAL = BASE.format(body="return None")
FAILING = BASE.format(body="return trial.hyperparameters.Float('x', 1, 2) / 0")
EXITS = "import sys\nsys.exit(77)\n"


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["local", "workers"])
@pytest.mark.parametrize(
    ("text", "codes", "message"),
    [
        (NO_SEARCH, (4, 4), "cluster: error: program.py ended without calling tuner.search()"),
        (RAISES, (1, 1), "ValueError: here it is"),
        (FATAL, (1, 3), "The return value of Tuner.run_trial() is None."),
        (FAILING, (3, 3), "exceeded the limit of 3. The last: ZeroDivisionError: float division by zero"),
        (EXITS, (77, 77), ""),
    ],
    ids=["no search", "raises", "fatal", "failing", "exits"],
)
def test_a_program_that_goes_wrong(
    tmp_path: Path, options: list[str], text: str, codes: tuple[int, int], message: str
) -> None:
    (tmp_path / "program.py").write_text(text)
    done = cluster(tmp_path, "run", *options, "program.py")
    assert done.returncode == codes[bool(options)], done.stdout
    assert message in done.stdout
    own_tracebacks = {NO_SEARCH: 0, RAISES: 1, FATAL: 1, FAILING: 3, EXITS: 0}[text]
    # The other worker may be in a trial, which fails too, when the third in a row ends the search.
    most = own_tracebacks + (text == FAILING and bool(options))
    assert own_tracebacks <= done.stdout.count("Traceback (most recent call last)") <= most, done.stdout
    assert "cluster/" not in "".join(re.findall(r'File "([^"]+)"', done.stdout)).replace("/cluster/tests", "")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run"], 2, "no program was given"),
        (["run", "nowhere.py"], 2, "there is no program 'nowhere.py'"),
        (["run", "--worker", "2", "x.py"], 2, "there is no option '--worker'"),
        (["run", "--workers", "0", "x.py"], 2, "--workers"),
        (["run", "--workers", "many", "x.py"], 2, "--workers"),
        (["run", "--lease-seconds", "0", "x.py"], 2, "--lease-seconds"),
        (["nonsense"], 2, "nonsense"),
        (["chief", "--listen", "nonsense", "x.py"], 2, "'nonsense' is no address"),
        (["chief", "--listen", "192.0.2.1:80", "x.py"], 2, "could be read and changed on the way"),
        (["chief", "--listen", "192.0.2.1:80", "--insecure", "x.py"], 5, "the chief cannot listen on 192.0.2.1:80"),
        (["chief", "--tls-cert", "x.pem", "x.py"], 2, "--tls-cert is given and --tls-key is not"),
        (["chief", "--tls-cert", "x.pem", "--tls-key", "y", "x.py"], 2, "--tls-cert x.pem cannot be read: No such"),
        (["chief", "--tls-client-ca", "x.pem", "x.py"], 2, "which needs --tls-cert and --tls-key"),
        (["chief", "--token-file", "none", "x.py"], 2, "the token file none cannot be read: No such file"),
        (["worker", "--tls-ca", "x.pem", "x.py"], 2, "--tls-ca x.pem cannot be read: No such file"),
        (["run", "--dashboard", "--dashboard-address", "80", "x.py"], 2, "'80' is no address"),
        (
            ["worker", "--chief", "127.0.0.1:9", "--connect-timeout", "0.2", "x.py"],
            7,
            "no chief answers at 127.0.0.1:9",
        ),
    ],
)
def test_nonsense_on_the_command_line(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    (tmp_path / "x.py").write_text("")
    done = cluster(tmp_path, *words)
    assert done.returncode == code, done.stdout
    assert message in done.stdout
    assert "Traceback" not in done.stdout


def test_nonsense_in_a_variable(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("")
    done = cluster(tmp_path, "run", "x.py", CLUSTER_WORKERS="a few")
    assert done.returncode == 2
    assert "CLUSTER_WORKERS" in done.stdout


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the directory should be")
    done = cluster(tmp_path, "run", str(PROGRAMS / "sleep_trials.py"))
    assert done.returncode == 6, done.stdout
    assert re.search(r"cluster: error: the results directory \S+ cannot be written by user \d+: \w+", done.stdout)
    assert "Traceback" not in done.stdout


def test_a_worker_with_another_program_or_space_is_refused(start: Callable[..., Running], tmp_path: Path) -> None:
    space = (PROGRAMS / "sleep_trials.py").read_text()
    script = tmp_path / "program.py"
    # The range comes from the environment: the same text, another space.
    script.write_text(space.replace("-1.0, 1.0", "-1.0, float(__import__('os').environ.get('HIGH', 1))"))
    chief = start("chief", "--listen", "127.0.0.1:18773", str(script), "--trials", "2", "--seconds", "0")
    chief.read_until("the chief listens")
    worker = ["worker", "--chief", "127.0.0.1:18773", "--connect-timeout", "20"]

    arguments = cluster(tmp_path, *worker, str(script), "--trials", "3")
    assert arguments.returncode == 8, arguments.stdout
    assert "arguments: '--trials 3' on the worker, '--trials 2 --seconds 0' on the chief" in arguments.stdout

    other = cluster(tmp_path, *worker, str(script), "--trials", "2", "--seconds", "0", HIGH="2")
    assert other.returncode == 8, other.stdout
    assert "hyperparameter 'x': max_value=2.0 on the worker, 1.0 on the chief" in other.stdout

    right = cluster(tmp_path, *worker, str(script), "--trials", "2", "--seconds", "0")
    assert right.returncode == 0, right.stdout
    assert chief.end() == 0, chief.output


def test_a_project_in_use_is_left_alone(start: Callable[..., Running], tmp_path: Path) -> None:
    words = ["run", str(PROGRAMS / "sleep_trials.py"), "--trials", "3", "--seconds", "60"]
    first = start(*words)
    first.read_until("trial 0 →")
    second = cluster(tmp_path, *words, "--overwrite")
    assert second.returncode == 6, second.stdout
    assert "is in use by another run" in second.stdout
    first.process.send_signal(signal.SIGINT)
    first.end()
    assert trials(tmp_path / "results" / "sleep"), "the files of the first run are still there"
