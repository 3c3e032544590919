"""A KerasTuner program whose trials sleep: `sleep_trials.py [--trials N] [--seconds S] [--directory D]`."""

import argparse
import time

import keras_tuner


class SleepTuner(keras_tuner.engine.base_tuner.BaseTuner):
    def __init__(self, seconds, **kwargs):
        super().__init__(**kwargs)
        self.seconds = seconds

    def run_trial(self, trial, *args, **kwargs):
        x = trial.hyperparameters.Float("x", -1.0, 1.0)
        time.sleep(self.seconds)
        return x * x


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--directory", default="results")
    parser.add_argument("--overwrite", action="store_true")
    arguments = parser.parse_args()
    space = keras_tuner.HyperParameters()
    space.Float("x", -1.0, 1.0)
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("score", "min"), max_trials=arguments.trials, hyperparameters=space, seed=7
    )
    tuner = SleepTuner(
        arguments.seconds,
        oracle=oracle,
        directory=arguments.directory,
        project_name="sleep",
        overwrite=arguments.overwrite,
    )
    tuner.search()
    print("best x", tuner.get_best_hyperparameters()[0]["x"])


if __name__ == "__main__":
    main()
