"""Published checkpoints: what their publishers call each weight, and where it belongs in our networks."""

import dataclasses
import re
from collections.abc import Callable, Mapping

import keras
import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones.backbone import Normalization

_CLASSIFIER = "classifier"
_LISTED = 20  # of what does not match; a file of another network would fill pages
_KINDS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a publisher's checkpoints name the weights of a backbone.

    Args:
        backbone: name of the backbone, for `build_backbone`.
        layer: from the name of a weight, without its last part, to that of our layer, "classifier" for the one that
            the network does without. Any name may come.
        flow: pixel scaling that the publisher's networks for flow expect; None: there are none for flow.
    """

    backbone: str
    layer: Callable[[str], str]
    flow: Normalization | None = None


def _efficientnet(path):
    return _CLASSIFIER if path == "_fc" else "_".join(part.removeprefix("_") for part in path.split("."))


def _bn_inception(path):
    """`pretrainedmodels` calls the classifier last_linear, its predecessor fc, tsn-pytorch fc, fc_action or new_fc.

    `module.` is that of DataParallel, in which tsn-pytorch trains.
    """
    path = path.removeprefix("module.").removeprefix("base_model.")
    return _CLASSIFIER if path in ("last_linear", "fc", "fc_action", "new_fc") else path


def _mmaction2(path):
    """A convolution and its normalisation are `conv` and `bn` of one module."""
    if path == "cls_head.fc_cls":
        return _CLASSIFIER
    *module, part = path.removeprefix("backbone.").split(".")
    return "_".join(module) + {"conv": "", "bn": "_bn"}.get(part, f"_{part}")


def _torchvision(path):
    """`bn1` normalises `conv1`; a shortcut's convolution and normalisation are `downsample.0` and `.1`."""
    if path == "fc":
        return _CLASSIFIER
    path = path.replace("downsample.0", "downsample").replace("downsample.1", "downsample_bn").replace(".", "_")
    return re.sub(r"(^|_)bn(\d)$", r"\1conv\2_bn", path)


LAYOUTS = {
    "efficientnet_lite0": Layout("efficientnet_lite0", _efficientnet),
    "bninception": Layout("bn_inception", _bn_inception),
    "tsn": Layout("bn_inception", _bn_inception, Normalization(128.0, 1.0)),
    "torchvision": Layout("resnet50", _torchvision),
    "mmaction2": Layout("resnet50", _mmaction2, Normalization(128.0, 1 / 128)),
}


def load_published(
    network: keras.Model, checkpoint: Mapping[str, np.ndarray], layout: Layout, source
) -> tuple[np.ndarray, np.ndarray]:
    """Copies a published checkpoint into `network`; nothing is written unless everything fits.

    Args:
        network: network of the backbone `layout.backbone`; it is changed in place.
        checkpoint: names and arrays, as they stand in the file.
        layout: of the checkpoint.
        source: the file, for the error.

    Returns:
        The classifier that the network does without: kernel (C, classes) and bias (classes,).

    Raises:
        UserError: weights without a counterpart on either side, or of another shape; they are listed.
    """
    layers, entries = {layer.name: layer for layer in network.layers}, []
    for name, array in checkpoint.items():
        path, _, kind = name.rpartition(".")
        if kind != "num_batches_tracked":  # counts of training steps; Keras has none
            layer = layout.layer(path)
            kind, array = _from_torch(layers.get(layer), kind, array)
            entries.append((name, (layer, kind), array))
    classes = next((array.shape[-1] for _, (layer, _), array in entries if layer == _CLASSIFIER and array.ndim), None)
    wanted = {(layer.name, weight.name): tuple(weight.shape) for layer in network.layers for weight in layer.weights}
    wanted[_CLASSIFIER, "kernel"] = (network.output_shape[-1], classes)
    wanted[_CLASSIFIER, "bias"] = (classes,)
    found, problems = {}, []
    for name, place, array in entries:
        if place not in wanted or place in found:
            problems.append(f"{name} has no place in {network.name}")
            continue
        if array.shape != wanted[place]:
            problems.append(f"{name} is {array.shape} in Keras's layout, {place[0]} needs {wanted[place]}")
        found[place] = array
    problems += [f"{'/'.join(place)} is not in the checkpoint" for place in wanted if place not in found]
    if problems:
        more = [f"and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
        raise UserError(f"{source} does not fit {network.name}: {'; '.join(problems[:_LISTED] + more)}.")
    for layer in network.layers:
        for weight in layer.weights:
            weight.assign(found[layer.name, weight.name])
    return found[_CLASSIFIER, "kernel"], found[_CLASSIFIER, "bias"]


def adopt_scaling(network: keras.Model, theirs: Normalization, ours: Normalization) -> None:
    """Rewrites the first convolution so that the network does with pixels in our scaling what it did in `theirs`.

    The kernel takes the factor between the two, and the running mean of the normalisation behind it what the
    difference of their means adds. This is exact but at the border: a convolution's padding, zero, stands for a pixel
    at the mean, which is now ours (for flow, 127.5 where publishers have 128).

    Args:
        network: it is changed in place; its first two layers with weights are a convolution and its normalisation.
        theirs, ours: scalings with one mean and one scale for all channels.
    """
    if theirs == ours:
        return
    convolution, norm = [layer for layer in network.layers if layer.weights][:2]
    kernel = np.asarray(convolution.kernel)
    added = (ours.mean - theirs.mean) * theirs.scale * kernel.sum(axis=tuple(range(kernel.ndim - 1)))
    convolution.kernel.assign(kernel * (theirs.scale / ours.scale))
    norm.moving_mean.assign(norm.moving_mean - added)


def _from_torch(layer, kind, array):
    """Name and layout in Keras of one weight of a PyTorch layer; the classifier, and an unknown layer, is None."""
    if layer is None:
        return ("kernel", array.T) if kind == "weight" else (kind, array)
    if isinstance(layer, keras.layers.BatchNormalization):
        return _KINDS.get(kind, kind), array.reshape(-1)  # PyTorch 0.1 had a first axis of one
    if isinstance(layer, keras.layers.DepthwiseConv2D) and array.ndim == 4:
        return "kernel", array.transpose(2, 3, 0, 1)  # (C, 1, h, w) -> (h, w, C, 1)
    if array.ndim == 4:
        return "kernel", array.transpose(2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)
    return kind, array
