"""A KerasTuner program that does what programs do: pools, a search within a trial, NaN, work after the search."""

import concurrent.futures
import copy
import multiprocessing
import time

import keras_tuner

pool = concurrent.futures.ThreadPoolExecutor(1)  # never shut down


def square(x):
    return x * x


class Inner(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial):
        return trial.hyperparameters.Int("y", 0, 3)


class Outer(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial):
        x = trial.hyperparameters["x"]
        assert copy.deepcopy(self.oracle) is not None
        assert pool.submit(square, x).result() == x * x
        with multiprocessing.get_context("fork").Pool(1) as processes:
            assert processes.map(square, [x]) == [x * x]
        inner = Inner(
            oracle=keras_tuner.oracles.GridSearchOracle(max_trials=2),
            directory="results",
            project_name=f"inner-{trial.trial_id}",
        )
        inner.search()
        assert len(inner.oracle.trials) == 2
        return float("nan") if trial.trial_id == "0" else float(x)


def main():
    space = keras_tuner.HyperParameters()
    space.Int("x", 0, 99)
    tuner = Outer(
        oracle=keras_tuner.oracles.RandomSearchOracle(
            objective=keras_tuner.Objective("score", "min"), max_trials=4, hyperparameters=space, seed=3
        ),
        directory="results",
        project_name="odd",
    )
    tuner.search()
    time.sleep(7)
    print("after the search:", tuner.get_best_hyperparameters()[0]["x"], flush=True)


if __name__ == "__main__":
    main()
