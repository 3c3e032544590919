# mypy: ignore-errors
"""A KerasTuner program with two searches in a row, a `HyperModel`, and code after each search.

It knows nothing of any cluster. The second search starts from the best of the first; at the end the best model is
loaded back and used.
"""

import keras
import keras_tuner
import numpy as np


class Line(keras_tuner.HyperModel):
    """Fits y = 2x with one neuron, or through a hidden layer."""

    def __init__(self, learning_rates):
        super().__init__()
        self.learning_rates = learning_rates

    def build(self, hp):
        model = keras.Sequential([keras.Input((1,))])
        if hp.Boolean("hidden"):
            model.add(keras.layers.Dense(hp.Choice("units", [2, 4])))
        model.add(keras.layers.Dense(1))
        model.compile(keras.optimizers.Adam(hp.Choice("learning_rate", self.learning_rates)), "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Choice("batch_size", [8, 16]), **kwargs)


def main():
    x = np.linspace(-1.0, 1.0, 64, dtype="float32")[:, None]
    y = 2.0 * x

    coarse = keras_tuner.RandomSearch(
        Line([1e-3, 1e-1]), "val_loss", max_trials=4, seed=1, directory="results", project_name="coarse"
    )
    coarse.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
    best = coarse.get_best_hyperparameters()[0]
    print(f"coarse: best learning rate {best.get('learning_rate')}", flush=True)

    rate = best.get("learning_rate")
    fine = keras_tuner.GridSearch(
        Line([rate / 2, rate]), "val_loss", max_trials=4, directory="results", project_name="fine"
    )
    fine.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
    fine.results_summary(num_trials=1)
    model = fine.get_best_models()[0]
    print(f"fine: best model gives {model.predict(x, verbose=0).shape[0]} answers", flush=True)


if __name__ == "__main__":
    main()
