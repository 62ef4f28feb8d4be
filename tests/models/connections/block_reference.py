"""Plain NumPy counterparts of the parts that connection blocks are made of."""

import numpy as np


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
