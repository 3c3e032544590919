"""KerasTuner's objects as the JSON that KerasTuner saves, and back. Imports KerasTuner only when called.

What comes from the network may be anything: what is no such object is a `UsageError`, which says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, TypeVar

from cluster.chief import Description
from cluster.errors import UsageError
from cluster.rpc import cluster_pb2 as pb
from cluster.transfer.entry import Entry

Made = TypeVar("Made")
STATUSES = ("RUNNING", "COMPLETED", "INVALID", "FAILED", "STOPPED", "IDLE")


def trial_to_json(trial: Any) -> str:
    """A `Trial`, whole: order of the space, metrics, score, message."""
    return json.dumps(trial.get_state())


def trial_from_json(text: str) -> Any:
    """The `Trial` that `trial_to_json` wrote."""
    from keras_tuner.engine import trial as trial_module

    def made(state: Any) -> Any:
        trial = trial_module.Trial.from_state(state)
        if not (isinstance(trial.trial_id, str) and trial.status in STATUSES):
            raise ValueError("its id or its status is none")
        return trial

    return _parsed(text, "trial", made)


def space_to_json(hyperparameters: Any) -> str:
    """A `HyperParameters`, in its order."""
    return json.dumps(hyperparameters.get_config())


def space_from_json(text: str) -> Any:
    """The `HyperParameters` that `space_to_json` wrote."""
    import keras_tuner

    def made(config: Any) -> Any:
        for hp in config["space"]:
            _check_types(hp["class_name"], hp["config"])
        return keras_tuner.HyperParameters.from_config(config)

    return _parsed(text, "space", made)


def _check_types(kind: str, config: dict[str, Any]) -> None:
    """KerasTuner takes anything for a hyperparameter's name and bounds, and stumbles over it when it is sent on."""
    number = {"Int": (int,), "Float": (int, float)}.get(kind)
    bounds = [config.get(name) for name in ("min_value", "max_value", "step")]
    if not isinstance(config["name"], str) or not isinstance(config.get("sampling"), str | None):
        raise ValueError("a name or a sampling is no text")
    if number and not all(x is None or (isinstance(x, number) and not isinstance(x, bool)) for x in bounds):
        raise ValueError(f"the bounds of {config['name'][:50]!r} are no numbers of its kind")


def files_of(entries: Iterable[Entry]) -> list[pb.TrialFile]:
    """Entries, as they travel."""
    return [pb.TrialFile(name=entry.name, size=entry.size, digest=entry.digest) for entry in entries]


def entries_of(files: Iterable[pb.TrialFile]) -> list[Entry]:
    """The entries that `files_of` has packed; unchecked."""
    return [Entry(file.name, file.size, file.digest) for file in files]


def description_to_json(description: Description) -> str:
    """A `Description`."""
    return json.dumps(asdict(description))


def description_from_json(text: str) -> Description:
    """The `Description` that `description_to_json` wrote."""

    def made(fields: Any) -> Description:
        found = Description(**{**fields, "space": tuple(fields["space"])})
        for hp in found.space:
            if not (
                isinstance(hp, dict) and isinstance(hp.get("config"), dict) and isinstance(hp["config"]["name"], str)
            ):
                raise ValueError("a hyperparameter in it is none")
        return found

    return _parsed(text, "description of a search", made)


def _parsed(text: str, what: str, made: Callable[[Any], Made]) -> Made:
    """What is made of JSON.

    Raises:
        UsageError: nothing can be.
    """
    try:
        return made(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UsageError(f"what came is no {what}: {type(error).__name__}: {str(error)[:200]}") from error
