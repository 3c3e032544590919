"""The report of a search: its tables, its pictures, its page, and drawing it while the program goes on."""

from __future__ import annotations

import csv
import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import report
from cluster.errors import CannotSave, MissingDependency, UsageError
from cluster.follow import read
from cluster.policy import Policy
from cluster.program import Identity
from cluster.record import Record, Worker
from cluster.report import background, page, pictures, tables
from cluster.report.background import Drawings, should_prepare
from cluster.report.facts import facts, span
from cluster.roles import LocalRole
from tests.cluster.conftest import Clock, finish, make_oracle, open_search, take
from tests.made_up import MadeUp, write

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)> {{plotly}} `|"
PICTURES = ["history", "curves", "parallel", "importance", "slices", "timeline"]


def poison(project: Path) -> Path:
    """Puts markup wherever a program or a user has the word."""
    for path in [*project.rglob("*.json"), *project.glob("*.jsonl")]:
        text = path.read_text()
        for word in ("optimizer", "adam", "worker-1", "tune"):
            text = text.replace(f'"{word}"', json.dumps(word + EVIL))
        path.write_text(text.replace("no such layer", json.dumps(EVIL)[1:-1]))
    return project


def without(*packages: str) -> Any:
    """`importlib.util.find_spec` where these are not installed."""
    real = importlib.util.find_spec
    return lambda name, *more: None if name in packages else real(name, *more)


# --- tables


@pytest.mark.usefixtures("owned")
def test_the_columns_are_those_that_scripts_know(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock, make_oracle(trials=3)) as search:
        first = search.next_trial("w", "t", device="cpu")
        clock.now += 2.5
        finish(search, first, 3.0)  # type: ignore[arg-type]
        finish(search, take(search), 1.0)
        finish(search, take(search), status="FAILED")
        line = report.write(tmp_path / "project")
    assert line == "2 trials completed, 1 not completed; best score=1 (trial 1)"
    rows = list(csv.DictReader((tmp_path / "project" / "trials.csv").read_text().splitlines()))
    names = ["trial", "status", "score", "best_epoch", "attempts", "worker", "device", "seconds", "hp:x"]
    assert list(rows[0]) == names
    assert [(x["trial"], x["status"], x["score"]) for x in rows] == [
        ("1", "COMPLETED", "1.0"),
        ("0", "COMPLETED", "3.0"),
        ("2", "FAILED", ""),
    ]
    assert (rows[1]["best_epoch"], rows[1]["attempts"], rows[1]["device"], rows[1]["seconds"]) == (
        "1",
        "1",
        "cpu",
        "2.5",
    )
    found = json.loads((tmp_path / "project" / "trials.json").read_text())
    assert [x["trial"] for x in found] == ["1", "0", "2"]
    assert set(found[0]) == {*names, "message"}


@pytest.mark.usefixtures("owned")
def test_a_trial_belongs_to_the_attempt_that_ended_it(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock, make_oracle(trials=1)) as search:
        take(search, "a")
        search.lose_worker("a", "it has gone")
        finish(search, take(search, "b"), 1.0)
        report.write(tmp_path / "project")
    [row] = json.loads((tmp_path / "project" / "trials.json").read_text())
    assert (row["worker"], row["attempts"]) == ("b", 2)


def test_more_is_better_where_the_objective_says_so(tmp_path: Path) -> None:
    rows = tables.rows(read(write(tmp_path)))
    scores = [row["score"] for row in rows if row["score"] is not None]
    assert scores == sorted(scores, reverse=True)
    assert rows[-1]["score"] is None


def test_numbers_that_json_does_not_have_are_null(tmp_path: Path) -> None:
    record = read(write(tmp_path))
    record.trials["0000"].values = {"rate": float("nan"), "units": float("inf")}
    [row] = [x for x in tables.rows(record) if x["trial"] == "0000"]
    assert (row["hp:rate"], row["hp:units"]) == (None, None)


def test_the_report_says_what_a_search_was(tmp_path: Path) -> None:
    report.write(write(tmp_path))
    text = (tmp_path / "report.md").read_text()
    for line in (
        "11 trials completed, 1 not completed; best val_accuracy=0.86197 (trial 0009).",
        "- Program: -m fashion tune",
        "- Oracle: BayesianOptimizationOracle",
        "- Objective: val_accuracy (max)",
        "- Trials: 12: 11 completed, 1 failed",
        "- Attempts: 14, of which 2 lost",
        "- Workers: 3",
        "- State: ended",
        "## Trial 0001: FAILED",
        "ValueError: no such layer",
    ):
        assert line in text
    assert "](plots/" not in text, "there are none yet"


def test_a_long_table_is_cut_where_a_reader_gives_up(tmp_path: Path) -> None:
    report.write(write(tmp_path, MadeUp(trials=250, max_trials=250, failed=0)))
    text = (tmp_path / "report.md").read_text()
    assert len(re.findall(r"^\| \d", text, re.MULTILINE)) == 200
    assert "50 more are in `trials.csv`" in text
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 251


def test_markdown_is_not_written_by_a_program(tmp_path: Path) -> None:
    report.write(poison(write(tmp_path)))
    text = (tmp_path / "report.md").read_text()
    outside = re.sub(r"^(`{3,})\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "&lt;/script>" in outside
    assert not [line for line in outside.splitlines() if "<img" in line or "<script" in line]
    rows = [line for line in outside.splitlines() if line.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, "no value makes a column"


def test_times_are_those_in_which_something_ran(tmp_path: Path) -> None:
    record = read(write(tmp_path, MadeUp(workers=1, trials=2, max_trials=2, lost=0, failed=0)))
    [first, second] = record.ordered
    assert (first.last is not None, second.last is not None) == (True, True)
    second.attempts[0].began += 3600  # it was resumed an hour later
    second.attempts[0].ended = second.attempts[0].began + 30
    took = dict(facts(record))["Time"]
    assert re.fullmatch(r"3\d\.?\d* s with trials running, 3\d\.?\d* s of all attempts together", took)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.123, "0.123 s"), (59.9, "59.9 s"), (60, "1 min"), (3725, "1 h 2 min"), (180000, "2 d 2 h")]
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


