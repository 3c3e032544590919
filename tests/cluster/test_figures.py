"""The figures for plotly.js: plain JSON for whatever a search is like, small, and with foreign text escaped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import UsageError
from cluster.follow import read
from cluster.record import Attempt, Epoch, Parameter, Record, Trial
from cluster.report import series
from cluster.report.axes import axes, linear_ticks, short
from cluster.report.compare import check, compare, names
from cluster.report.curves import curve
from cluster.report.figures import FIGURES
from cluster.report.layout import safe
from tests.made_up import MadeUp, write

EVIL = "<img src=x onerror=alert(1)>"

SEARCHES = {
    "whole": MadeUp(trials=30, max_trials=30, workers=4),
    "no trials": MadeUp(trials=0),
    "one trial": MadeUp(trials=1, lost=0, failed=0),
    "running": MadeUp(trials=6, running=3, over=False),
    "only running": MadeUp(trials=3, running=3, over=False, failed=0, lost=0),
    "all but one failed": MadeUp(trials=4, failed=4, lost=0),
    "many": MadeUp(trials=2000, max_trials=2000, workers=16, epochs=3, lost=30, failed=50),
}


@pytest.fixture(scope="module", params=list(SEARCHES))
def record(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return read(write(tmp_path_factory.mktemp("project"), SEARCHES[request.param]))


def stock(project: Path) -> Path:
    """A search of KerasTuner's own: no events, no epochs."""
    write(project, MadeUp(trials=20, lost=0, failed=1))
    (project / "events.jsonl").unlink()
    (project / "epochs.jsonl").unlink()
    return project


def drawn(record: Record) -> dict[str, Any]:
    return {name: figure(record) for name, figure in FIGURES.items()}


def as_text(figure: Any) -> str:
    """As a browser gets it; fails where something is no JSON."""
    return json.dumps(figure, allow_nan=False, separators=(",", ":"))


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)


def test_every_figure_is_json_and_small(record: Record) -> None:
    for name, figure in drawn(record).items():
        assert len(as_text(figure)) < 1_500_000, name
        assert figure is None or set(figure) == {"data", "layout"}
    for trial in record.ordered[:5]:
        as_text(curve(record, trial))
    as_text(compare([record, record]))


def test_no_figure_has_colours_of_a_page(record: Record) -> None:
    for figure in drawn(record).values():
        layout = {} if figure is None else figure["layout"]
        assert not {"paper_bgcolor", "plot_bgcolor", "template"} & set(layout)
        assert not [x for x in layout if "axis" in x and {"gridcolor", "color"} & set(layout[x])]


def test_a_whole_search_has_all_figures(tmp_path: Path) -> None:
    assert all(drawn(read(write(tmp_path, SEARCHES["whole"]))).values())


def test_without_trials_there_is_nothing_to_draw(tmp_path: Path) -> None:
    record = read(write(tmp_path, SEARCHES["no trials"]))
    assert set(drawn(record).values()) == {None}
    assert compare([record]) is None


def test_what_only_runs_has_its_time_and_its_curves(tmp_path: Path) -> None:
    found = drawn(read(write(tmp_path, SEARCHES["only running"])))
    assert [name for name, figure in found.items() if figure is not None] == ["curves", "timeline"]
    assert [bar["name"] for bar in found["timeline"]["data"]] == ["running"]


def test_failures_alone_are_shown(tmp_path: Path) -> None:
    record = read(write(tmp_path, MadeUp(trials=3, lost=0)))
    for trial in record.trials.values():
        trial.status, trial.score = "failed", None
    figure = FIGURES["history"](record)
    assert figure is not None
    assert [trace["name"] for trace in figure["data"]] == ["failed"]


def test_a_stock_search_has_what_its_files_tell(tmp_path: Path) -> None:
    found = drawn(read(stock(tmp_path)))
    assert [name for name, figure in found.items() if figure is not None] == [
        "history",
        "parallel",
        "importance",
        "slices",
    ]


def test_the_best_so_far_grows_in_the_order_of_the_ends(tmp_path: Path) -> None:
    record = read(write(tmp_path, MadeUp(trials=40, max_trials=40)))
    shown = series.history(record)
    scores = [score for _, score in shown.best]
    assert scores == sorted(scores)
    assert record.best is not None
    assert scores[-1] == record.best.score
    assert shown.count == 40
    assert {n for n, _ in shown.trials} | {n for n, _ in shown.failed} == set(range(1, 41))


