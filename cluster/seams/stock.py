"""KerasTuner's own messages, for stock clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StockProtos:
    """KerasTuner's generated modules: messages of the service, and of its objects."""

    service: Any
    objects: Any


def stock_protos() -> StockProtos:
    """KerasTuner's protos, in the version that this environment's protobuf takes."""
    from keras_tuner.src import protos

    return StockProtos(protos.get_service(), protos.get_proto())


def trial_from_proto(proto: Any) -> Any:
    """The trial in a stock client's message."""
    from keras_tuner.engine import trial as trial_module

    trial = trial_module.Trial.from_proto(proto)
    trial.hyperparameters = _parents_first(trial.hyperparameters)
    return trial


def space_from_proto(proto: Any) -> Any:
    """The space in a stock client's message."""
    import keras_tuner

    return _parents_first(keras_tuner.HyperParameters.from_proto(proto))


def empty_trial(space: Any, status: str) -> Any:
    """A trial that says only that there is none."""
    from keras_tuner.engine import trial as trial_module

    return trial_module.Trial(space, trial_id="none", status=status)


def _parents_first(hyperparameters: Any) -> Any:
    """Puts each hyperparameter after those it depends on: stock messages group them by type and lose the order."""
    import keras_tuner

    ordered = keras_tuner.HyperParameters()
    waiting = list(hyperparameters.space)
    while waiting:
        known = {hp.name for hp in ordered.space}
        ready = [hp for hp in waiting if all(condition.name in known for condition in hp.conditions)]
        ordered.merge(ready or waiting)
        waiting = [hp for hp in waiting if hp not in ready] if ready else []
    ordered.values = hyperparameters.values
    return ordered