# --- the page and the pictures


class Parts(HTMLParser):
    """The tags of a page, and the text of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.lasttag == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search full of markup, drawn."""
    project = poison(write(tmp_path_factory.mktemp("evil"), MadeUp(trials=20, max_trials=20)))
    report.write(project)
    report.draw(project)
    return project


def test_the_page_needs_no_network_and_is_not_written_by_a_program(evil: Path) -> None:
    parts = Parts()
    parts.feed((evil / "report.html").read_text())
    tags = [tag for tag, _ in parts.tags]
    assert tags.count("script") == 3
    assert "img" not in tags
    for tag, attributes in parts.tags:
        assert not [name for name in attributes if name in ("src", "srcset") or name.startswith("on")], tag
        assert attributes.get("href") in (None, "data:,"), tag
    policy = next(x["content"] for tag, x in parts.tags if tag == "meta" and "http-equiv" in x)
    assert policy is not None
    assert policy.startswith("default-src 'none';"), "whatever plotly may want to load, the browser does not"
    assert "http" not in policy
    data = json.loads(parts.scripts[0])
    assert list(data["figures"]) == PICTURES
    assert len(data["tables"]["trials"]["rows"]) == 20
    own = parts.scripts[2] + page._static("page.html") + page._static("page.css")
    assert not re.search(r"https?://|//[a-z]", re.sub(r"(^|\s)// .*", "", own))


def test_what_stands_in_a_script_cannot_end_it() -> None:
    text = page.in_script({"a": EVIL, "b": ["<!--", "]]>", "\u2028"]})
    assert not {"<", ">", "&", "\u2028"} & set(text)
    assert json.loads(text)["a"] == EVIL


def test_messages_of_failures_are_on_the_page(evil: Path) -> None:
    text = (evil / "report.html").read_text()
    assert "<summary>trial 0001 failed: ValueError: &lt;/script&gt;" in text


def test_every_picture_is_one(evil: Path) -> None:
    from PIL import Image

    for name in PICTURES:
        with Image.open(evil / "plots" / f"{name}.png") as image:
            assert image.width >= 1000, name
    text = (evil / "report.md").read_text()
    assert re.findall(r"\]\(plots/(\w+)\.png\)", text) == PICTURES
    assert not list(evil.rglob(".*.part"))


