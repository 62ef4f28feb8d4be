"""What watches a stream: a model in two functions, of a snippet and of snippets' features."""

from collections.abc import Callable
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from ccsn_tf.config import Config
from ccsn_tf.evaluation.metrics import with_scores
from ccsn_tf.models.attention_maps import Attention, attention_reader
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.folding import fold_batch_norms
from ccsn_tf.models.snippets import snippet_parts

Features = dict[str, np.ndarray]


class StreamModel(Protocol):
    """A model in two functions.

    Attributes:
        classes: names in label order.
        config: how frames and flow are made for it (`data`, `model`); `eval.test_segments` snippets fill a window.
        attention: from a snippet's inputs, uint8 (1, ...), its `Attention`; None where there is none, or none is to be
            had.
    """

    classes: tuple[str, ...]
    config: Config
    attention: Callable[[dict[str, np.ndarray]], Attention] | None

    def snippet(self, inputs: dict[str, np.ndarray]) -> Features:
        """From N snippets, {name: uint8 (N, ...)} (`InputForm`), their features: float32 (N, D) of each stream."""

    def answer(self, features: Features) -> dict[str, np.ndarray]:
        """From features (B, K, D) of any K: `scores`, `spatial_scores`, `temporal_scores` (B, classes), which sum to 1,
        and `spatial_embedding`, `temporal_embedding` (B, E); perhaps `logits`, the fused ones, for `rejection_of`."""


class TrainedModel:
    """A `StreamModel` of a trained network in this process, without its normalisations (`fold_batch_norms`), which
    takes a sixth less time on a CPU.

    Raises:
        UserError: it has no features of a snippet alone (`snippet_parts`).
    """

    def __init__(self, model: CCSN, config: Config):
        self.classes, self.config = tuple(model.classes), config
        self.attention = attention_reader(model, tf.function)
        functions = stream_functions(fold_batch_norms(model))
        self._snippet, self._answer = (tf.function(each).get_concrete_function(specs) for each, specs in functions)

    def snippet(self, inputs):
        """See `StreamModel`."""
        return _arrays(self._snippet(_tensors(inputs)))

    def answer(self, features):
        """See `StreamModel`."""
        return with_scores(_arrays(self._answer(_tensors(features))))


def stream_functions(network: keras.Model) -> list[tuple[Callable, dict[str, tf.TensorSpec]]]:
    """The two functions of a `StreamModel` for tensors, without scores, each with the specs of its inputs.

    Raises:
        UserError: see `snippet_parts`.
    """
    snippets, heads = snippet_parts(network)

    def snippet(inputs):
        found = snippets({name: tensor[:, None] for name, tensor in inputs.items()})
        return {stream: feature[:, 0] for stream, feature in found.items()}

    ones = {name: tf.TensorSpec((None, *each.shape[2:]), each.dtype, name) for name, each in network.input.items()}
    features = snippets.compute_output_spec(network.input)
    clips = {name: tf.TensorSpec((None, None, each.shape[-1]), each.dtype, name) for name, each in features.items()}
    return [(snippet, ones), (heads, clips)]


def _tensors(arrays):
    return {name: tf.constant(array) for name, array in arrays.items()}


def _arrays(tensors):
    return {name: tensor.numpy() for name, tensor in tensors.items()}
