"""Fewer looks for garbage while Keras is imported.

TensorFlow and Keras make a great many objects when they are imported, none of them garbage, and Python looks through
all of them again and again: a fifth of the time that importing them takes, in each process.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

SPARING = (100_000, 20, 50)


@contextlib.contextmanager
def sparing() -> Iterator[Callable[[], None]]:
    """Looks for garbage seldom, until what this yields is called or this is left; a program's own choice stays."""
    before = gc.get_threshold()
    gc.set_threshold(*SPARING)

    def as_before() -> None:
        if gc.get_threshold() == SPARING:
            gc.set_threshold(*before)

    try:
        yield as_before
    finally:
        as_before()
