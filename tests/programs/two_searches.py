"""A KerasTuner program with two searches in a row: the second starts from what the first has found."""

import datetime

import keras_tuner


class Square(keras_tuner.engine.base_tuner.BaseTuner):
    def __init__(self, centre, **kwargs):
        super().__init__(directory="results", **kwargs)
        self.centre = centre

    def run_trial(self, trial, *args, **kwargs):
        return {"loss": (trial.hyperparameters["a"] - self.centre) ** 2}


def space(low, high, step):
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Int("a", low, high, step=step)
    return hyperparameters


coarse = Square(
    3,
    oracle=keras_tuner.oracles.GridSearchOracle(
        objective=keras_tuner.Objective("loss", "min"), hyperparameters=space(-10, 10, 5)
    ),
    project_name="coarse",
)
coarse.search()
a = coarse.get_best_hyperparameters()[0]["a"]
fine = Square(
    3,
    oracle=keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("loss", "min"), hyperparameters=space(a - 3, a + 3, 1), max_trials=4, seed=1
    ),
    project_name=f"fine-{datetime.datetime.now():%H%M%S%f}",
)
fine.search()
print("coarse", a, "fine", fine.get_best_hyperparameters()[0]["a"], "trials", len(fine.oracle.trials))
