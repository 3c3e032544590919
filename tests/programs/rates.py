"""A KerasTuner program of one good rate of learning and five bad ones, each worse than the one before.

Each trial is run twice, 4 epochs of a quarter of a second each time.
"""

import time

import keras
import keras_tuner
import numpy

x = numpy.linspace(-1, 1, 32, dtype="float32")[:, None]


class Slow(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        time.sleep(0.25)


def build(hp):
    rate = hp.Choice("rate", [0.05, 1e-3, 8e-4, 6e-4, 4e-4, 2e-4])
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


tuner = keras_tuner.GridSearch(build, "loss", executions_per_trial=2, directory="results", project_name="rates")
tuner.search(x, 2 * x, epochs=4, batch_size=8, verbose=0, callbacks=[Slow()])
print("loaded", len(tuner.get_best_models(6)))
