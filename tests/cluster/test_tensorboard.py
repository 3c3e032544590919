"""TensorBoard's files, read back by TensorBoard itself: whole, once, and without TensorFlow."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.tensorflow_stub import errors
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.plugins.hparams import api_pb2, metadata

from cluster.follow import Follower, read
from cluster.record import Record
from cluster.tensorboard import FILE, TensorBoard
from tests.made_up import BEGAN, MadeUp, write

ROOT = Path(__file__).parents[2]


def accumulator(project: Path, trial: str) -> Any:
    found = EventAccumulator(str(project / "tensorboard" / trial), size_guidance={"scalars": 0})
    found.Reload()
    return found


def plugin_data(project: Path, trial: str) -> dict[str, bytes]:
    found: dict[str, bytes] = accumulator(project, trial).PluginTagToContent(metadata.PLUGIN_NAME)
    return found


def raw(path: Path) -> list[Any]:
    """The events as they stand in a file; raises where a record is damaged."""
    reader = PyRecordReader_New(str(path))
    found = []
    with contextlib.suppress(errors.OutOfRangeError):
        while True:
            reader.GetNext()
            found.append(event_pb2.Event.FromString(reader.record()))
    reader.file_handle.close()
    return found


def files(project: Path) -> dict[str, bytes]:
    place = project / "tensorboard"
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_a_search_as_tensorboard_reads_it(tmp_path: Path) -> None:
    project = write(tmp_path / "digits")
    record = read(project)
    TensorBoard(project)(record)
    trial = record.done[0]
    found = accumulator(project, trial.id)
    curve = found.Scalars("val_accuracy")
    assert [x.step for x in curve] == [1, 2, 3, 4]
    assert [x.wall_time for x in curve] == [x.time for x in trial.epochs]
    assert [x.value for x in curve] == pytest.approx([x.logs["val_accuracy"] for x in trial.epochs])
    assert set(found.Tags()["scalars"]) == {"loss", "accuracy", "val_loss", "val_accuracy", "score"}
    [score] = found.Scalars("score")
    assert (score.value, score.step) == (pytest.approx(trial.score), trial.best_epoch)
    start = metadata.parse_session_start_info_plugin_data(
        plugin_data(project, trial.id)[metadata.SESSION_START_INFO_TAG]
    )
    assert start.group_name == trial.id
    assert start.start_time_secs == trial.attempts[0].began
    assert start.hparams["units"].number_value == trial.values["units"]
    assert start.hparams["optimizer"].string_value == trial.values["optimizer"]
    assert start.hparams["dropout"].bool_value is trial.values["dropout"]
    assert ("dropout_rate" in start.hparams) is trial.values["dropout"]
    end = metadata.parse_session_end_info_plugin_data(plugin_data(project, trial.id)[metadata.SESSION_END_INFO_TAG])
    assert end.status == api_pb2.STATUS_SUCCESS
    assert trial.ran is not None
    assert end.end_time_secs == trial.ran.ended
    [failed] = [x for x in record.trials.values() if x.status == "failed"]
    end = metadata.parse_session_end_info_plugin_data(plugin_data(project, failed.id)[metadata.SESSION_END_INFO_TAG])
    assert end.status == api_pb2.STATUS_FAILURE


def test_the_experiment_has_the_space_and_the_objective(tmp_path: Path) -> None:
    project = write(tmp_path / "digits")
    TensorBoard(project)(read(project))
    experiment = metadata.parse_experiment_plugin_data(plugin_data(project, "")[metadata.EXPERIMENT_TAG])
    about = {x.name: x for x in experiment.hparam_infos}
    assert list(about) == ["rate", "units", "optimizer", "dropout", "dropout_rate"]
    assert (about["rate"].domain_interval.min_value, about["rate"].domain_interval.max_value) == (1e-4, 1e-1)
    assert list(about["optimizer"].domain_discrete) == ["adam", "sgd", "rmsprop"]
    assert about["optimizer"].type == api_pb2.DATA_TYPE_STRING
    assert about["dropout"].type == api_pb2.DATA_TYPE_BOOL
    assert about["units"].type == api_pb2.DATA_TYPE_FLOAT64
    assert [(x.name.tag, x.display_name) for x in experiment.metric_infos] == [
        ("score", "best val_accuracy"),
        ("val_accuracy", "val_accuracy, last epoch"),
    ]


def test_what_grows_is_appended_and_is_the_same_at_the_end(tmp_path: Path) -> None:
    """As a search goes on: a look after each line of its logs, by one writer, or by a new one after each."""
    whole = write(tmp_path / "whole", MadeUp(trials=4, workers=2))
    TensorBoard(whole)(read(whole))
    for place, resumed in (("once", False), ("resumed", True)):
        growing = tmp_path / place
        growing.mkdir()
        lines = [
            (json.loads(line)["time"], name, line)
            for name in ("events.jsonl", "epochs.jsonl")
            for line in (whole / name).read_bytes().splitlines(keepends=True)
        ]
        (growing / "oracle.json").write_bytes((whole / "oracle.json").read_bytes())
        follower, board = Follower(growing), TensorBoard(growing)
        for _, name, line in sorted(lines, key=lambda x: x[0]):
            event = json.loads(line)
            if event["event"] == "end":
                (growing / f"trial_{event['trial']}").mkdir()
                facts = (whole / f"trial_{event['trial']}" / "trial.json").read_bytes()
                (growing / f"trial_{event['trial']}" / "trial.json").write_bytes(facts)
            with (growing / name).open("ab") as file:
                file.write(line)
            if resumed:
                follower, board = Follower(growing), TensorBoard(growing)
            follower.poll()
            board(follower.record)
        wanted = {name: content for name, content in files(whole).items() if name != FILE}
        assert {name: content for name, content in files(growing).items() if name != FILE} == wanted


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    project = write(tmp_path, MadeUp(running=1, over=False))
    follower = Follower(project)
    follower.poll()
    board = TensorBoard(project)
    board(follower.record)
    times = {path: path.stat().st_mtime_ns for path in (project / "tensorboard").rglob("*.cluster")}
    with (project / "epochs.jsonl").open("a") as file:
        about = {"event": "epoch", "trial": "0011", "attempt": 1, "epoch": 2, "of": 4, "logs": {"val_accuracy": 0.5}}
        file.write(json.dumps({"time": BEGAN + 99, **about}) + "\n")
    follower.poll()
    board(follower.record)
    changed = {path.parent.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {"0011"}


def test_an_attempt_that_starts_over_takes_the_place_of_the_first(tmp_path: Path) -> None:
    record = Record(str(tmp_path), "p", objective="loss")
    for attempt, losses in ((1, [0.9, 0.8, 0.7]), (2, [0.5, 0.4])):
        record.apply({"event": "grant", "time": 10.0 * attempt, "trial": "0", "attempt": attempt, "worker": "w"})
        for epoch, loss in enumerate(losses):
            about = {"event": "epoch", "trial": "0", "attempt": attempt, "epoch": epoch, "logs": {"loss": loss}}
            record.apply({"time": 10.0 * attempt + epoch, **about})
    record.version += 1
    record.trials["0"].version = record.version
    TensorBoard(tmp_path)(record)
    curve = accumulator(tmp_path, "0").Scalars("loss")
    assert [(x.step, x.value) for x in curve] == [(1, pytest.approx(0.5)), (2, pytest.approx(0.4))]


@pytest.mark.parametrize("cut", [1, 5, 11, 40, 100])
def test_a_file_that_a_crash_cut_short_is_whole_again(cut: int, tmp_path: Path) -> None:
    project = write(tmp_path, MadeUp(trials=1, lost=0, failed=0))
    record = read(project)
    TensorBoard(project)(record)
    path = project / "tensorboard" / "0000" / FILE
    wanted = path.read_bytes()
    path.write_bytes(wanted[:-cut])
    TensorBoard(project)(record)
    assert path.read_bytes() == wanted
    path.write_bytes(b"\0" * cut)
    TensorBoard(project)(record)
    assert path.read_bytes() == wanted
    assert len(raw(path)) == 1 + 1 + 4 + 1 + 1


def test_hyperparameters_that_a_trial_has_found_are_added(tmp_path: Path) -> None:
    record = Record(str(tmp_path), "p", objective="loss")
    record.apply({"event": "grant", "time": 1.0, "trial": "0", "attempt": 1, "worker": "w", "values": {"a": 1}})
    board = TensorBoard(tmp_path)
    found: list[dict[str, Any]] = [{"a": 1}, {"a": 1, "b": "x"}]
    for version, values in enumerate(found, 1):
        record.trials["0"].values = values
        record.version = record.trials["0"].version = version
        board(record)
        start = metadata.parse_session_start_info_plugin_data(
            plugin_data(tmp_path, "0")[metadata.SESSION_START_INFO_TAG]
        )
        assert set(start.hparams) == set(values)
        experiment = metadata.parse_experiment_plugin_data(plugin_data(tmp_path, "")[metadata.EXPERIMENT_TAG])
        assert [x.name for x in experiment.hparam_infos] == list(values)


def test_a_disk_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    project = write(tmp_path)
    (project / "tensorboard").write_text("in the way")
    record = read(project)
    board = TensorBoard(project)
    board(record)
    board(record)
    assert len(caplog.records) == 1
    assert "cannot be written" in caplog.text
    (project / "tensorboard").unlink()
    board(record)
    assert len(files(project)) == 13


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "..", "", "a/b"])
def test_a_trial_that_is_no_file_name_is_left_out(name: str, tmp_path: Path) -> None:
    record = Record(str(tmp_path / "p"), "p", objective="loss")
    record.apply({"event": "grant", "time": 1.0, "trial": name, "attempt": 1, "worker": "w"})
    record.version = record.trials[name].version = 1
    TensorBoard(tmp_path / "p")(record)
    assert [x.name for x in tmp_path.rglob("*") if x.is_file()] == [FILE]


def test_nothing_of_tensorflow_is_loaded(tmp_path: Path) -> None:
    project = write(tmp_path)
    code = (
        "import sys, pathlib; from cluster.follow import read; from cluster.tensorboard import TensorBoard;"
        "assert 'tensorboard' not in sys.modules; place = pathlib.Path(sys.argv[1]); TensorBoard(place)(read(place));"
        "print('tensorboard' in sys.modules, 'tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(project)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True False False\n"
    assert len(files(project)) == 13
