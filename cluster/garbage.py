"""Fewer and shorter looks for garbage.

TensorFlow and Keras make a great many objects when they are imported, none of them garbage, and Python looks through
all of them again and again: a fifth of the time that importing them takes, in each process. Afterwards each whole look
would stop all threads for some 300 ms, a chief's grants too: what is there by then is left out of it.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

SPARING = (100_000, 20, 50)


@contextlib.contextmanager
def sparing() -> Iterator[Callable[[], None]]:
    """Looks for garbage seldom, until what this yields is called or this is left; a program's own choice stays.

    What this yields is called when all is imported. Python then looks no longer through what there is, until
    this is left.
    """
    before = gc.get_threshold()
    frozen = gc.get_freeze_count()

    def as_before() -> None:
        if gc.get_threshold() == SPARING:
            gc.set_threshold(*before)

    def imported() -> None:
        gc.freeze()
        as_before()

    gc.set_threshold(*SPARING)
    try:
        yield imported
    finally:
        as_before()
        if not frozen:
            gc.unfreeze()
