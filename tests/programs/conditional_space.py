"""A KerasTuner program over a space with conditions: `conditional_space.py --oracle NAME [--trials N] [--seconds S]`.

NAME is random, grid, bayesian or hyperband, which are KerasTuner's own, or tpe, gp, cmaes or qmc, which are not. The
score is a function of the hyperparameters, so what is proposed depends on the oracle and its seed alone.
"""

import argparse
import functools
import time

import keras
import keras_tuner
import numpy

import cluster.oracles

parser = argparse.ArgumentParser()
parser.add_argument("--oracle", default="random")
parser.add_argument("--trials", type=int, default=8)
parser.add_argument("--seconds", type=float, default=0.0)
arguments = parser.parse_args()


def declare(hp):
    kind = hp.Choice("kind", ["narrow", "wide"])
    with hp.conditional_scope("kind", ["wide"]):
        if kind == "wide":
            hp.Int("extra", 1, 9, step=2)
    with hp.conditional_scope("kind", ["narrow"]):
        if kind == "narrow":
            hp.Boolean("bias")
    if arguments.oracle != "grid":
        hp.Float("rate", 1e-4, 1e-1, sampling="log")
    return kind


def score(hp):
    total = {"narrow": 0.3, "wide": 0.0}[hp["kind"]] + hp.values.get("rate", 0.01) * 3
    return total + (abs(hp["extra"] - 5) / 10 if hp["kind"] == "wide" else 0.1 * hp["bias"])


class ScoreTuner(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial, *args, **kwargs):
        declare(trial.hyperparameters)
        time.sleep(arguments.seconds)
        return score(trial.hyperparameters)


def build(hp):
    declare(hp)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp["rate"]), "mse")
    return model


common = {"directory": "results", "project_name": "space"}
if arguments.oracle == "hyperband":
    tuner = keras_tuner.Hyperband(build, "val_loss", max_epochs=4, factor=2, seed=3, **common)
    x = numpy.linspace(-1, 1, 32)[:, None]
    tuner.search(x, 2 * x, validation_data=(x, 2 * x), verbose=0)
else:
    space = keras_tuner.HyperParameters()
    declare(space)
    kind = {
        "random": keras_tuner.oracles.RandomSearchOracle,
        "grid": keras_tuner.oracles.GridSearchOracle,
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
        "tpe": functools.partial(cluster.oracles.TPEOracle, num_initial_points=3),
        "gp": functools.partial(cluster.oracles.GPOracle, num_initial_points=3),
        "cmaes": cluster.oracles.CmaEsOracle,
        "qmc": cluster.oracles.QMCOracle,
    }[arguments.oracle]
    oracle = kind(
        objective=keras_tuner.Objective("score", "min"), max_trials=arguments.trials, hyperparameters=space, seed=3
    )
    tuner = ScoreTuner(oracle=oracle, **common)
    tuner.search()
print("best", tuner.oracle.get_best_trials(1)[0].trial_id)
