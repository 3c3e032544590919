"""A trial that is told to stop, with Keras: it ends in order with its best epoch, wherever it is interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import follow, resume, seams
from cluster.policy import Policy
from cluster.program import Identity
from cluster.roles import LocalRole

EPOCHS = 4
POLICY = Policy(prune="asha", prune_min_epochs=1, max_attempts=9)
GOOD, BAD = 0.05, 1e-7  # rates of learning


@pytest.fixture
def keras() -> Iterator[Any]:
    """Keras, under a local run's seams, with `--prune asha`."""
    role = LocalRole(Identity("test.py", (), ""), POLICY)
    with seams.installed(role):
        import keras

        keras.utils.set_random_seed(1)
        yield keras
    role.release()


def run(
    keras: Any, directory: Path, *callbacks: Any, executions: int = 1, rates: tuple[float, ...] = (GOOD, BAD)
) -> Any:
    """One search, a trial for each rate in this order; returns its tuner."""
    import keras_tuner
    import numpy

    x = numpy.linspace(-1.0, 1.0, 32, dtype="float32")[:, None]

    def build(hp: Any) -> Any:
        rate = hp.Choice("rate", list(rates))
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(rate), loss="mse")
        return model

    tuner = keras_tuner.GridSearch(
        build, "loss", executions_per_trial=executions, directory=str(directory), project_name="project"
    )
    tuner.search(x, 2 * x, epochs=EPOCHS, batch_size=8, verbose=0, callbacks=list(callbacks))
    return tuner


def follower(keras: Any) -> Any:
    """A callback that notes each epoch that begins, by rate, and may interrupt the end of one `fit`."""

    class Follower(keras.callbacks.Callback):  # type: ignore[misc]
        seen: list[tuple[float, int]] = []  # noqa: RUF012
        interrupt = False

        def __deepcopy__(self, memo: Any) -> Any:
            return type(self)()

        def rate(self) -> float:
            return GOOD if float(self.model.optimizer.learning_rate) > 0.01 else BAD

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.seen.append((self.rate(), epoch))

        def on_train_end(self, logs: Any = None) -> None:
            if self.rate() == BAD and type(self).interrupt:
                type(self).interrupt = False
                raise KeyboardInterrupt

    return Follower()


