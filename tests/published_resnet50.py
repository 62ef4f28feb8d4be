"""ResNet-50 as mmaction2 and torchvision have it: random checkpoints, and a forward pass in NumPy."""

from torch_layers import RandomState, TorchLayers, max_pool, relu

# One row a block: its name, channels in, width, stride. Written out on purpose.
TABLE = (
    ("layer1.0", 64, 64, 1),
    ("layer1.1", 256, 64, 1),
    ("layer1.2", 256, 64, 1),
    ("layer2.0", 256, 128, 2),
    ("layer2.1", 512, 128, 1),
    ("layer2.2", 512, 128, 1),
    ("layer2.3", 512, 128, 1),
    ("layer3.0", 512, 256, 2),
    ("layer3.1", 1024, 256, 1),
    ("layer3.2", 1024, 256, 1),
    ("layer3.3", 1024, 256, 1),
    ("layer3.4", 1024, 256, 1),
    ("layer3.5", 1024, 256, 1),
    ("layer4.0", 1024, 512, 2),
    ("layer4.1", 2048, 512, 1),
    ("layer4.2", 2048, 512, 1),
)


def mmaction2(module):
    """Names of the convolution and of the normalisation of a module, such as layer1.0.conv1."""
    return f"backbone.{module}.conv", f"backbone.{module}.bn"


def torchvision(module):
    if module.endswith("downsample"):
        return f"{module}.0", f"{module}.1"
    return module, module.replace("conv", "bn")


def random_state(names=mmaction2, channels=3, classes=400, classifier="cls_head.fc_cls", seed=0):
    """A state dict of random weights, `names` those of the publisher."""
    state = RandomState(seed)

    def unit(module, channels_in, channels_out, kernel):
        convolution, norm = names(module)
        state.convolution(convolution, channels_out, channels_in, kernel, kernel)
        state.batch_norm(norm, channels_out)

    unit("conv1", channels, 64, 7)
    for block, channels_in, width, _ in TABLE:
        unit(f"{block}.conv1", channels_in, width, 1)
        unit(f"{block}.conv2", width, width, 3)
        unit(f"{block}.conv3", width, 4 * width, 1)
        state[f"{names(f'{block}.conv3')[1]}.weight"] *= 0.3  # or the sums would grow from block to block
        if block.endswith(".0"):
            unit(f"{block}.downsample", channels_in, 4 * width, 1)
    state.dense(classifier, classes, 2048)
    return dict(state)


def forward(state, image, names=mmaction2, stop=None):
    """(H, W, C) -> (h, w, 2048), or what goes into the module `stop`."""
    layers = TorchLayers(state)

    def unit(x, module, stride=1):
        convolution, norm = names(module)
        return layers.batch_norm(layers.convolution(x, convolution, stride), norm)

    x = relu(unit(image.transpose(2, 0, 1).astype("float64"), "conv1", 2))
    if stop != "maxpool":
        x = max_pool(x, 3, 2, padding=1)
        for block, _, _, stride in TABLE:
            y = relu(unit(x, f"{block}.conv1"))
            y = unit(relu(unit(y, f"{block}.conv2", stride)), f"{block}.conv3")
            x = relu(y + (unit(x, f"{block}.downsample", stride) if block.endswith(".0") else x))
    return x.transpose(1, 2, 0)