@pytest.mark.parametrize(
    ("like", "there"),
    [
        (MadeUp(trials=0), []),
        (MadeUp(trials=2, running=2, over=False, lost=0, failed=0), ["curves", "timeline"]),
        (MadeUp(trials=5, failed=0), ["history", "curves", "parallel", "slices", "timeline"]),
    ],
)
def test_a_search_that_has_little_to_show(tmp_path: Path, like: MadeUp, there: list[str]) -> None:
    project = write(tmp_path, like)
    (project / "plots").mkdir()
    (project / "plots" / "importance.png").write_text("of the search before")
    report.write(project)
    report.draw(project)
    assert sorted(x.stem for x in (project / "plots").iterdir()) == sorted(there)
    assert (project / "report.html").stat().st_size > 1_000_000


def test_pictures_stand_letters_that_the_font_does_not_have(tmp_path: Path) -> None:
    record = read(write(tmp_path))
    record.objective = "正解率 $x$"
    for trial in record.trials.values():
        for epoch in trial.epochs:
            epoch.logs = {"正解率 $x$": epoch.logs["val_accuracy"]}
    assert "curves" in pictures.draw(record, tmp_path)


def test_many_trials_and_hyperparameters_fit(tmp_path: Path) -> None:
    record = read(write(tmp_path, MadeUp(trials=60, max_trials=60, workers=50)))
    for trial in record.trials.values():
        trial.values |= {f"a_rather_long_name_{n}": n * len(trial.id) + trial.attempts[0].began % 7 for n in range(30)}
    assert len(pictures.draw(record, tmp_path)) == 6
    page.write(record, tmp_path / "report.html")


@pytest.mark.parametrize("missing", ["plotly", "matplotlib"])
def test_without_one_package_the_other_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    project = write(tmp_path)
    report.write(project)
    monkeypatch.setattr("importlib.util.find_spec", without(missing))
    with pytest.raises(MissingDependency, match=rf"needs {missing}, which is not here: pip install .*\[ui\]") as error:
        report.draw(project)
    assert error.value.exit_code == 9
    assert (project / "report.html").exists() == (missing == "matplotlib")
    assert (project / "plots").exists() == (missing == "plotly")


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    project = write(tmp_path)
    (project / "plots").write_text("a file where a directory should be")
    with pytest.raises(CannotSave, match="plots"):
        report.draw(project)
    with pytest.raises(UsageError, match="no project directory"):
        report.draw(tmp_path / "trial_0000")


# --- drawing while the program goes on


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("cluster"), "propagate", True)
    caplog.set_level(logging.INFO, "cluster")
    return caplog


