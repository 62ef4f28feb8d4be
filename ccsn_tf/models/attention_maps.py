"""Where the streams of a trained model look in one another, recomputed beside it: what is saved or exported stays."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.connections.attention import AttentionBlock
from ccsn_tf.models.connections.block import relative_change


@dataclasses.dataclass(frozen=True)
class Attention:
    """Of K segments at one connection block, averaged over its heads; maps are (H, W), queries are row by row.

    Attributes:
        to_spatial: float32 (K, H*W, H, W): what each position of the spatial stream takes from where in the temporal
            one, in the same segment. The weights of a query add up to one, or to less where the block attends over the
            whole clip (`span="clip"`).
        to_temporal: likewise, from the temporal stream's positions into the spatial one.
        changes: size of the message to the spatial and to the temporal stream, relative to that stream's maps: how much
            comes of the attention.
    """

    to_spatial: np.ndarray
    to_temporal: np.ndarray
    changes: tuple[float, float]


def last_attention_block(model: CCSN) -> AttentionBlock | None:
    """The connection block nearest to the output that attends; None for the kinds of connection that do not."""
    blocks = [layer for layer in model.layers if isinstance(layer, AttentionBlock)]
    return blocks[-1] if blocks else None


def clip_attention(model: CCSN, inputs: dict[str, np.ndarray]) -> Attention | None:
    """The attention of `last_attention_block` for one clip; None where there is none.

    Args:
        model: the network.
        inputs: the network's inputs by name, each without the batch's axis, uint8 (K, ...).
    """
    attention_of = attention_reader(model)
    return attention_of and attention_of(inputs)


def attention_reader(model: CCSN, compiled: Callable = lambda function: function) -> Callable[..., Attention] | None:
    """`clip_attention` as a function of a clip's inputs, for many clips of one network.

    The maps that enter the block are read off by a model that ends there and shares the layers.

    Args:
        model: the network.
        compiled: makes a function of tensors a faster one, as `tf.function` does.
    """
    block = last_attention_block(model)
    if block is None:
        return None
    entering = keras.Model(model.input, block.input)

    @compiled
    def look(batch):
        maps = entering(batch, training=False)
        weights = [ops.mean(each, axis=1) for each in block.attention_maps(maps)]
        return maps, weights, block(maps, training=False)

    def attention_of(inputs):
        maps, weights, joined = look({name: values[None] for name, values in inputs.items()})
        height, width = maps[0].shape[-3:-1]
        segments = len(next(iter(inputs.values())))
        return Attention(
            *(_of_segments(each, segments, height, width) for each in weights),
            tuple(relative_change(before, after) for before, after in zip(maps, joined, strict=True)),
        )

    return attention_of


def _of_segments(weights, segments, height, width):
    weights, positions = ops.convert_to_numpy(weights), height * width
    if len(weights) != segments:  # one attention over all segments of the clip: of each, what it finds in itself
        pairs = weights.reshape(segments, positions, segments, positions)
        weights = np.stack([pairs[k, :, k] for k in range(segments)])
    return weights.reshape(segments, positions, height, width)
