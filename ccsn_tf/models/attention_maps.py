"""Where the streams of a trained model look in one another, recomputed beside it: what is saved or exported stays."""

from __future__ import annotations

import dataclasses

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

    The maps that enter the block are read off by a model that ends there and shares the layers.

    Args:
        model: the network.
        inputs: the network's inputs by name, each without the batch's axis, uint8 (K, ...).
    """
    block = last_attention_block(model)
    if block is None:
        return None
    batch = {name: values[None] for name, values in inputs.items()}
    maps = keras.Model(model.input, block.input)(batch, training=False)
    height, width = maps[0].shape[-3:-1]
    segments = len(next(iter(inputs.values())))
    weights = (_of_segments(each, segments, height, width) for each in block.attention_maps(maps))
    joined = block(maps, training=False)
    return Attention(
        *weights, tuple(relative_change(before, after) for before, after in zip(maps, joined, strict=True))
    )


def _of_segments(weights, segments, height, width):
    weights = ops.convert_to_numpy(ops.mean(weights, axis=1))
    positions = height * width
    if len(weights) != segments:  # one attention over all segments of the clip: of each, what it finds in itself
        pairs = weights.reshape(segments, positions, segments, positions)
        weights = np.stack([pairs[k, :, k] for k in range(segments)])
    return weights.reshape(segments, positions, height, width)
