# mypy: ignore-errors
"""The flagship's search as a script that knows nothing but Keras and KerasTuner: what a user would write first.

    python stock_flagship.py FOLDER_OF_THE_DATA RESULTS SEED

The same space, oracle, seed, initial points, batch size, number of trials and epochs as `python -m fashion tune`. It
writes RESULTS/result.json: accuracies in [0, 1], the loss on the test set.
"""

import gzip
import json
import pathlib
import sys

import keras
import keras_tuner
import numpy as np

FOLDER, RESULTS, SEED = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])


def read(name, start, shape):
    return np.frombuffer(gzip.decompress((FOLDER / name).read_bytes()), np.uint8, offset=start).reshape(shape)


def images(name):
    return read(name, 16, (-1, 28, 28, 1)).astype("float32") / 255


def labels(name):
    return read(name, 8, -1).astype("int64")


x, y = images("train-images-idx3-ubyte.gz"), labels("train-labels-idx1-ubyte.gz")
x_train, y_train, x_val, y_val = x[:54_000], y[:54_000], x[54_000:], y[54_000:]
x_test, y_test = images("t10k-images-idx3-ubyte.gz"), labels("t10k-labels-idx1-ubyte.gz")


class Flagship(keras_tuner.HyperModel):
    def build(self, hp):
        keras.utils.set_random_seed(SEED)
        hp.Int("epochs", 3, 5, default=5)
        model = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                keras.layers.Conv2D(32, 3, activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Conv2D(64, 3, activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Flatten(),
                keras.layers.Dense(hp.Choice("units", [64, 128, 256, 512], default=128), activation="relu"),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        rate = hp.Float("learning_rate", 2.5e-4, 4e-3, sampling="log", default=1e-3)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, epochs=hp.get("epochs"), **kwargs)


tuner = keras_tuner.BayesianOptimization(
    Flagship(),
    objective="val_accuracy",
    max_trials=8,
    num_initial_points=4,
    seed=SEED,
    directory=RESULTS,
    project_name="search",
)
tuner.search(x_train, y_train, validation_data=(x_val, y_val), verbose=2)
best = tuner.oracle.get_best_trials(1)[0]
loss, accuracy = tuner.get_best_models(1)[0].evaluate(x_test, y_test, verbose=0)
(RESULTS / "result.json").write_text(
    json.dumps({"val_accuracy": best.score, "test_accuracy": accuracy, "test_loss": loss})
)
