"""The network, its search space, and how one trial is trained: a plain `keras_tuner.HyperModel`.

Owns: layers, hyperparameters with their defaults, compile and fit. Does not own: the oracle (`tune.py`) and the data.
The defaults of every space are the baseline, so `build(HyperParameters())` is what `python -m fashion train` trains.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_tuner

from fashion.settings import Settings

# Sixteen batches for one call into TensorFlow: about 1.5 times the images/s on two CPU cores at batch size 32, and the
# same weights bit for bit (a test holds this). `jit_compile` is left to Keras, which takes XLA where it pays: on a CPU
# it does not, since each trial compiles anew and XLA's compilation outlasts what it would save in a few epochs.
STEPS_PER_EXECUTION = 16

IMAGE_SHAPE = (28, 28, 1)
CLASSES = 10


class FashionHyperModel(keras_tuner.HyperModel):  # type: ignore[misc]  # KerasTuner has no type hints
    """Two convolutions and a dense layer for 28 x 28 images, with a small or a wide search space.

    Args:
        settings: Gives the space, the most epochs a trial may train, the batch size and the seed.
        tune_epochs: False leaves `epochs` out of the space, for an oracle that sets the epochs itself (Hyperband).
        stepped: True gives the learning rate a few fixed values, for an oracle that tries them all (grid search).
    """

    def __init__(self, settings: Settings, *, tune_epochs: bool = True, stepped: bool = False) -> None:
        super().__init__(name="fashion")
        self.settings = settings
        self.tune_epochs = tune_epochs
        self.stepped = stepped

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Returns the compiled model for these hyperparameters."""
        # Every trial starts from the same seed, so its result does not depend on which trials this process ran
        # before it; with several processes, it does not depend on which of them runs it.
        keras.utils.set_random_seed(self.settings.seed)
        keras.config.set_dtype_policy(self.settings.precision)
        if self.tune_epochs:
            self._epochs(hp)
        model = self._wide_network(hp) if self.settings.space == "wide" else self._network(hp)
        model.compile(
            optimizer=keras.optimizers.Adam(self._learning_rate(hp)),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            # PyTorch takes each batch by itself, and Keras refuses more there.
            steps_per_execution=1 if keras.backend.backend() == "torch" else STEPS_PER_EXECUTION,
        )
        # Checkpoints hold Adam's state too. Without its variables Keras skips that state when a trial goes on from a
        # checkpoint (Hyperband's promotion) or is reloaded, and warns.
        model.optimizer.build(model.trainable_variables)
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Trains the model; returns Keras's History.

        `epochs` among the arguments wins over the hyperparameter: that is how Hyperband (and `train.py`) set them.
        """
        if "epochs" not in kwargs:
            kwargs["epochs"] = hp.get("epochs") if self.tune_epochs else self.settings.epochs
        if "batch_size" not in kwargs:
            wide = self.settings.space == "wide"
            kwargs["batch_size"] = hp.get("batch_size") if wide else self.settings.batch_size
        return model.fit(*args, **kwargs)

    def _epochs(self, hp: keras_tuner.HyperParameters) -> int:
        # Fewer than three epochs never win on this data, and such a trial says little about the others.
        most = self.settings.epochs
        return int(hp.Int("epochs", min(3, most), most, default=min(5, most)))

    def _learning_rate(self, hp: keras_tuner.HyperParameters) -> float:
        # Four times less to four times more than Adam's default. Continuous, so that Bayesian search can close in
        # and never repeats itself. For the grid in steps of 2: fine enough to matter, and powers of two keep the
        # default exactly on the grid (without a step KerasTuner takes ten values, and the default besides). Declared
        # last, because grid search varies the last hyperparameter first and a short grid should vary this one.
        if self.settings.space == "wide" and not self.stepped:
            low, high = 1e-4, 1e-2
        else:
            low, high = 2.5e-4, 4e-3
        step = 2 if self.stepped else None
        return float(hp.Float("learning_rate", low, high, step=step, sampling="log", default=1e-3))

    def _network(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The baseline's layers: 225,034 parameters with the default 128 units."""
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input(IMAGE_SHAPE),
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(hp.Choice("units", [64, 128, 256, 512], default=128), activation="relu"),
                self._output(),
            ]
        )

    def _wide_network(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The same network with more to choose, to aim higher; all defaults together are the baseline again."""
        layers = keras.layers
        kernel = hp.Choice("kernel_size", [3, 5], default=3)
        batch_norm = hp.Boolean("batch_norm", default=False)
        model = keras.Sequential([keras.Input(IMAGE_SHAPE)])
        if hp.Boolean("flip", default=False):
            # The mirror image of a garment is a garment of the same class.
            model.add(layers.RandomFlip("horizontal"))
        self._add_block(model, 32, kernel, batch_norm)
        self._add_block(model, 64, kernel, batch_norm)
        third = hp.Boolean("third_block", default=False)
        with hp.conditional_scope("third_block", [True]):
            if third:
                # A kernel of 3 with padding: after two blocks the image is 5 x 5, or 4 x 4 with the larger kernel.
                filters = hp.Choice("third_filters", [64, 128], default=128)
                self._add_block(model, filters, 3, batch_norm, padding="same")
        model.add(layers.Flatten())
        model.add(layers.Dense(hp.Choice("units", [64, 128, 256, 512], default=128), activation="relu"))
        if dropout := hp.Choice("dropout", [0.0, 0.2, 0.35, 0.5], default=0.0):
            model.add(layers.Dropout(dropout))
        model.add(self._output())
        # Declared here and used in `fit`, so that the oracle knows the whole space before the first trial.
        hp.Choice("batch_size", sorted({32, 64, 128, self.settings.batch_size}), default=self.settings.batch_size)
        return model

    @staticmethod
    def _output() -> keras.layers.Layer:
        # In full precision whatever the rest has: probabilities are summed over a batch and put into logarithms.
        return keras.layers.Dense(CLASSES, activation="softmax", dtype="float32")

    @staticmethod
    def _add_block(model: keras.Model, filters: int, kernel: int, batch_norm: bool, padding: str = "valid") -> None:
        """Adds convolution, normalisation if wanted, and pooling to a Sequential model."""
        layers = keras.layers
        model.add(layers.Conv2D(filters, kernel, padding=padding, activation=None if batch_norm else "relu"))
        if batch_norm:
            model.add(layers.BatchNormalization())
            model.add(layers.Activation("relu"))
        model.add(layers.MaxPooling2D())
