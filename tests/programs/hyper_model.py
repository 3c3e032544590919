"""A KerasTuner program with a HyperModel, a callback, two executions a trial, and reads after the search."""

import keras
import keras_tuner
import numpy

keras.utils.set_random_seed(3)
x = numpy.random.default_rng(3).normal(size=(64, 4)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")


class Counter(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        assert self.epochs == epoch + 1


class Model(keras_tuner.HyperModel):
    def build(self, hp):
        layers = [keras.layers.Input((4,))]
        if hp.Boolean("hidden"):
            with hp.conditional_scope("hidden", [True]):
                layers.append(keras.layers.Dense(hp.Int("units", 2, 8, step=2), activation="relu"))
        model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
        rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
        model.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Choice("batch", [16, 32]), **kwargs)


tuner = keras_tuner.RandomSearch(
    Model(),
    objective="val_accuracy",
    max_trials=4,
    executions_per_trial=2,
    seed=11,
    directory="results",
    project_name="hm",
)
tuner.search(x, y, epochs=2, validation_split=0.25, verbose=0, callbacks=[Counter()])
model = tuner.get_best_models()[0]
trial = tuner.oracle.get_best_trials(1)[0]
print("seen", len(tuner.oracle.trials), "remaining", tuner.remaining_trials)
print("best trial", trial.trial_id, "output", model.predict(x, verbose=0).shape)
tuner.results_summary(1)
