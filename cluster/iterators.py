"""`tf.data` iterators that end at once.

TensorFlow (2.21) tunes each iterator's buffers in a thread that looks again after 10 ms, 20 ms, 40 ms and so on, and
whoever drops the iterator waits until it looks next: Keras does so after each epoch and each `fit`, and an epoch of 3 s
takes 5.1 s. What Keras makes of arrays has all that the tuning decides turned off already, but for the size of a
buffer: there it is turned off. A pipeline of the program's own, which TensorFlow makes parallel by it, is left alone.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def untuned(dataset_class: Any) -> Iterator[None]:
    """While open, iterators of datasets without TensorFlow's default optimizations have no thread that tunes them.

    Parallel maps then use as many threads as the process has; elements and their order are the same.

    Args:
        dataset_class: `tf.data.Dataset`.
    """
    original = dataset_class.__iter__

    @functools.wraps(original)
    def __iter__(self: Any) -> Any:
        import tensorflow as tf

        if not tf.executing_eagerly():  # a loop in a graph, which is no iterator that is dropped
            return original(self)
        options = self.options()
        is_plain = options.experimental_optimization.apply_default_optimizations is False
        if is_plain and options.autotune.enabled is None:
            off = type(options)()  # it is merged with those that the dataset has
            off.autotune.enabled = False
            self = self.with_options(off)
        return original(self)

    dataset_class.__iter__ = __iter__
    try:
        yield
    finally:
        dataset_class.__iter__ = original
