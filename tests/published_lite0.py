"""EfficientNet-Lite0 as published for PyTorch: random checkpoints, and a forward pass in NumPy."""

import numpy as np
from torch_layers import TorchLayers

# One row a unit: kernel, stride, expansion, channels in, channels out. Written out on purpose, not derived.
TABLE = (
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24),
    (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40),
    (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80),
    (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112),
    (5, 1, 6, 112, 112),
    (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192),
    (5, 1, 6, 192, 192),
    (5, 1, 6, 192, 192),
    (5, 1, 6, 192, 192),
    (3, 1, 6, 192, 320),
)


class _Layers(TorchLayers):
    epsilon = 1e-3

    def padded(self, x, kernel, stride):
        """TensorFlow's 'same': of an odd total, the end gets one more."""
        totals = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[1:]]
        return np.pad(x, [(0, 0), *((total // 2, total - total // 2) for total in totals)])


def forward(state, image):
    """(H, W, 3) -> (h, w, 1280)."""
    layers = _Layers(state)

    def unit(x, convolution, norm, stride=1):
        return layers.batch_norm(layers.convolution(x, convolution, stride), norm)

    def relu6(x):
        return np.clip(x, 0, 6)

    x = relu6(unit(image.transpose(2, 0, 1).astype("float64"), "_conv_stem", "_bn0", 2))
    for i, (_, stride, expansion, channels_in, channels_out) in enumerate(TABLE):
        name, y = f"_blocks.{i}", x
        if expansion > 1:
            y = relu6(unit(y, f"{name}._expand_conv", f"{name}._bn0"))
        y = relu6(unit(y, f"{name}._depthwise_conv", f"{name}._bn1", stride))
        y = unit(y, f"{name}._project_conv", f"{name}._bn2")
        x = x + y if stride == 1 and channels_in == channels_out else y
    return relu6(unit(x, "_conv_head", "_bn1")).transpose(1, 2, 0)