def test_a_report_is_drawn_beside_the_program(
    tmp_path: Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write(tmp_path / "project", MadeUp(trials=3, failed=0))
    elsewhere = tmp_path / "elsewhere"  # a program may go there, with modules of its own
    elsewhere.mkdir()
    (elsewhere / "json.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(elsewhere)
    drawings = Drawings()
    drawings.begin(project)
    drawings.wait()
    assert said.messages == [f"the report is {project / 'report.html'}"]
    assert (project / "plots" / "history.png").exists()
    drawings.wait()
    assert len(said.messages) == 1


def test_what_was_made_ready_draws(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    project = write(tmp_path, MadeUp(trials=3, failed=0))
    drawings = Drawings()
    drawings.prepare(project)
    ready, _ = drawings._running[project]
    assert os.getpriority(os.PRIO_PROCESS, ready.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    assert not (project / "report.html").exists()
    drawings.prepare(project)
    drawings.begin(project)
    drawings.prepare(project)
    assert drawings._running[project][0] is ready, "it is started once"
    drawings.wait()
    assert said.messages == [f"the report is {project / 'report.html'}"]


def test_what_was_made_ready_for_nothing_ends_without_a_word(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """The search failed, or was interrupted."""
    drawings = Drawings()
    drawings.prepare(write(tmp_path))
    process, _ = drawings._running[tmp_path]
    drawings.wait()
    assert process.returncode is not None
    assert said.messages == []
    assert not (tmp_path / "report.html").exists()


def test_without_its_owner_what_was_made_ready_ends(tmp_path: Path) -> None:
    drawings = Drawings()
    drawings.prepare(write(tmp_path))
    process, _ = drawings._running[tmp_path]
    assert process.stdin is not None
    process.stdin.close()  # as the kernel does when the owner dies
    assert process.wait(60) == 0
    assert not (tmp_path / "report.html").exists()
    drawings.drop(tmp_path)


@pytest.mark.parametrize(
    ("like", "ready"),
    [
        # Trials take eight seconds and a half here.
        (MadeUp(trials=5, max_trials=12, running=2, over=False), True),
        (MadeUp(trials=5, max_trials=30, running=2, over=False), False),
        (MadeUp(trials=10, max_trials=12, running=2, over=False), True),
        (MadeUp(trials=2, max_trials=2, running=2, over=False, lost=0, failed=0), False),
    ],
)
def test_the_report_is_made_ready_towards_the_end(tmp_path: Path, like: MadeUp, ready: bool) -> None:
    """Not before a trial is completed, which may take long."""
    assert should_prepare(read(write(tmp_path, like))) is ready


def test_where_the_end_is_not_known_it_is_made_ready_at_once(tmp_path: Path) -> None:
    record = read(write(tmp_path, MadeUp(trials=5, running=2, over=False)))
    record.max_trials = None
    assert should_prepare(record)


@pytest.mark.parametrize(("max_trials", "ready"), [(8, False), (6, True)])
def test_a_trainer_that_is_starting_needs_the_core_more(tmp_path: Path, max_trials: int, ready: bool) -> None:
    """Unless every trial has begun, so that there is none for it."""
    record = read(write(tmp_path, MadeUp(trials=6, max_trials=max_trials, running=2, over=False)))
    assert should_prepare(record)
    record.workers["late"] = Worker("late", here=True)
    assert should_prepare(record) is ready


@pytest.mark.parametrize("plots", [True, False])
def test_where_nothing_is_to_be_drawn_nothing_is_made_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plots: bool
) -> None:
    asked: list[Path] = []
    role = LocalRole(Identity("test.py", (), ""), Policy())
    role.plots = plots
    monkeypatch.setattr(role._drawings, "prepare", asked.append)
    role._prepare_report(read(write(tmp_path, MadeUp(trials=10, max_trials=12, running=2, over=False))))
    assert asked == [tmp_path] * plots


def test_half_of_the_pictures_are_drawn_beside(tmp_path: Path) -> None:
    """The same as by one process; a picture of an earlier search goes."""
    made = MadeUp(trials=12)
    one, two = write(tmp_path / "one" / "search", made), write(tmp_path / "two" / "search", made)
    report.draw(one)
    (two / "plots").mkdir()
    program = f"from cluster import report; from pathlib import Path; report.draw(Path({str(two)!r}), beside=True)"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, **background.ONE_THREAD})
    pictures_of = [sorted(x.name for x in (place / "plots").iterdir()) for place in (one, two)]
    assert pictures_of[0] == pictures_of[1] == sorted(f"{name}.png" for name in PICTURES)
    assert (one / "report.md").read_text() == (two / "report.md").read_text()


def test_what_the_other_process_did_not_draw_is_drawn_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write(tmp_path, MadeUp(trials=12))
    killed = SimpleNamespace(join=lambda: None, exitcode=-9)
    monkeypatch.setattr(report, "_begin_pictures", lambda record, place: killed)
    report.draw(project, beside=True)
    assert {x.stem for x in (project / "plots").iterdir()} == set(PICTURES)


def test_the_log_says_why_a_report_was_not_drawn(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    drawings = Drawings([sys.executable, "-c", "raise SystemExit('plots need a package')"])
    drawings.begin(tmp_path)
    drawings.wait()
    assert said.messages == [
        f"not all of the report in {tmp_path} was drawn: plots need a package; its tables are whole"
    ]


def test_a_command_that_is_not_there_is_no_end_of_the_program(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    drawings = Drawings([str(tmp_path / "none")])
    drawings.begin(tmp_path)
    drawings.wait()
    assert "the report's pictures are not drawn: [Errno 2]" in said.messages[0]


def test_a_drawing_that_does_not_end_is_given_up(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    drawings = Drawings([sys.executable, "-c", "import time; time.sleep(600)"])
    drawings.begin(tmp_path)
    process, _ = drawings._running[tmp_path]
    drawings.wait(0.0)
    assert "it took too long" in said.messages[0]
    assert process.returncode == -signal.SIGKILL


def test_a_directory_that_is_begun_anew_is_not_drawn_into(tmp_path: Path) -> None:
    drawings = Drawings([sys.executable, "-c", "import time; time.sleep(600)"])
    drawings.begin(tmp_path)
    process, _ = drawings._running[tmp_path]
    drawings.drop(tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    drawings.drop(tmp_path)


def test_a_record_without_anything_has_a_page(tmp_path: Path) -> None:
    page.write(Record("d", "d"), tmp_path / "report.html")
    assert "0 trials completed." in (tmp_path / "report.html").read_text()
