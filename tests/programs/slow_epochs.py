"""A KerasTuner program whose epochs take half a second: `slow_epochs.py [--trials N] [--epochs N]`.

BAD=kill in the environment makes the process kill itself in every trial; STUCK=path makes a trial hang, once for each
such file that is not there yet.
"""

import argparse
import os
import pathlib
import signal
import time

import keras
import keras_tuner
import numpy

parser = argparse.ArgumentParser()
parser.add_argument("--trials", type=int, default=1)
parser.add_argument("--epochs", type=int, default=6)
arguments = parser.parse_args()
x = numpy.linspace(-1, 1, 32, dtype="float32")[:, None]


class Slow(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print(f"epoch {epoch} at step {int(self.model.optimizer.iterations)}", flush=True)
        if os.environ.get("BAD") == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        stuck = os.environ.get("STUCK")
        if stuck and not pathlib.Path(stuck).exists():
            pathlib.Path(stuck).touch()
            time.sleep(1000)
        time.sleep(0.5)


def build(hp):
    model = keras.Sequential(
        [keras.layers.Input((1,)), keras.layers.Dense(hp.Int("units", 1, 8)), keras.layers.Dense(1)]
    )
    model.compile("adam", loss="mse")
    return model


tuner = keras_tuner.RandomSearch(
    build, "loss", max_trials=arguments.trials, seed=1, directory="results", project_name="slow"
)
tuner.search(x, 2 * x, epochs=arguments.epochs, batch_size=8, verbose=0, callbacks=[Slow()])
