"""A trial that was interrupted goes on at its next epoch, as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import resume, seams
from cluster.policy import Policy
from cluster.program import Identity
from cluster.roles import LocalRole

EPOCHS = 5


@pytest.fixture
def keras() -> Iterator[Any]:
    """Keras, under a local run's seams."""
    role = LocalRole(Identity("test.py", (), ""), Policy())
    with seams.installed(role):
        import keras

        keras.utils.set_random_seed(1)
        yield keras
    role.release()


def run(keras: Any, directory: Path, *callbacks: Any, trials: int = 1, executions: int = 1, **fit: Any) -> Any:
    """One search of a small model; returns its tuner."""
    import keras_tuner
    import numpy

    x = numpy.linspace(-1.0, 1.0, 32, dtype="float32")[:, None]

    def build(hp: Any) -> Any:
        hp.Float("rate", 1e-3, 1e-2)
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        model.compile("adam", loss="mse")
        return model

    tuner = keras_tuner.RandomSearch(
        build,
        "loss",
        max_trials=trials,
        executions_per_trial=executions,
        seed=2,
        directory=str(directory),
        project_name="project",
    )
    tuner.search(x, 2 * x, epochs=EPOCHS, batch_size=8, verbose=0, callbacks=list(callbacks), **fit)
    return tuner


def follower(keras: Any, stop_after: tuple[int, int] | None = None) -> Any:
    """A callback that notes epochs and optimizer steps, and interrupts after (execution, epoch)."""

    class Follower(keras.callbacks.Callback):  # type: ignore[misc]
        seen: list[tuple[int, int, int]] = []  # (execution, epoch, optimizer steps at its beginning)  # noqa: RUF012
        execution = -1

        def __deepcopy__(self, memo: Any) -> Any:
            return type(self)()

        def on_train_begin(self, logs: Any = None) -> None:
            type(self).execution += 1

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if (self.execution, epoch - 1) == stop_after:
                raise KeyboardInterrupt
            self.seen.append((self.execution, epoch, int(self.model.optimizer.iterations)))

    return Follower()


def test_an_interrupted_trial_goes_on_at_its_next_epoch(keras: Any, tmp_path: Path) -> None:
    first = follower(keras, stop_after=(0, 2))
    with pytest.raises(KeyboardInterrupt):
        run(keras, tmp_path, first)
    assert [epoch for _, epoch, _ in first.seen] == [0, 1, 2]
    second = follower(keras)
    tuner = run(keras, tmp_path, second)
    assert second.seen == [(0, 3, 12), (0, 4, 16)], "the optimizer's steps of three epochs are there"
    [trial] = tuner.oracle.trials.values()
    assert trial.status == "COMPLETED"
    assert not (tmp_path / "project" / "trial_0" / "resume").exists(), "nothing is left behind"


def test_its_history_is_whole(keras: Any, tmp_path: Path) -> None:
    """KerasTuner scores the best of all epochs, those before the interruption among them."""
    losses: list[dict[str, list[float]]] = []

    class Keep(keras.callbacks.Callback):  # type: ignore[misc]
        def __deepcopy__(self, memo: Any) -> Any:
            return type(self)()

        def on_train_end(self, logs: Any = None) -> None:
            losses.append(self.model.history.history)

    with pytest.raises(KeyboardInterrupt):
        run(keras, tmp_path, follower(keras, stop_after=(0, 1)))
    [state] = (tmp_path / "project" / "trial_0" / "resume").glob("attempt-1/state.json")
    earlier = json.loads(state.read_text())["history"]["loss"]
    assert len(earlier) == 2
    tuner = run(keras, tmp_path, Keep())
    assert len(losses[0]["loss"]) == EPOCHS
    assert losses[0]["loss"][:2] == earlier
    [trial] = tuner.oracle.trials.values()
    assert trial.score == pytest.approx(min(losses[0]["loss"]))


