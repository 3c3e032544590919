"""SIGTERM beside Ray: the handler's own exception leaves, whatever Ray makes of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from cluster.ray_backend.signals import own_sigterm


class Told(KeyboardInterrupt):
    """What the handler raises."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def tell(_signum: int, _frame: FrameType | None) -> None:
        raise Told

    before = signal.signal(signal.SIGTERM, tell)
    yield
    assert signal.signal(signal.SIGTERM, before) is tell, "it is back in its place"


def interrupted(number: signal.Signals) -> None:
    with own_sigterm() as take_back:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray starts, and sets a handler of its own
        take_back()
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # as Ray does where it waits


def test_a_plain_interrupt_of_rays_is_the_handlers_again() -> None:
    with pytest.raises(Told):
        interrupted(signal.SIGTERM)


def test_ctrl_c_stays_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted(signal.SIGINT)
    assert caught.type is KeyboardInterrupt
