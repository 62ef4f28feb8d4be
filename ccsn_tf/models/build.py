"""A model from its configuration, with its starting weights."""

from __future__ import annotations

import inspect
import pathlib
import zipfile
from collections.abc import Sequence

import keras

from ccsn_tf.config import DataConfig, ModelConfig
from ccsn_tf.errors import UserError
from ccsn_tf.models.ccsn import CCSN, STREAMS
from ccsn_tf.models.weights import initialise_temporal_from_spatial, load_imagenet


def build_model(
    config: ModelConfig,
    classes: Sequence[str],
    partial_bn: str = "none",
    data: DataConfig | None = None,
) -> CCSN:
    """Makes the network that `config` describes.

    With `pretrained="imagenet"` the spatial stream gets ImageNet weights and the temporal stream the same ones, its
    stem's kernel averaged over RGB and repeated over the flow's channels (cross-modality initialisation).

    Args:
        config: the model's settings.
        classes: class names in label order.
        partial_bn: "none", "spatial", "temporal" or "both": freeze the BatchNormalization layers of these streams, but
            the first of each (TSN).
        data: flow that is computed in the graph has its settings of TV-L1 and its 8-bit form, and one pixel of the
            input counts as its `short_side / image_size` (docs/METHOD.md); default: the defaults.

    Raises:
        UserError: an unknown name in `config`, or weights that cannot be had.
    """
    arguments = set(inspect.signature(CCSN.__init__).parameters) & set(vars(config))
    settings = {name: getattr(config, name) for name in arguments}
    if config.flow_source == "graph":
        data = data or DataConfig()
        scale = data.short_side / config.image_size
        settings |= {"tvl1": data.tvl1, "flow_bound": data.flow_bound, "flow_scale": scale}
    model = CCSN(classes, **settings)
    if config.pretrained == "imagenet":
        load_imagenet(config.backbone, model.network("spatial"))
        initialise_temporal_from_spatial(model.network("spatial"), model.network("temporal"))
    for stream in STREAMS:
        if partial_bn in (stream, "both"):
            norms = [
                layer for layer in model.network(stream).layers if isinstance(layer, keras.layers.BatchNormalization)
            ]
            for layer in norms[1:]:
                layer.trainable = False
    return model


def load_model(path: str, compile: bool = False) -> CCSN:
    """Reads model.keras. It computes in the precision of this process, whatever it was trained in.

    Raises:
        UserError: the file is missing, damaged, or was not written by train.py.
    """
    if not pathlib.Path(path).is_file():
        raise UserError(f"{path} is missing: name the --workdir of a finished run.")
    if not zipfile.is_zipfile(path):  # of which Keras would say that it is not there
        raise UserError(f"{path} is damaged or no model.keras: name the --workdir of a finished run.")
    try:
        model = keras.models.load_model(path, compile=compile)
    except Exception as error:  # a damaged or foreign archive can raise almost anything
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"{path} cannot be read as a model ({reason}): name the --workdir of a finished run."
        ) from error
    if not isinstance(model, CCSN):
        raise UserError(f"{path} holds a {type(model).__name__}, not a CCSN: name the --workdir of a finished run.")
    return model
