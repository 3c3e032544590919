"""Points of the unit cube and KerasTuner's values, over spaces that hypothesis makes up."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import keras_tuner
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.oracles.latent import coordinates, point_at, values_at

UNIT = st.floats(0.0, 1.0) | st.sampled_from([0.0, 1.0, math.nextafter(1.0, 0.0)])


@st.composite
def spaces(draw: st.DrawFn) -> Any:
    """A space of some hyperparameters, of which the later may depend on the earlier."""
    hps = keras_tuner.HyperParameters()
    for number in range(draw(st.integers(1, 6))):
        parents = [hp for hp in hps.space if isinstance(hp.default, bool | str)]
        with contextlib.ExitStack() as scopes:
            if bool(parents) and draw(st.booleans()):
                parent = draw(st.sampled_from(parents))
                for condition in parent.conditions:  # a parent may have parents
                    scopes.enter_context(hps.conditional_scope(condition.name, condition.values))
                choices = [True, False] if isinstance(parent.default, bool) else list(parent.values)
                scopes.enter_context(hps.conditional_scope(parent.name, [draw(st.sampled_from(choices))]))
            declare(draw, hps, f"part/{number}.x")
    return hps


def declare(draw: Callable[..., Any], hps: Any, name: str) -> None:
    kind = draw(st.sampled_from(["choice", "boolean", "fixed", "int", "float"]))
    if kind == "choice":
        hps.Choice(name, draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)))
    elif kind == "boolean":
        hps.Boolean(name)
    elif kind == "fixed":
        hps.Fixed(name, draw(st.integers(0, 9)))
    else:
        sampling = draw(st.sampled_from(["linear", "log", "reverse_log"]))
        if kind == "int":
            low = draw(st.integers(1, 50))
            step = draw(st.none() | st.integers(2, 5))
            hps.Int(name, low, low + draw(st.integers(0, 1000)), step=step, sampling=sampling)
        else:
            low = draw(st.floats(1e-6, 10.0))
            step = draw(st.none() | st.floats(1.5, 4.0))
            hps.Float(name, low, low * draw(st.floats(1.0, 1e5)), step=step, sampling=sampling)


def is_a_value(hp: Any, value: Any) -> bool:
    """Whether KerasTuner could have given this value to a hyperparameter."""
    if not hasattr(hp, "min_value"):
        return value in (
            hp.values if hasattr(hp, "values") else [True, False] if hp.default in (True, False) else [hp.value]
        )
    if not hp.min_value * (1 - 1e-9) <= value <= hp.max_value * (1 + 1e-9):
        return False
    if hp.step is None:
        return isinstance(value, int if isinstance(hp.min_value, int) and type(hp).__name__ == "Int" else float)
    steps = {hp.prob_to_value((index + 0.5) / hp._get_n_values()) for index in range(hp._get_n_values())}
    return any(value == other or math.isclose(value, other, rel_tol=1e-9) for other in steps)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_point_is_a_point_of_kerastuners_space(data: st.DataObject) -> None:
    space = data.draw(spaces())
    point = {name: data.draw(UNIT) for name in coordinates(space.space)}
    values = values_at(space, point)
    trial = space.copy()
    trial.values = values
    for hp in trial.space:
        if trial.is_active(hp):
            assert is_a_value(hp, values[hp.name]), (hp.get_config(), values[hp.name])
    active = {hp.name for hp in trial.space if trial.is_active(hp)}
    assert set(values) == active, "conditions hold: what is active has a value, and nothing else has"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_values_have_a_point_that_gives_them_again(data: st.DataObject) -> None:
    space = data.draw(spaces())
    values = values_at(space, {name: data.draw(UNIT) for name in coordinates(space.space)})
    point = point_at(space, values)
    assert set(point) == set(coordinates(space.space))
    assert all(0.0 <= at <= 1.0 for at in point.values())
    again = values_at(space, point)
    assert set(again) == set(values)
    for name, value in values.items():
        same = again[name] == value
        assert same or (isinstance(value, float) and math.isclose(again[name], value, rel_tol=1e-6, abs_tol=1e-9))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_both_bounds_are_reached(data: st.DataObject) -> None:
    hps = keras_tuner.HyperParameters()
    declare(data.draw, hps, "x")
    [hp] = hps.space
    [name] = coordinates(hps.space)
    low, high = (values_at(hps, {name: at})["x"] for at in (0.0, 1.0))
    if hasattr(hp, "min_value"):
        bounds = [hp.min_value, hp.max_value]
        if hp.step is not None:  # the last step may fall short of the bound, as it does in KerasTuner
            ends = (0.0, 1.0 - 1e-12)
            bounds = sorted(hp.prob_to_value(at) for at in ends)
        found = sorted([low, high])
        assert all(math.isclose(x, y, rel_tol=1e-9) for x, y in zip(found, bounds, strict=True))
    elif hasattr(hp, "values"):
        assert {low, high} == {hp.values[0], hp.values[-1]}


def test_a_coordinate_that_is_missing_means_the_default() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Int("x", 1, 9, default=4)
    assert values_at(hps, {}) == {"x": 4}


def test_names_that_ray_would_take_apart() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Int("a/b", 1, 9)
    hps.Int("a.b", 1, 9)
    assert list(coordinates(hps.space)) == ["u:a:b", "u:a:b'"]
