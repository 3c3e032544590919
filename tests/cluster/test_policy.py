"""Limits: when an attempt is overdue, and when a budget is spent."""

from __future__ import annotations

import pytest

from cluster.policy import Policy


def test_without_limits_nothing_is_ever_due() -> None:
    assert Policy().overdue(1e9, 1e9) is None
    assert Policy().budget_spent(1e9, 0.0, "max") is None


@pytest.mark.parametrize(
    ("policy", "running", "silent", "reason"),
    [
        (Policy(trial_timeout=10), 10.0, 10.0, None),
        (Policy(trial_timeout=10), 10.1, 0.0, "it took longer than 10 s (--trial-timeout)"),
        (Policy(stall_seconds=5), 100.0, 5.0, None),
        (Policy(stall_seconds=5), 100.0, 5.1, "it got nowhere for 5 s (--stall-seconds)"),
    ],
)
def test_an_attempt_is_overdue(policy: Policy, running: float, silent: float, reason: str | None) -> None:
    assert policy.overdue(running, silent) == reason


@pytest.mark.parametrize(
    ("policy", "seconds", "best", "direction", "spent"),
    [
        (Policy(max_minutes=2), 119.0, None, "min", False),
        (Policy(max_minutes=2), 120.0, None, "min", True),
        (Policy(stop_at=0.9), 0.0, None, "max", False),
        (Policy(stop_at=0.9), 0.0, 0.89, "max", False),
        (Policy(stop_at=0.9), 0.0, 0.9, "max", True),
        (Policy(stop_at=0.1), 0.0, 0.11, "min", False),
        (Policy(stop_at=0.1), 0.0, 0.05, "min", True),
        (Policy(stop_at=0.1), 0.0, float("nan"), "min", False),
    ],
)
def test_a_budget_is_spent(policy: Policy, seconds: float, best: float | None, direction: str, spent: bool) -> None:
    assert (policy.budget_spent(seconds, best, direction) is not None) == spent  # type: ignore[arg-type]
