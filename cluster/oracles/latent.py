"""From points of the unit cube, which searchers of any kind understand, to KerasTuner's hyperparameters.

Each hyperparameter has one coordinate in [0, 1], and KerasTuner's own `prob_to_value` gives its value: steps,
logarithms, reverse logarithms, bounds and probabilities are KerasTuner's to the letter. Conditions are followed in the
order of the space: the coordinate of a hyperparameter that is not active means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PREFIX = "u:"  # keeps the names apart from what else Ray's configuration holds


def coordinates(space: list[Any]) -> dict[str, Any]:
    """The name of each coordinate, with its hyperparameter; one that is declared under two conditions has two.

    Args:
        space: KerasTuner's hyperparameters, in their order.
    """
    found: dict[str, Any] = {}
    for hp in space:
        name = PREFIX + re.sub(r"[/.]", ":", hp.name)  # Ray takes "/" and "." for nested names
        while name in found:
            name += "'"
        found[name] = hp
    return found


def values_at(space: Any, point: Mapping[str, float]) -> dict[str, Any]:
    """The values of the hyperparameters that are active at a point.

    Args:
        space: KerasTuner's `HyperParameters`.
        point: A coordinate in [0, 1] for each name of `coordinates(space.space)`; without one it is the default.

    Returns:
        What KerasTuner keeps as `HyperParameters.values`.
    """
    hps = space.copy()
    hps.values = {}
    for name, hp in coordinates(hps.space).items():
        if hps.is_active(hp):
            at = point.get(name)
            hps.values[hp.name] = hp.default if at is None else value_of(hp, at)
    return dict(hps.values)


def point_at(space: Any, values: Mapping[str, Any]) -> dict[str, float]:
    """A point whose values are these; what has no value, or is not active, lies where its default does.

    Raises:
        ValueError: the space has no such value.
    """
    hps = space.copy()
    hps.values = dict(values)
    point = {}
    for name, hp in coordinates(hps.space).items():
        value = values[hp.name] if hp.name in values and hps.is_active(hp) else hp.default
        point[name] = place_of(hp, value)
    return point


def count(hp: Any) -> int | None:
    """How many values a hyperparameter has, which share the coordinate evenly; None where they have no number.

    An `Int` on a logarithmic scale and without a step has none: its values take shares that differ.
    """
    if hasattr(hp, "min_value"):
        if hp.min_value == hp.max_value:
            return 1
        if hp.step is None:
            return None
        first = hp.max_value if hp.sampling == "reverse_log" else hp.min_value
        return round(0.5 / _prob(hp, first))  # the middle of the first of them
    return len(hp.values)


def is_ordered(hp: Any) -> bool:
    """Whether values that lie close to each other are alike."""
    return hasattr(hp, "min_value") or bool(getattr(hp, "ordered", False))


def value_of(hp: Any, at: float) -> Any:
    """The value at a coordinate, which is taken into [0, 1].

    KerasTuner means its probabilities to be below 1, and at the ends its powers may miss a bound by a hair.
    """
    value = hp.prob_to_value(min(1.0, max(0.0, float(at))))
    bounds = getattr(hp, "min_value", None), getattr(hp, "max_value", None)
    if bounds[0] is None or bounds[1] is None or hp.step is not None:
        return value
    return min(max(value, bounds[0]), bounds[1])


def place_of(hp: Any, value: Any) -> float:
    """The coordinate of a value, in [0, 1]: the middle of its share.

    Raises:
        ValueError: there is no such value.
    """
    return min(1.0, max(0.0, _prob(hp, value)))


def _prob(hp: Any, value: Any) -> float:
    """KerasTuner counts whole steps up to a value, and misses the last of them by a hair."""
    stepped = getattr(hp, "step", None) is not None and hp.sampling == "linear"
    return float(hp.value_to_prob(value + hp.step / 2 if stepped else value))
