"""A KerasTuner program whose scores follow from the hyperparameters alone, so that every result can be checked.

    chaos_trials.py [--oracle random|bayesian|grid|hyperband] [--trials N] [--seconds S] [--overwrite] [--read]

Each trial reports its score now and then and takes `--seconds` on average; the last report is the best. At the end, or
at once with `--read`, the program prints what it knows of the trials, the best first, as one line of JSON.
"""

import argparse
import json
import time

import keras_tuner
from keras_tuner import oracles

KINDS = {"sphere": 1.0, "ridge": 2.5, "plain": 4.0}


def score(x, steps, kind):
    return KINDS[kind] * (x - 0.3) ** 2 + 0.1 * steps


class ChaosTuner(keras_tuner.engine.base_tuner.BaseTuner):
    def __init__(self, seconds, **kwargs):
        super().__init__(**kwargs)
        self.seconds = seconds

    def run_trial(self, trial):
        values = trial.hyperparameters.values
        x, steps, kind = values["x"], values["steps"], values["kind"]
        for step in range(steps):  # 1 to 5
            time.sleep(self.seconds / 3)
            metrics = {"score": score(x, steps, kind) * (steps - step)}
            self.oracle.update_trial(trial.trial_id, metrics, step=step)
        return metrics


def make_oracle(name, trials):
    space = keras_tuner.HyperParameters()
    space.Float("x", -1.0, 1.0, step=0.1 if name == "grid" else None)
    space.Int("steps", 1, 5)
    space.Choice("kind", list(KINDS))
    common = {"objective": keras_tuner.Objective("score", "min"), "hyperparameters": space}
    if name == "hyperband":
        return oracles.HyperbandOracle(max_epochs=9, factor=3, seed=5, **common)
    if name == "grid":
        return oracles.GridSearchOracle(max_trials=trials, seed=5, **common)
    kind = {"random": oracles.RandomSearchOracle, "bayesian": oracles.BayesianOptimizationOracle}[name]
    return kind(max_trials=trials, seed=5, **common)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--oracle", default="random")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--read", action="store_true")
    arguments = parser.parse_args()
    tuner = ChaosTuner(
        arguments.seconds,
        oracle=make_oracle(arguments.oracle, arguments.trials),
        directory="results",
        project_name="chaos",
        overwrite=arguments.overwrite,
    )
    if not arguments.read:
        tuner.search()
    best = tuner.oracle.get_best_trials(len(tuner.oracle.trials))
    print("trials", json.dumps([[trial.trial_id, trial.score, trial.hyperparameters.values] for trial in best]))


if __name__ == "__main__":
    main()