def test_a_finished_execution_is_not_run_again(keras: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(keras, tmp_path, follower(keras, stop_after=(1, 0)), executions=2)
    second = follower(keras)
    tuner = run(keras, tmp_path, second, executions=2)
    assert [epoch for _, epoch, _ in second.seen] == [1, 2, 3, 4]
    [trial] = tuner.oracle.trials.values()
    assert trial.status == "COMPLETED"


def test_a_trial_interrupted_twice(keras: Any, tmp_path: Path) -> None:
    for execution, epoch in [(0, 0), (0, 2)]:
        with pytest.raises(KeyboardInterrupt):
            run(keras, tmp_path, follower(keras, stop_after=(execution, epoch)))
    last = follower(keras)
    run(keras, tmp_path, last)
    assert [epoch for _, epoch, _ in last.seen] == [3, 4]


def worsening(keras: Any) -> Any:
    """A callback that makes each epoch's loss its number."""

    class Worsening(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["loss"] = float(epoch)

    return Worsening()


def test_early_stopping_goes_on_counting(keras: Any, tmp_path: Path) -> None:
    stopper = keras.callbacks.EarlyStopping("loss", patience=3)
    with pytest.raises(KeyboardInterrupt):
        run(keras, tmp_path, worsening(keras), stopper, follower(keras, stop_after=(0, 2)))
    last = follower(keras)
    run(keras, tmp_path, worsening(keras), stopper, last)
    assert [epoch for _, epoch, _ in last.seen] == [3], "two epochs of patience were used before"


def test_an_execution_that_was_stopped_early_stays_stopped(keras: Any, tmp_path: Path) -> None:
    """The interruption came after EarlyStopping had ended the first of two executions."""
    stopper = keras.callbacks.EarlyStopping("loss", patience=1)

    class Interrupt(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_end(self, logs: Any = None) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(keras, tmp_path, worsening(keras), stopper, Interrupt())
    last = follower(keras)
    tuner = run(keras, tmp_path, worsening(keras), stopper, last)
    assert last.seen == []
    assert next(iter(tuner.oracle.trials.values())).score == 0.0


def test_the_best_epochs_checkpoint_is_kept(keras: Any, tmp_path: Path) -> None:
    """The epochs after the interruption are worse; the checkpoint stays that of the better epoch before."""
    path = tmp_path / "project" / "trial_0" / "checkpoint.weights.h5"

    with pytest.raises(KeyboardInterrupt):
        run(keras, tmp_path, follower(keras, stop_after=(0, 1)))
    best = path.read_bytes()
    # 1.0, 2.0, … from here on, against the losses of a model that learns.
    run(keras, tmp_path, worsening(keras))
    assert path.read_bytes() == best


def test_a_damaged_file_starts_the_trial_over(keras: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(keras, tmp_path, follower(keras, stop_after=(0, 1)))
    [weights] = (tmp_path / "project" / "trial_0" / "resume").glob("attempt-1/*.weights.h5")
    weights.write_bytes(weights.read_bytes()[:100])
    last = follower(keras)
    tuner = run(keras, tmp_path, last)
    assert [epoch for _, epoch, _ in last.seen] == list(range(EPOCHS))
    assert next(iter(tuner.oracle.trials.values())).status == "COMPLETED"


def test_a_second_fit_in_one_execution_is_never_taken_up(keras: Any, tmp_path: Path) -> None:
    attempt = resume.Attempt(tmp_path, 1)
    attempt.begin_execution()
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("adam", loss="mse")
    attempt.begin_fit(model)
    attempt.end_epoch(0, {"loss": 1.0}, model, [], 1.0)
    assert list(tmp_path.glob("resume/attempt-1/*.weights.h5"))
    attempt.begin_fit(model)
    attempt.end_epoch(0, {"loss": 1.0}, model, [], 1.0)
    assert not list(tmp_path.glob("resume/attempt-1/*.weights.h5"))
    later = resume.Attempt(tmp_path, 2)
    later.begin_execution()
    later.begin_fit(model)
    assert later.resumed_at is None


def test_a_hyperband_promotion_keeps_the_optimizers_state(keras: Any, tmp_path: Path) -> None:
    import keras_tuner
    import numpy

    x = numpy.linspace(-1.0, 1.0, 32, dtype="float32")[:, None]

    def build(hp: Any) -> Any:
        hp.Float("rate", 1e-3, 1e-2)
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        model.compile("adam", loss="mse")
        return model

    steps = follower(keras)
    tuner = keras_tuner.Hyperband(
        build, "loss", max_epochs=4, factor=2, seed=1, directory=str(tmp_path), project_name="project"
    )
    tuner.search(x, 2 * x, batch_size=8, verbose=0, callbacks=[steps])
    promoted = [(epoch, before) for _, epoch, before in steps.seen if epoch > 0]
    assert promoted
    assert all(before == 4 * epoch for epoch, before in promoted), promoted
