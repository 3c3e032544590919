# mypy: ignore-errors
"""A KerasTuner program whose every trial trains the same small CNN for some seconds, and writes down how fast.

Each trial warms up for one epoch, in which the backend compiles, and then waits for the others, so that all are timed
while all are at work. It knows nothing of any cluster.
"""

import argparse
import json
import pathlib
import time

import keras
import keras_tuner
import numpy

SPEEDS = pathlib.Path("speeds")
PATIENCE = 300.0  # seconds for the others to have warmed up


class UntilTimeIsUp(keras.callbacks.Callback):
    """Ends the training with the first epoch that ends after so many seconds, and counts the epochs."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.epochs = 0

    def on_train_begin(self, logs=None):
        self.start = time.time()

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        self.end = time.time()
        self.model.stop_training = self.end - self.start >= self.seconds


class Cnn(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial, options):
        generator = numpy.random.default_rng(1)
        x = generator.random((options.images, 28, 28, 1), dtype="float32")
        y = generator.integers(10, size=options.images)
        model = self.hypermodel.build(trial.hyperparameters)
        model.fit(x, y, batch_size=options.batch, verbose=0)
        self.wait_for_others(trial, options.together)

        timer = UntilTimeIsUp(options.seconds)
        model.fit(x, y, batch_size=options.batch, epochs=10**6, verbose=0, callbacks=[timer])
        images = timer.epochs * options.images
        speed = {
            "images_per_second": images / (timer.end - timer.start),
            "start": timer.start,
            "end": timer.end,
            "device": device(),
        }
        (SPEEDS / f"{trial.trial_id}.json").write_text(json.dumps(speed))
        return trial.hyperparameters.get("x")

    def wait_for_others(self, trial, together):
        (SPEEDS / f"{trial.trial_id}.warm").touch()
        deadline = time.monotonic() + PATIENCE
        while len(list(SPEEDS.glob("*.warm"))) < together and time.monotonic() < deadline:
            time.sleep(0.01)


def device():
    """What the backend trains on, in its own words."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        [first, *_] = jax.devices()
        return f"{first.platform} ({first.device_kind})"
    if backend == "torch":
        import torch

        return f"cuda ({torch.cuda.get_device_name()})" if torch.cuda.is_available() else "cpu"
    import tensorflow

    gpus = tensorflow.config.list_physical_devices("GPU")
    return f"gpu ({tensorflow.config.experimental.get_device_details(gpus[0])['device_name']})" if gpus else "cpu"


def build(hp):
    hp.Float("x", 0.0, 1.0)  # so that no two trials are the same
    layers = [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(64, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile("adam", loss="sparse_categorical_crossentropy")
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()

    SPEEDS.mkdir(exist_ok=True)
    oracle = keras_tuner.oracles.RandomSearchOracle(max_trials=options.together, seed=7)
    tuner = Cnn(oracle, build, directory="results", project_name="cnn")
    tuner.search(options)


if __name__ == "__main__":
    main()
