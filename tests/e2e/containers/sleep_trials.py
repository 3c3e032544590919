# mypy: ignore-errors
"""A KerasTuner program whose trials only sleep: what is left of its time is the time of whatever runs it.

It is a plain `BaseTuner` subclass and knows nothing of any cluster.
"""

import argparse
import time

import keras_tuner


class SleepTuner(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial, seconds):
        print(f"trial {trial.trial_id} sleeps", flush=True)
        time.sleep(seconds)
        return trial.hyperparameters.get("x") ** 2


def build(hp):
    hp.Float("x", -1.0, 1.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()

    oracle = keras_tuner.oracles.RandomSearchOracle(max_trials=options.trials, seed=7)
    tuner = SleepTuner(oracle, build, directory="results", project_name="sleep")
    tuner.search(options.seconds)
    print("the search has ended", flush=True)


if __name__ == "__main__":
    main()
