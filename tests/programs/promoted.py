"""Hyperband over a model whose checkpoint takes a moment to travel; says what each trial has saved, and what is best.

With `--slow N`, an epoch takes N seconds at least.
"""

import argparse
import hashlib
import time
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

options = argparse.ArgumentParser()
options.add_argument("--slow", type=float, default=0.0)
options.add_argument("--units", type=int, default=400)
options.add_argument("--epochs", type=int, default=4)
given = options.parse_args()


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_sha(model: Any) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in model.get_weights())).hexdigest()


class Slowly(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        time.sleep(given.slow)


class Tuner(keras_tuner.Hyperband):
    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        parent = trial.hyperparameters.values.get("tuner/trial_id")
        if parent:
            print(f"from={parent} sha={sha(Path(self._get_checkpoint_fname(parent)))}", flush=True)
        results = super().run_trial(trial, *args, **kwargs)
        saved = Path(self._get_checkpoint_fname(trial.trial_id))
        print(f"saved={trial.trial_id} bytes={saved.stat().st_size} sha={sha(saved)}", flush=True)
        return results


def build(hp: Any) -> Any:
    model = keras.Sequential([keras.Input((32,))])
    model.add(keras.layers.Dense(given.units, activation="relu"))
    model.add(keras.layers.Dense(given.units, activation="relu"))
    model.add(keras.layers.Dense(1))
    rate = hp.Float("rate", 1e-4, 1e-2, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model


x = np.random.default_rng(1).normal(size=(256, 32)).astype("float32")
y = x[:, :1] * x[:, 1:2]
tuner = Tuner(
    build, "val_loss", max_epochs=given.epochs, factor=2, seed=3, directory="results", project_name="promoted"
)
tuner.search(x, y, epochs=given.epochs, validation_split=0.25, callbacks=[Slowly()], verbose=0)
[best] = tuner.oracle.get_best_trials(1)
[model] = tuner.get_best_models(1)
score = model.evaluate(x[192:], y[192:], verbose=0)
file = sha(Path(tuner._get_checkpoint_fname(best.trial_id)))
print(
    f"best={best.trial_id} file={file} weights={weights_sha(model)} same={abs(score - best.score) < 1e-4}", flush=True
)
