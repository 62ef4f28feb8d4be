"""Any network of `keras.applications` as a backbone, its stages found in the graph."""

import inspect
import re
import warnings

import keras

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones.backbone import Backbone, Normalization, cut_layers

_MINUS_ONE_TO_ONE = Normalization(127.5, 1 / 127.5)
_CAFFE = Normalization((103.939, 116.779, 123.68), 1.0, reverse_channels=True)
_UNIT_VARIANCE = Normalization(
    tuple(255 * mean for mean in (0.485, 0.456, 0.406)), tuple(1 / (255 * std) for std in (0.229, 0.224, 0.225))
)

# The scaling that each family's ImageNet weights were trained with.
_FAMILIES = (
    (r"InceptionResNetV2|InceptionV3|MobileNet\w*|NASNet\w+|ResNet\d+V2|Xception", _MINUS_ONE_TO_ONE),
    (r"ResNet\d+|VGG\d+", _CAFFE),
    (r"ConvNeXt\w+|DenseNet\d+|EfficientNetV2B\d", _UNIT_VARIANCE),
    (r"EfficientNetV2[SML]", Normalization(128.0, 1 / 128)),
)


def class_names() -> tuple[str, ...]:
    """Class names of `keras.applications` that can serve as a backbone, sorted."""
    return tuple(name for name in _every_class_name() if scaling_of(name))


def scaling_of(class_name: str) -> Normalization | None:
    """The pixel scaling of a class's ImageNet weights; None if it is inside the network, which flow cannot pass."""
    return next((scaling for pattern, scaling in _FAMILIES if re.fullmatch(pattern, class_name)), None)


def build_application(class_name: str, image_size: tuple[int, int], in_channels: int) -> Backbone:
    """The named network without its classifier, with random weights.

    Stages are found by `find_stages`; the streams are connected after the last but one (stride 16 in most networks), or
    after the last one where nothing near its resolution is a cut (NASNet).

    Args:
        class_name: class of `keras.applications`, such as "ResNet50".
        image_size: (height, width) of the input in pixels.
        in_channels: channels of the input, 3 for RGB or 2L for flow.

    Returns:
        `Backbone`.

    Raises:
        UserError: no such class, a class that cannot be used, or an image too small for it.
    """
    if class_name not in _every_class_name():
        raise UserError(
            f"`backbone`: applications:{class_name} is not in keras.applications; it has {', '.join(class_names())}."
        )
    normalization = scaling_of(class_name)
    if normalization is None:
        raise UserError(
            f"`backbone`: applications:{class_name} scales RGB pixels inside the network, which flow cannot pass; use "
            "efficientnet_lite0 or applications:EfficientNetV2B0."
        )
    try:
        network = _construct(class_name, weights=None, input_shape=(*image_size, in_channels))
    except ValueError as error:
        raise UserError(
            f"`image_size`: {image_size[0]}x{image_size[1]} does not suit `backbone` applications:{class_name}: {error}"
        ) from error
    stages = find_stages(network)
    return Backbone(network, stages, normalization, (default_connection(network, stages),))


def find_stages(network) -> dict[str, str]:
    """Names the ends of the resolutions of a functional network.

    Only cuts of the graph count (`backbone.cut_layers`). They are grouped by resolution, a new one beginning where
    the area at least halves, and the group at the input's own resolution is left out. A stage ends at the last cut of
    its resolution; but where that is the expansion at the start of the next bottleneck (MobileNetV2 and its kin), at
    the last narrow map before it.

    Args:
        network: functional `keras.Model` from an image to a feature map.

    Returns:
        dict of `stage1`, `stage2`, ... -> layer name, in order; the last one is the network's output.
    """
    # Padding in front of a strided convolution is the beginning of the next stage, not the end of this one.
    operations = {operation.name: operation for operation in network.operations}
    cuts = [operations[name] for name in cut_layers(network)]
    cuts = [layer for layer in cuts if not isinstance(layer, keras.layers.ZeroPadding2D)]
    resolutions = [[cuts[0]]]
    for layer in cuts[1:]:
        if 2 * _area(layer.output) <= _area(resolutions[-1][-1].output):
            resolutions.append([])
        resolutions[-1].append(layer)
    ends = [_end_of_stage(resolution).name for resolution in resolutions[1:-1]] + [cuts[-1].name]
    return {f"stage{number}": end for number, end in enumerate(ends, start=1)}


def default_connection(network, stages: dict[str, str]) -> str:
    """The last stage but one, or the last one where the map before it has more than 16 times its positions."""
    outputs = {operation.name: operation.output for operation in network.operations}
    *_, before, last = (None, *stages)
    near = before is not None and _area(outputs[stages[before]]) <= 16 * _area(network.output)
    return before if near else last


def imagenet_network(class_name: str) -> keras.Model:
    """The named network for RGB, without its classifier, with its ImageNet weights, downloaded once and cached.

    Raises:
        UserError: the download failed.
    """
    try:
        return _construct(class_name, weights="imagenet")
    except Exception as error:  # keras.utils.get_file raises a bare Exception when a download fails
        raise UserError(
            f"`weights`: those of `backbone` applications:{class_name} could not be fetched "
            f"({error}); use a machine with access to the internet, or none."
        ) from error


def _construct(class_name, **arguments):
    constructor = getattr(keras.applications, class_name)
    if "include_preprocessing" in inspect.signature(constructor).parameters:
        arguments["include_preprocessing"] = False  # ours is in front of the network
    with warnings.catch_warnings():
        # Both are what we mean to do: flow has 2L channels, and the weights do not depend on the image's size.
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
        warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
        return constructor(include_top=False, **arguments)


def _every_class_name():
    return sorted(name for name in dir(keras.applications) if inspect.isfunction(getattr(keras.applications, name)))


def _area(features):
    return features.shape[1] * features.shape[2]


def _end_of_stage(cuts):
    mixing = [i for i, layer in enumerate(cuts) if _mixes(layer)]
    tail = cuts[mixing[-1] :] if mixing else cuts
    narrowest = min(layer.output.shape[-1] for layer in tail)
    # Bottlenecks expand at least threefold; widening by two is how separable convolutions change width for good.
    return [layer for layer in tail if layer.output.shape[-1] <= 2 * narrowest][-1]


def _mixes(layer):
    """True for merges of branches and for layers that look at more than one position."""
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", (1, 1))
    return isinstance(layer.input, list) or max(window) > 1
