"""Connection blocks with random weights, and plain NumPy counterparts of the parts that they are made of."""

import numpy as np
from layers import features, randomise, weights_by_name

SEGMENT, CLIP = (2, 3, 4, 8), (1, 2, 3, 2, 8)  # (N, H, W, C) of a segment, (N, K, H, W, C) of a clip


def pair(shape):
    """Maps of both streams."""
    return [features(*shape), features(*shape, seed=1)]


def made(block, maps):
    """The weights of `block` by name, random, once it is built for these maps."""
    block(maps)
    randomise(block)
    return weights_by_name(block)


def dense(weights, name, x):
    """The 1x1 convolution `name`."""
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def norm(weights, name, x):
    """Batch normalisation at test time."""
    gamma, beta, mean, variance = (
        weights[f"{name}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta


def joined(weights, spatial, temporal, to_spatial, to_temporal):
    """The block's outputs, given the messages."""
    return spatial + norm(weights, "spatial_norm", to_spatial), temporal + norm(weights, "temporal_norm", to_temporal)
