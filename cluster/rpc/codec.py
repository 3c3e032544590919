"""KerasTuner's objects as the JSON that KerasTuner saves, and back. Imports KerasTuner only when called."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from cluster.chief import Description


def trial_to_json(trial: Any) -> str:
    """A `Trial`, whole: order of the space, metrics, score, message."""
    return json.dumps(trial.get_state())


def trial_from_json(text: str) -> Any:
    """The `Trial` that `trial_to_json` wrote."""
    from keras_tuner.engine import trial as trial_module

    return trial_module.Trial.from_state(json.loads(text))


def space_to_json(hyperparameters: Any) -> str:
    """A `HyperParameters`, in its order."""
    return json.dumps(hyperparameters.get_config())


def space_from_json(text: str) -> Any:
    """The `HyperParameters` that `space_to_json` wrote."""
    import keras_tuner

    return keras_tuner.HyperParameters.from_config(json.loads(text))


def description_to_json(description: Description) -> str:
    """A `Description`."""
    return json.dumps(asdict(description))


def description_from_json(text: str) -> Description:
    """The `Description` that `description_to_json` wrote."""
    fields = json.loads(text)
    return Description(**{**fields, "space": tuple(fields["space"])})
