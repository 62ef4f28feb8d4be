"""PyTorch's layers in NumPy, on one (C, H, W) image in float64: what published networks are compared with."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class TorchLayers:
    """The layers of a state dict, by name, as PyTorch computes them in evaluation mode."""

    epsilon = 1e-5

    def __init__(self, state):
        self.state = {name: array.astype("float64") for name, array in state.items()}

    def padded(self, x, kernel, stride):
        """By half the kernel on every side, as of all convolutions of these networks."""
        return np.pad(x, [(0, 0), *[(kernel // 2, kernel // 2)] * 2])

    def convolution(self, x, name, stride=1):
        """Also a depthwise one, (C, 1, h, w)."""
        weight = self.state[f"{name}.weight"]
        x = self.padded(x, weight.shape[-1], stride)
        windows = sliding_window_view(x, weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
        if weight.shape[1] == 1 < len(x):
            return np.einsum("cij,chwij->chw", weight[:, 0], windows)
        y = np.tensordot(weight, windows, axes=([1, 2, 3], [0, 3, 4]))
        return y + self.state[f"{name}.bias"][:, None, None] if f"{name}.bias" in self.state else y

    def batch_norm(self, x, name):
        gamma, beta, mean, variance = (
            self.state[f"{name}.{kind}"].reshape(-1, 1, 1) for kind in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + self.epsilon) * gamma + beta


def relu(x):
    return np.maximum(x, 0)


def max_pool(x, kernel, stride, padding=0, ceil_mode=False):
    """In ceil mode a last window that begins inside the map (or its padding) is kept, however little it covers."""
    sides = []
    for size in x.shape[1:]:
        reach = size + 2 * padding - kernel
        steps = math.ceil(reach / stride) if ceil_mode else reach // stride
        sides.append((padding, steps * stride + kernel - size - padding))
    x = np.pad(x, [(0, 0), *((before, max(0, after)) for before, after in sides)], constant_values=-np.inf)
    return sliding_window_view(x, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride].max(axis=(3, 4))


def average_pool(x):
    """3x3 at stride 1, padded by one; the padding counts."""
    x = np.pad(x, [(0, 0), (1, 1), (1, 1)])
    return sliding_window_view(x, (3, 3), axis=(1, 2)).mean(axis=(3, 4))


class RandomState(dict):
    """A state dict of random weights in PyTorch's layouts, of a size that keeps activations in bounds."""

    def __init__(self, seed=0):
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def convolution(self, name, *shape, bias=False):
        self.dense(name, *shape, bias=bias)

    def dense(self, name, *shape, bias=True):
        self[f"{name}.weight"] = self.rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape).astype("float32")
        if bias:
            self[f"{name}.bias"] = self.rng.normal(0, 0.2, shape[0]).astype("float32")

    def batch_norm(self, name, channels, tracked=True):
        for kind, low, high in (("weight", 0.7, 1.3), ("bias", -0.3, 0.3), ("running_mean", -0.3, 0.3)):
            self[f"{name}.{kind}"] = self.rng.uniform(low, high, channels).astype("float32")
        self[f"{name}.running_var"] = self.rng.uniform(0.5, 1.5, channels).astype("float32")
        if tracked:
            self[f"{name}.num_batches_tracked"] = np.array(7, "int64")
