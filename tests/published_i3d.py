"""I3D as DeepMind published it: random TensorFlow variables, and a forward pass in NumPy."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

# One row a block: name, channels in, 1x1x1, two branches of a reduction and a 3x3x3, projection. Not derived.
TABLE = (
    ("Mixed_3b", 192, 64, (96, 128), (16, 32), 32),
    ("Mixed_3c", 256, 128, (128, 192), (32, 96), 64),
    ("Mixed_4b", 480, 192, (96, 208), (16, 48), 64),
    ("Mixed_4c", 512, 160, (112, 224), (24, 64), 64),
    ("Mixed_4d", 512, 128, (128, 256), (24, 64), 64),
    ("Mixed_4e", 512, 112, (144, 288), (32, 64), 64),
    ("Mixed_4f", 528, 256, (160, 320), (32, 128), 128),
    ("Mixed_5b", 832, 256, (160, 320), (32, 128), 128),
    ("Mixed_5c", 832, 384, (192, 384), (48, 128), 128),
)


def names_of(block):
    """The block's six convolutions, in the order of the table's columns."""
    second = "Branch_2/Conv3d_0a_3x3" if block == "Mixed_5b" else "Branch_2/Conv3d_0b_3x3"
    branches = ("Branch_0/Conv3d_0a_1x1", "Branch_1/Conv3d_0a_1x1", "Branch_1/Conv3d_0b_3x3")
    return [f"{block}/{name}" for name in (*branches, "Branch_2/Conv3d_0a_1x1", second, "Branch_3/Conv3d_0b_1x1")]


def random_variables(scope="RGB/inception_i3d", channels=3, classes=400, seed=0):
    """{name: array} of a checkpoint."""
    rng, variables = np.random.default_rng(seed), {}

    def unit(name, channels_in, channels_out, kernel):
        shape = (kernel, kernel, kernel, channels_in, channels_out)
        variables[f"{scope}/{name}/conv_3d/w"] = rng.normal(0, math.sqrt(2 / math.prod(shape[:4])), shape)
        for kind, low, high in (("beta", -0.3, 0.3), ("moving_mean", -0.3, 0.3), ("moving_variance", 0.5, 1.5)):
            variables[f"{scope}/{name}/batch_norm/{kind}"] = rng.uniform(low, high, (1, 1, 1, 1, channels_out))

    unit("Conv3d_1a_7x7", channels, 64, 7)
    unit("Conv3d_2b_1x1", 64, 64, 1)
    unit("Conv3d_2c_3x3", 64, 192, 3)
    for block, channels_in, single, first, second, projection in TABLE:
        inputs = (channels_in, channels_in, first[0], channels_in, second[0], channels_in)
        outputs = (single, *first, *second, projection)
        for name, *widths in zip(names_of(block), inputs, outputs, strict=True):
            unit(name, *widths, 3 if name.endswith("3x3") else 1)
    name = f"{scope}/Logits/Conv3d_0c_1x1/conv_3d"
    variables[f"{name}/w"] = rng.normal(0, 0.05, (1, 1, 1, 1024, classes))
    variables[f"{name}/b"] = rng.normal(0, 0.2, classes)
    return {name: array.astype("float32") for name, array in variables.items()}


def windows(x, kernel, stride, fill):
    """(T, H, W, C) to its windows, (t, h, w, C, kt, kh, kw), under TensorFlow's 'same' rule."""
    margins = []
    for size, width, step in zip(x.shape, kernel, stride, strict=False):
        total = max((-(-size // step) - 1) * step + width - size, 0)
        margins.append((total // 2, total - total // 2))
    x = np.pad(x, [*margins, (0, 0)], constant_values=fill)
    return sliding_window_view(x, kernel, axis=(0, 1, 2))[:: stride[0], :: stride[1], :: stride[2]]


def max_pool(x, kernel, stride):
    return windows(x, kernel, stride, -np.inf).max(axis=(4, 5, 6))


def forward(variables, clip, scope="RGB/inception_i3d"):
    """(T, H, W, C) -> the last block's map (t, h, w, 1024)."""

    def unit(x, name, stride=1):
        kernel = variables[f"{scope}/{name}/conv_3d/w"].astype("float64")
        seen = windows(x, kernel.shape[:3], (stride,) * 3, 0)
        y = np.tensordot(seen, kernel, axes=([4, 5, 6, 3], [0, 1, 2, 3]))
        beta, mean, variance = (
            variables[f"{scope}/{name}/batch_norm/{kind}"][0].astype("float64")
            for kind in ("beta", "moving_mean", "moving_variance")
        )
        return np.maximum((y - mean) / np.sqrt(variance + 1e-3) + beta, 0)

    x = max_pool(unit(clip.astype("float64"), "Conv3d_1a_7x7", 2), (1, 3, 3), (1, 2, 2))
    x = unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    x = max_pool(x, (1, 3, 3), (1, 2, 2))
    for block, *_ in TABLE:
        if block == "Mixed_4b":
            x = max_pool(x, (3, 3, 3), (2, 2, 2))
        elif block == "Mixed_5b":
            x = max_pool(x, (2, 2, 2), (2, 2, 2))
        single, reduce_1, branch_1, reduce_2, branch_2, projection = names_of(block)
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        x = np.concatenate(
            [
                unit(x, single),
                unit(unit(x, reduce_1), branch_1),
                unit(unit(x, reduce_2), branch_2),
                unit(pooled, projection),
            ],
            axis=-1,
        )
    return x


def logits(variables, features, scope="RGB/inception_i3d"):
    """Averages over two steps of time and all of space, the classifier on each of them, the mean over time."""
    pooled = [features[t : t + 2].mean(axis=(0, 1, 2)) for t in range(len(features) - 1)]
    name = f"{scope}/Logits/Conv3d_0c_1x1/conv_3d"
    return np.mean([p @ variables[f"{name}/w"][0, 0, 0] + variables[f"{name}/b"] for p in pooled], axis=0)
