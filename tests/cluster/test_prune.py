"""The rules by which trials are stopped early, over numbers alone."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.prune import RULES, WARM_UP, Halving, Median, Pruner, make

values = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf, None])
# What trials report, in the order in which they do: which trial, and the objective after its next epoch.
reports = st.lists(st.tuples(st.integers(0, 7), values), max_size=80)
rules = st.sampled_from(RULES)
directions = st.sampled_from(["min", "max"])


def told(pruner: Pruner, told: Sequence[tuple[int, float | None]], of: int = 0) -> list[str | None]:
    """The answers to some reports."""
    seen: dict[int, int] = {}
    found = []
    for trial, value in told:
        seen[trial] = seen.get(trial, 0) + 1
        found.append(pruner.report(str(trial), seen[trial], value, of))
    return found


def cost(value: float | None, direction: str) -> float:
    if value is None or not math.isfinite(value):
        return math.inf
    return -value if direction == "max" else value


@given(reports, rules, directions, st.integers(1, 3), st.integers(2, 4))
def test_the_best_so_far_is_never_stopped(
    given: list[tuple[int, float | None]], rule: str, direction: str, least: int, factor: int
) -> None:
    """Not at the moment at which it is the best of all."""
    pruner = make(rule, direction, least, factor)
    best: dict[int, float] = {}
    stopped: set[int] = set()
    for (trial, value), answer in zip(given, told(pruner, given), strict=True):
        best[trial] = min(best.get(trial, math.inf), cost(value, direction))
        if answer is not None and trial not in stopped:
            stopped.add(trial)
            assert best[trial] > min(best.values())


@given(reports, rules, st.integers(1, 3), st.integers(2, 4))
def test_both_directions_are_the_same(
    given: list[tuple[int, float | None]], rule: str, least: int, factor: int
) -> None:
    mirrored = [(trial, None if value is None else -value) for trial, value in given]
    assert told(make(rule, "min", least, factor), given) == told(make(rule, "max", least, factor), mirrored)


@given(reports, rules)
def test_the_same_reports_give_the_same_answers(given: list[tuple[int, float | None]], rule: str) -> None:
    assert told(make(rule, "max", 1, 3), given) == told(make(rule, "max", 1, 3), given)


@given(reports, rules, directions)
def test_a_trial_that_is_to_stop_is_so_for_good(
    given: list[tuple[int, float | None]], rule: str, direction: str
) -> None:
    stopped: dict[int, str] = {}
    for (trial, _), answer in zip(given, told(make(rule, direction, 1, 2), given), strict=True):
        if trial in stopped:
            assert answer == stopped[trial]
        elif answer is not None:
            stopped[trial] = answer


@given(st.lists(values, min_size=1, max_size=30), rules, directions, st.randoms())
def test_an_answer_does_not_depend_on_the_order_of_those_before(
    others: list[float | None], rule: str, direction: str, draw: random.Random
) -> None:
    mixed = list(others)
    draw.shuffle(mixed)
    answers = set()
    for order in (others, mixed):
        pruner = make(rule, direction, 1, 3)
        for number, value in enumerate(order):
            pruner.report(f"other {number}", 1, value)
        answers.add(pruner.report("last", 1, 0.0))
    assert len(answers) == 1


@pytest.mark.parametrize("rule", RULES)
def test_values_that_are_no_number_are_the_worst(rule: str) -> None:
    for value in (math.nan, math.inf, -math.inf, None):
        pruner = make(rule, "max", 1, 3)
        for number in range(WARM_UP):
            pruner.report(str(number), 1, -1e300)
        assert pruner.report("bad", 1, value) is not None


@pytest.mark.parametrize("rule", RULES)
def test_an_epoch_that_is_reported_again_counts_once(rule: str) -> None:
    """An attempt after a lost one may begin with epochs that were reported."""
    once, twice = make(rule, "max", 1, 3), make(rule, "max", 1, 3)
    for number in range(9):
        value = (number * 5 % 9) / 10
        expected = once.report(str(number), 1, value)
        for again in (value, 0.99, 0.0):  # what it comes to the second time does not matter
            assert twice.report(str(number), 1, again) == expected


@pytest.mark.parametrize("rule", RULES)
def test_the_last_epoch_stops_nothing(rule: str) -> None:
    """It counts for the others all the same."""
    pruner = make(rule, "max", 1, 3)
    assert told(pruner, [(n, 1.0 - n / 10) for n in range(9)], of=1) == [None] * 9
    assert pruner.report("another", 1, 0.0, of=2) is not None


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_judged_before_the_least_number_of_epochs(rule: str) -> None:
    pruner = make(rule, "max", 3, 3)
    for epochs in (1, 2):
        for number in range(9):
            assert pruner.report(str(number), epochs, 1.0 - number / 10) is None
    for number in range(8):
        pruner.report(str(number), 3, 1.0 - number / 10)
    assert pruner.report("8", 3, 0.0) is not None


# --- asha


def test_the_rungs() -> None:
    """After 2, 6 and 18 epochs one that falls behind is stopped; between them none is."""
    for rung in (2, 6, 18):
        pruner = Halving("max", 2, 3)
        for epochs in range(1, 19):
            pruner.report("good", epochs, epochs / 100)
        answers = [pruner.report("flat", n, min(n, rung - 1) / 100) for n in range(1, 19)]
        assert answers[: rung - 1] == [None] * (rung - 1)
        assert answers[rung - 1] == f"not among the best 1 of 2 after {rung} epochs"


def test_a_rung_without_a_value_is_judged_at_the_next_one() -> None:
    """A metric that is not measured after each epoch, or a report that did not arrive."""
    pruner = Halving("max", 3, 3)
    for epochs in (2, 4, 6):
        assert pruner.report("good", epochs, 0.9) is None
    assert pruner.report("bad", 2, 0.1) is None
    assert pruner.report("bad", 4, 0.1) == "not among the best 1 of 2 after 4 epochs"


def test_a_trial_counts_at_the_highest_rung_that_it_has_come_to() -> None:
    """What it had after 10 epochs is no measure for those who have had 3."""
    pruner = Halving("max", 3, 3)
    pruner.report("unheard of for long", 10, 0.9)
    assert pruner.report("first", 3, 0.1) is None


def test_what_counts_is_the_best_so_far_at_a_rung_too() -> None:
    pruner = Halving("max", 1, 3)
    for epochs in (1, 2, 3):
        pruner.report("good", epochs, 0.5)
    assert [pruner.report("wavers", n, x) for n, x in ((1, 0.6), (2, 0.1), (3, 0.1))] == [None] * 3


def test_equals_go_on() -> None:
    pruner = Halving("min", 1, 2)
    assert told(pruner, [(n, 1.0) for n in range(10)]) == [None] * 10


@given(reports, st.integers(2, 4))
def test_who_goes_on_is_among_the_best(given: list[tuple[int, float | None]], factor: int) -> None:
    """The rule as it is stated, over the first epoch of each trial."""
    first = list(dict(reversed(given)).items())
    pruner = Halving("max", 1, factor)
    before: list[float] = []
    for (_, value), answer in zip(first, told(pruner, first), strict=True):
        own = cost(value, "max")
        before.append(own)
        better = sum(x < own for x in before)
        assert (answer is None) == (better < max(1, len(before) // factor))


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_of_many_about_one_in_so_many_goes_on(factor: int, seed: int) -> None:
    order = list(range(600))
    random.Random(seed).shuffle(order)
    pruner = Halving("max", 1, factor)
    on = sum(pruner.report(str(n), 1, float(n)) is None for n in order)
    # Of the first few more go on than of the rest; and the rest goes by chance: five standard deviations.
    share = 1 / factor
    assert abs(on - 600 * share) < 2 * factor + 5 * math.sqrt(600 * share * (1 - share))


# --- median


@given(st.lists(values, max_size=30), directions)
def test_the_median_of_the_others(given: list[float | None], direction: str) -> None:
    pruner = Median(direction, 1)
    before: list[float] = []
    for number, value in enumerate(given):
        own = cost(value, direction)
        answer = pruner.report(str(number), 1, value)
        worse = len(before) >= WARM_UP and own > statistics.median(before)
        assert (answer is not None) == worse
        before.append(own)


def test_a_trial_is_compared_with_those_that_came_as_far() -> None:
    pruner = Median("max", 1)
    for number in range(WARM_UP):
        pruner.report(str(number), 1, 0.5)
    for number in range(WARM_UP - 1):
        pruner.report(str(number), 2, 0.9)
    assert pruner.report("slow", 1, 0.5) is None
    assert pruner.report("slow", 2, 0.5) is None, "one too few have come to the second epoch"
    pruner.report(str(WARM_UP - 1), 2, 0.9)
    assert pruner.report("as slow", 1, 0.5) is None
    assert pruner.report("as slow", 2, 0.5) == f"worse than the median of {WARM_UP + 1} others after 2 epochs"


def test_what_counts_is_the_best_so_far() -> None:
    pruner = Median("max", 1)
    for number in range(WARM_UP):
        for epochs in (1, 2, 3):
            pruner.report(str(number), epochs, 0.5)
    assert [pruner.report("wavers", n, x) for n, x in ((1, 0.6), (2, 0.1), (3, math.nan))] == [None] * 3