def test_a_conditional_hyperparameter_has_a_place_for_trials_without_it(tmp_path: Path) -> None:
    record = read(write(tmp_path, SEARCHES["whole"]))
    rate, units, optimizer, dropout, conditional = axes(record)
    assert (rate.log, units.log, optimizer.categories) == (True, False, ("adam", "sgd", "rmsprop"))
    assert dropout.categories == (False, True)
    assert (rate.absent, conditional.absent) == (False, True)
    without = next(x for x in record.trials.values() if "dropout_rate" not in x.values)
    assert conditional.place(without) is None
    assert conditional.stand(without) < conditional.low
    assert conditional.bounds[0] < conditional.stand(without)
    assert conditional.ticks()[0] == (conditional.stand(without), "none")
    assert [text for _, text in rate.ticks()] == ["0.0001", "0.001", "0.01", "0.1"]


def test_values_that_do_not_fit_their_hyperparameter_are_drawn_as_categories() -> None:
    record = Record("d", "d", space=[Parameter("x", "float", log=True, low=0.1, high=1.0)])
    for n, value in enumerate([0.5, "auto", True, None, 1]):
        record.trial(str(n)).values = {"x": value}
    [axis] = axes(record)
    assert axis.categories == (0.5, "auto", True, None, 1)
    assert [axis.place(x) for x in record.trials.values()] == [0, 1, 2, 3, 4]


def test_what_has_no_choice_is_no_axis() -> None:
    record = Record("d", "d", space=[Parameter("fixed", "fixed"), Parameter("never", "int", low=1, high=2)])
    record.trial("0").values = {"fixed": 1, "tuner/epochs": 3, "surprise": "a"}
    assert [x.name for x in axes(record)] == ["surprise"]


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]), (32, 512, ["100", "200", "300", "400", "500"]), (3, 3, ["3"])],
)
def test_ticks_are_round(low: float, high: float, found: list[str]) -> None:
    assert [text for _, text in linear_ticks(float(low), float(high))] == found


@pytest.mark.parametrize(
    ("value", "text"), [(1e-5, "1e-5"), (0.1 + 0.2, "0.3"), (0.0, "0"), (1e6, "1e6"), (128, "128"), (True, "True")]
)
def test_values_are_short(value: Any, text: str) -> None:
    assert short(value) == text


def test_one_wild_value_does_not_hide_the_others() -> None:
    record = Record("d", "d", objective="loss", direction="min")
    shown = series.bounds(record, [0.1, 0.2, 0.3, 0.15, 0.25, 0.12, 0.22, 0.18, 1e30])
    assert shown.high < 1
    assert shown.beyond == 1
    assert series.bounds(record, [0.1, 0.2]).beyond == 0


# --- epochs


def trial_of(*epochs: tuple[int, int, float]) -> Trial:
    """A trial from (attempt, epoch, value)."""
    found = Trial("0", status="completed")
    found.epochs = [
        Epoch(attempt, number, 0.0, {"val_loss": value, "loss": value}) for attempt, number, value in epochs
    ]
    return found


def test_attempts_are_joined_where_the_next_has_taken_up() -> None:
    trial = trial_of((1, 1, 0.9), (1, 2, 0.8), (1, 3, 0.7), (2, 3, 0.75), (2, 4, 0.6))
    assert series.curve(trial, "val_loss") == [(1, 0.9), (2, 0.8), (3, 0.75), (4, 0.6)]
    figure = curve(Record("d", "d", objective="val_loss"), trial)
    assert figure is not None
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [2.5]
    assert [trace["name"] for trace in figure["data"]] == ["training", "validation"]


def test_an_attempt_from_the_first_epoch_on_replaces_the_one_before() -> None:
    assert series.curve(trial_of((1, 1, 0.9), (1, 2, 0.8), (2, 1, 0.5)), "val_loss") == [(1, 0.5)]


def test_executions_are_lines_of_their_own() -> None:
    trial = trial_of((1, 1, 0.9), (1, 2, 0.8), (1, 1, 0.7), (1, 2, 0.6), (2, 2, 0.5))
    assert series.curve(trial, "val_loss") == [(1, 0.9), (2, 0.8), None, (1, 0.7), (2, 0.5)]


def test_an_epoch_without_a_number_is_a_gap() -> None:
    trial = trial_of((1, 1, 0.9), (1, 2, 0.8), (1, 3, 0.7))
    trial.epochs[1].logs["val_loss"] = None
    assert series.curve(trial, "val_loss") == [(1, 0.9), None, (3, 0.7)]


def test_long_curves_are_thinned_to_their_ends() -> None:
    trial = trial_of(*((1, n, float(n)) for n in range(1, 1001)))
    line = series.curve(trial, "val_loss", 100)
    assert line[0] == (1, 1.0)
    assert line[-1] == (1000, 1000.0)
    assert len(line) == 101


def test_of_many_curves_the_best_and_the_newest_are_drawn(tmp_path: Path) -> None:
    record = read(write(tmp_path, MadeUp(trials=300, max_trials=300, epochs=2)))
    shown, count = series.drawn_curves(record)
    assert (len(shown), count) == (100, 300)
    ids = {x.id for x in shown}
    assert {x.id for x in record.done[:50]} | {"0299"} <= ids
    figure = FIGURES["curves"](record)
    assert figure is not None
    assert figure["layout"]["annotations"][0]["text"] == "the best and the newest 100 of 300 trials"