def reported(directory: Path, trial: str) -> list[dict[str, Any]]:
    lines = (directory / "project" / "epochs.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["trial"] == trial]


def check_pruned(tuner: Any, directory: Path) -> None:
    """The first trial has all its epochs, the second ended with what it had, and everybody can see why."""
    good, bad = tuner.oracle.trials["0000"], tuner.oracle.trials["0001"]
    assert (good.status, bad.status) == ("COMPLETED", "COMPLETED")
    first = reported(directory, "0001")[0]["logs"]["loss"]
    assert bad.score == pytest.approx(first)
    assert bad.best_step == 0
    assert bad.message.startswith("The trial was stopped early")
    assert good.score < bad.score
    assert not (directory / "project" / "trial_0001" / "resume").exists()
    record = follow.read(directory / "project")
    assert record.counts == {"completed": 1, "pruned": 1}
    assert record.trials["0001"].reason == "not among the best 1 of 2 after 1 epoch (--prune asha)"


def test_it_ends_with_the_epoch(keras: Any, tmp_path: Path) -> None:
    seen = follower(keras)
    tuner = run(keras, tmp_path, seen)
    assert seen.seen == [*((GOOD, n) for n in range(EPOCHS)), (BAD, 0)]
    check_pruned(tuner, tmp_path)


def test_its_other_executions_are_left_out(keras: Any, tmp_path: Path) -> None:
    seen = follower(keras)
    tuner = run(keras, tmp_path, seen, executions=3)
    assert [x for x in seen.seen if x[0] == GOOD] == [(GOOD, n) for n in range(EPOCHS)] * 3
    assert [x for x in seen.seen if x[0] == BAD] == [(BAD, 0)]
    check_pruned(tuner, tmp_path)
    assert tuner.oracle.trials["0001"].score == reported(tmp_path, "0001")[0]["logs"]["loss"], "of what was run alone"
    assert [x.get("execution", 0) for x in reported(tmp_path, "0000")] == [0] * EPOCHS + [1] * EPOCHS + [2] * EPOCHS


def test_stock_kerastuner_reads_it(keras: Any, tmp_path: Path) -> None:
    """The checkpoint of the best epoch is there, and its weights are loaded."""
    tuner = run(keras, tmp_path)
    best, other = tuner.get_best_models(2)
    assert best.count_params() == other.count_params() == 2
    assert [x.trial_id for x in tuner.oracle.get_best_trials(2)] == ["0000", "0001"]


def test_one_that_was_interrupted_after_it_was_saved_does_not_train_again(keras: Any, tmp_path: Path) -> None:
    """Neither the rest of its epochs nor its second execution."""
    seen = follower(keras)
    type(seen).interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(keras, tmp_path, seen, executions=2)
    assert seen.seen.count((BAD, 0)) == 1
    tuner = run(keras, tmp_path, seen, executions=2)
    assert [x for x in seen.seen if x[0] == BAD] == [(BAD, 0)]
    check_pruned(tuner, tmp_path)


def test_one_that_was_interrupted_before_it_was_saved_stops_at_once(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs its epoch again, for nothing of it is there, and no other."""
    seen = follower(keras)
    end_epoch = resume.Attempt.end_epoch

    def killed(self: Any, *args: Any) -> None:
        if self.pruned:
            raise KeyboardInterrupt
        end_epoch(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(resume.Attempt, "end_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run(keras, tmp_path, seen, executions=2)
    tuner = run(keras, tmp_path, seen, executions=2)
    assert [x for x in seen.seen if x[0] == BAD] == [(BAD, 0), (BAD, 0)]
    check_pruned(tuner, tmp_path)


def test_early_stopping_restores_its_weights(keras: Any, tmp_path: Path) -> None:
    """The program's own callbacks see an end of training like any other."""
    ends: list[float] = []

    class Keep(keras.callbacks.Callback):  # type: ignore[misc]
        def __deepcopy__(self, memo: Any) -> Any:
            return type(self)()

        def on_train_end(self, logs: Any = None) -> None:
            ends.append(float(self.model.optimizer.learning_rate))

    stopping = keras.callbacks.EarlyStopping("loss", patience=5, restore_best_weights=True)
    tuner = run(keras, tmp_path, stopping, Keep())
    assert ends == [pytest.approx(GOOD), pytest.approx(BAD)]
    check_pruned(tuner, tmp_path)


def test_a_hyper_model_that_returns_a_number_is_stopped_too(keras: Any, tmp_path: Path) -> None:
    """Its epochs have the objective, whatever it makes of them at the end."""
    import keras_tuner
    import numpy

    x = numpy.linspace(-1.0, 1.0, 32, dtype="float32")[:, None]
    fits: list[int] = []

    class Model(keras_tuner.HyperModel):  # type: ignore[misc]
        def build(self, hp: Any) -> Any:
            keras.utils.set_random_seed(1)
            model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(hp.Choice("rate", [GOOD, BAD])), loss="mse")
            return model

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> float:
            history = model.fit(*args, **kwargs)
            fits.append(len(history.history["loss"]))
            return float(min(history.history["loss"]))

    tuner = keras_tuner.GridSearch(
        Model(), "loss", executions_per_trial=2, directory=str(tmp_path), project_name="project"
    )
    tuner.search(x, 2 * x, epochs=EPOCHS, batch_size=8, verbose=0)
    assert fits == [EPOCHS, EPOCHS, 1]
    check_pruned(tuner, tmp_path)


def test_a_tuner_that_builds_and_fits_in_its_own_way_keeps_its_results(keras: Any, tmp_path: Path) -> None:
    """KerasTuner offers `_build_and_fit_model` for that."""
    import keras_tuner
    import numpy

    class Own(keras_tuner.GridSearch):  # type: ignore[misc]
        def _build_and_fit_model(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
            model = self.hypermodel.build(trial.hyperparameters)
            return self.hypermodel.fit(trial.hyperparameters, model, *args, **kwargs)

    def build(hp: Any) -> Any:
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(hp.Choice("rate", [GOOD, BAD])), loss="mse")
        return model

    x = numpy.linspace(-1.0, 1.0, 32, dtype="float32")[:, None]
    tuner = Own(build, "loss", directory=str(tmp_path), project_name="project")
    tuner.search(x, 2 * x, epochs=EPOCHS, batch_size=8, verbose=0)
    assert [x.status for x in tuner.oracle.trials.values()] == ["COMPLETED", "COMPLETED"]
