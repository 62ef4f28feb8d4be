"""BN-Inception as `pretrainedmodels` and tsn-pytorch have it: random checkpoints, and a forward pass in NumPy."""

import numpy as np
from torch_layers import RandomState, TorchLayers, average_pool, max_pool, relu

# One row a block, of caffe TSN's table: name, channels in, 1x1, (3x3 reduction, 3x3), (double reduction, first,
# second), projection of the pooled map. Blocks without the first and the last halve the map. Written out on purpose.
TABLE = (
    ("3a", 192, 64, (64, 64), (64, 96, 96), 32),
    ("3b", 256, 64, (64, 96), (64, 96, 96), 64),
    ("3c", 320, 0, (128, 160), (64, 96, 96), 0),
    ("4a", 576, 224, (64, 96), (96, 128, 128), 128),
    ("4b", 576, 192, (96, 128), (96, 128, 128), 128),
    ("4c", 576, 160, (128, 160), (128, 160, 160), 128),
    ("4d", 608, 96, (128, 192), (160, 192, 192), 128),
    ("4e", 608, 0, (128, 192), (192, 256, 256), 0),
    ("5a", 1056, 352, (192, 320), (160, 224, 224), 128),
    ("5b", 1024, 352, (192, 320), (192, 224, 224), 128),
)


def random_state(channels=3, classes=1000, classifier="last_linear", seed=0):
    """A state dict of `pretrainedmodels.bninception`, in its order."""
    state = RandomState(seed)

    def unit(name, channels_in, channels_out, kernel):
        state.convolution(name, channels_out, channels_in, kernel, kernel, bias=True)
        state.batch_norm(f"{name}_bn", channels_out)

    unit("conv1_7x7_s2", channels, 64, 7)
    state["conv1_7x7_s2.weight"] /= 60  # pixels are not scaled to one
    unit("conv2_3x3_reduce", 64, 64, 1)
    unit("conv2_3x3", 64, 192, 3)
    for block, channels_in, single, triple, double, projection in TABLE:
        name = f"inception_{block}"
        if single:
            unit(f"{name}_1x1", channels_in, single, 1)
        unit(f"{name}_3x3_reduce", channels_in, triple[0], 1)
        unit(f"{name}_3x3", triple[0], triple[1], 3)
        unit(f"{name}_double_3x3_reduce", channels_in, double[0], 1)
        unit(f"{name}_double_3x3_1", double[0], double[1], 3)
        unit(f"{name}_double_3x3_2", double[1], double[2], 3)
        if projection:
            unit(f"{name}_pool_proj", channels_in, projection, 1)
    state.dense(classifier, classes, 1024)
    return dict(state)


def forward(state, image):
    """(H, W, C) -> (h, w, 1024)."""
    layers = TorchLayers(state)

    def unit(x, name, stride=1):
        return relu(layers.batch_norm(layers.convolution(x, name, stride), f"{name}_bn"))

    x = unit(image.transpose(2, 0, 1).astype("float64"), "conv1_7x7_s2", 2)
    x = unit(max_pool(x, 3, 2, ceil_mode=True), "conv2_3x3_reduce")
    x = max_pool(unit(x, "conv2_3x3"), 3, 2, ceil_mode=True)
    for block, _, single, _, _, _ in TABLE:
        name, stride = f"inception_{block}", 1 if single else 2
        branches = [unit(x, f"{name}_1x1")] if single else []
        branches.append(unit(unit(x, f"{name}_3x3_reduce"), f"{name}_3x3", stride))
        y = unit(unit(x, f"{name}_double_3x3_reduce"), f"{name}_double_3x3_1")
        branches.append(unit(y, f"{name}_double_3x3_2", stride))
        if not single:
            branches.append(max_pool(x, 3, 2, ceil_mode=True))
        elif block == "5b":
            branches.append(unit(max_pool(x, 3, 1, padding=1), f"{name}_pool_proj"))
        else:
            branches.append(unit(average_pool(x), f"{name}_pool_proj"))
        x = np.concatenate(branches)
    return x.transpose(1, 2, 0)