# --- attempts in time


def test_attempts_of_one_worker_that_overlap_are_in_rows_of_their_own() -> None:
    record = Record("d", "d", began=100.0, last_event=130.0)
    for n, (begin, end) in enumerate([(100, 110), (105, 120), (110.01, None)]):
        trial = record.trial(str(n))
        outcome = "running" if end is None else "completed"
        trial.attempts = [Attempt(1, "w", "cpu", float(begin), None if end is None else float(end), outcome)]
    assert [(x.row, x.begin, x.length) for x in series.bars(record)] == [
        ("w · cpu", 0.0, 10.0),
        ("w · cpu (2)", 5.0, 15.0),
        ("w · cpu", pytest.approx(10.01), pytest.approx(19.99)),
    ]


def test_the_timeline_says_how_attempts_ended_and_why(tmp_path: Path) -> None:
    figure = FIGURES["timeline"](read(write(tmp_path, SEARCHES["whole"])))
    assert figure is not None
    bars = {bar["name"]: bar for bar in figure["data"]}
    assert set(bars) == {"completed", "failed", "lost"}
    assert "the trainer was killed by SIGKILL" in bars["lost"]["hovertext"][0]
    assert "ValueError: no such layer" in bars["failed"]["hovertext"][0]
    assert figure["layout"]["yaxis"]["ticktext"][-1] == "worker-1 · gpu 0 GPU-8932f937"


# --- foreign text


def test_foreign_text_is_escaped_everywhere(tmp_path: Path) -> None:
    project = write(tmp_path / "project", MadeUp(trials=20, running=1, over=False))
    for path in [*project.rglob("*.json"), *project.glob("*.jsonl")]:
        text = path.read_text()
        for word in ("optimizer", "adam", "worker-1", "val_accuracy", "gpu 0 GPU-8932f937", "killed by SIGKILL"):
            text = text.replace(f'{word}"', json.dumps(word + EVIL)[1:])
        path.write_text(text.replace("no such layer", EVIL))
    record = read(project)
    assert record.metric == "val_accuracy" + EVIL
    found = drawn(record)
    found["curve"] = curve(record, record.trials["0000"])
    record.name = EVIL
    found["compare"] = compare([record])
    assert all(found.values())
    for name, figure in found.items():
        if name == "parallel":  # plotly shows these as they are
            for dimension in figure["data"][0]["dimensions"]:
                dimension.pop("ticktext")
        assert not [x for x in texts(figure) if "<img" in x], name
        assert any("&lt;" in x for x in texts(figure)), name


def test_templates_and_formulas_mean_nothing_in_foreign_text() -> None:
    assert safe("%{x} $a$ <b>") == "&#37;{x} &#36;a&#36; &lt;b&gt;"
    assert safe("a" * 100, 10) == "aaaaaa…aaa"
    assert safe("two\nlines") == "two lines"


# --- side by side


def test_searches_are_compared_against_trials_and_time(tmp_path: Path) -> None:
    one = read(write(tmp_path / "a" / "digits", MadeUp(trials=10)))
    two = read(write(tmp_path / "b" / "digits", MadeUp(trials=20, seed=2)))
    figure = compare([one, two])
    assert figure is not None
    assert [(x["name"], x["xaxis"]) for x in figure["data"]] == [
        ("a/digits", "x"),
        ("a/digits", "x2"),
        ("b/digits", "x"),
        ("b/digits", "x2"),
    ]
    assert [x["x"][-1] for x in figure["data"]][::2] == [10, 20]
    assert one.best is not None
    assert figure["data"][0]["y"][-1] == float(f"{one.best.score:.6g}")


def test_without_times_trials_are_enough(tmp_path: Path) -> None:
    record = read(stock(tmp_path))
    assert all(math.isnan(time) for _, time, _ in series.best_so_far(record))
    figure = compare([record])
    assert figure is not None
    assert {x["xaxis"] for x in figure["data"]} == {"x"}


def test_searches_of_other_objectives_are_not_compared(tmp_path: Path) -> None:
    one = read(write(tmp_path / "a"))
    two = read(write(tmp_path / "b", MadeUp(objective="val_loss")))
    check([one, one])
    with pytest.raises(UsageError, match=r"a has the objective val_accuracy \(max\), .*b val_loss \(max\)"):
        check([one, two])


def test_names_are_as_long_as_they_must_be() -> None:
    records = [Record(x, x.rpartition("/")[2]) for x in ("/r/a/digits", "/r/b/digits", "/r/b/fashion")]
    assert names(records) == ["a/digits", "b/digits", "fashion"]
