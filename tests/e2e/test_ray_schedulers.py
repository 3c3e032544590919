"""Ray Tune's own schedulers and searchers over a KerasTuner program."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from tests.e2e.launcher import PROGRAMS, check_completed, cluster, trials

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.ray

SPACE = str(PROGRAMS / "conditional_space.py")
# Three learning rates that learn and two that do not, in this order; the model is not built before it sees data.
RATES = """
import keras, keras_tuner, numpy
x = numpy.linspace(-1, 1, 32, dtype="float32")[:, None]
def build(hp):
    rate = hp.Choice("rate", [0.05, 0.06, 0.07, 1e-6, 2e-6])
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model
tuner = keras_tuner.GridSearch(build, "val_loss", directory="results", project_name="rates")
tuner.search(x, 2 * x, validation_data=(x, 2 * x), epochs=4, verbose=0)
for trial, model in zip(tuner.oracle.get_best_trials(5), tuner.get_best_models(5)):
    model(x)
    loss = float(keras.ops.mean(keras.losses.mean_squared_error(2 * x, model(x))))
    print(f"loaded {trial.trial_id} {trial.score:.6f} {loss:.6f}")
"""


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_trials_that_do_not_learn_are_stopped_early(tmp_path: Path, scheduler: str) -> None:
    (tmp_path / "program.py").write_text(RATES)
    done = cluster(tmp_path, "run", "--ray", "--workers", "1", "--ray-scheduler", scheduler, "program.py")
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    project = tmp_path / "results" / "rates"
    check_completed(project, 5)
    found = trials(project)
    rates = {name: trial["hyperparameters"]["values"]["rate"] for name, trial in found.items()}
    stopped = {name for name, trial in found.items() if trial["message"]}
    assert {rates[name] for name in stopped} == {1e-6, 2e-6}, done.stdout
    for name, trial in found.items():
        observed = trial["metrics"]["metrics"]["val_loss"]["observations"]
        assert [x["step"] for x in observed] == [0 if name in stopped else 3]
        assert trial["best_step"] == observed[0]["step"]
        if name in stopped:
            text = f"The trial was stopped early by Ray Tune's {scheduler} after epoch 1; this is its best epoch."
            assert trial["message"] == text
    loaded = re.findall(r"loaded (\d+) ([\d.]+) ([\d.]+)", done.stdout)
    assert len(loaded) == 5
    assert rates[loaded[0][0]] == 0.07
    assert all(math.isclose(float(score), float(loss), rel_tol=1e-3) for _, score, loss in loaded), loaded
    assert not (project / "ray").exists()


def test_a_searcher_of_rays_proposes_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra `optuna` is not installed")
    project = tmp_path / "results" / "space"
    for number in (4, 13):  # more than Optuna draws at random
        words = ("--ray", "--workers", "2", "--ray-search", "optuna", SPACE, "--trials", str(number))
        done = cluster(tmp_path, "run", *words)
        assert done.returncode == 0, done.stdout
        assert "Ray's optuna proposes the trials; RandomSearchOracle keeps them" in done.stdout
        assert "Traceback" not in done.stdout
        assert "begins anew" not in done.stdout
        assert ("the space has grown: Ray's optuna has 4 hyperparameters" in done.stdout) == (number == 4)
        check_completed(project, number)
    ran = [trial["hyperparameters"]["values"] for trial in trials(project).values()]
    assert len({json.dumps(values, sort_keys=True) for values in ran}) == 13
    for values in ran:
        assert 1e-4 <= values["rate"] <= 1e-1
        if values["kind"] == "wide":
            assert set(values) == {"kind", "extra", "rate"}
            assert values["extra"] in (1, 3, 5, 7, 9)
        else:
            assert set(values) == {"kind", "bias", "rate"}
            assert isinstance(values["bias"], bool)


def test_a_scheduler_leaves_trials_without_epochs_alone(tmp_path: Path) -> None:
    done = cluster(tmp_path, "run", "--ray", "--ray-scheduler", "median", SPACE)
    assert done.returncode == 0, done.stdout
    project = tmp_path / "results" / "space"
    check_completed(project, 8)
    assert not any(trial["message"] for trial in trials(project).values())


# --- bad input


@pytest.mark.parametrize(
    ("options", "program", "text"),
    [
        (["--ray-search", "optuna"], [], "--ray-scheduler and --ray-search are Ray Tune's: they go with --ray"),
        (["--ray", "--ray-scheduler", "pbt"], [], "--ray-scheduler 'pbt' is none of asha, median (it goes on"),
        (["--ray", "--ray-search", "x"], [], "'x' is none of ax, bayesopt, hebo, hyperopt, optuna"),
        (["--ray", "--ray-scheduler", "asha"], ["--oracle", "hyperband"], "does not go with HyperbandOracle"),
    ],
)
def test_what_makes_no_sense_is_refused_first(
    tmp_path: Path, options: list[str], program: list[str], text: str
) -> None:
    done = cluster(tmp_path, "run", *options, SPACE, *program)
    assert (done.returncode, "Traceback" in done.stdout) == (2, False), done.stdout
    assert text in " ".join(done.stdout.split())
    assert not list(tmp_path.glob("results/space/trial_*"))
