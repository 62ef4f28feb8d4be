"""The exponential moving average of a model's weights, which generalises better than the last ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf


class WeightAverage:
    """Follows weights w by a <- a + (1 - m_t)(w - a), with m_t = min(m, (1 + t) / (10 + t)) after t updates.

    The smaller momentum of the first updates keeps a short training from ending at its start. BatchNormalization's
    statistics are not weights and are left as they are.

    Args:
        weights: the trainable variables, in any strategy's scope.
        momentum: m, below 1.
    """

    def __init__(self, weights: Sequence[keras.Variable], momentum: float):
        self._weights, self._momentum = list(weights), momentum
        self._averages = [keras.Variable(w.numpy(), trainable=False, name=f"{w.name}_average") for w in self._weights]
        self._updates = keras.Variable(0, dtype="int64", trainable=False, name="average_updates")

    @property
    def variables(self) -> list[keras.Variable]:
        """The averages and the count of updates: a checkpoint holds them."""
        return [*self._averages, self._updates]

    def update(self, strategy: tf.distribute.Strategy) -> None:
        """One step towards the current weights; to be called outside of the replicas."""
        count = tf.cast(self._updates.value, tf.float32)
        step = 1.0 - tf.minimum(self._momentum, (1.0 + count) / (10.0 + count))
        for average, weight in zip(self._averages, self._weights, strict=True):
            strategy.extended.update(average.value, lambda a, w: a.assign_add(step * (w - a)), args=(weight.value,))
        self._updates.assign_add(1)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights inside the block, and its own, bit for bit, after it."""
        kept = [weight.numpy() for weight in self._weights]
        for weight, average in zip(self._weights, self._averages, strict=True):
            weight.assign(average.value)
        try:
            yield
        finally:
            for weight, value in zip(self._weights, kept, strict=True):
                weight.assign(value)
