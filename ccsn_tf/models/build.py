"""A model from its configuration, with its starting weights."""

import inspect
import pathlib
import zipfile
from collections.abc import Sequence

import keras

from ccsn_tf.config import DataConfig, ModelConfig
from ccsn_tf.errors import UserError
from ccsn_tf.models.ccsn import CCSN


def build_model(
    config: ModelConfig, classes: Sequence[str], data: DataConfig | None = None, short_side: int | None = None
) -> CCSN:
    """Makes the network that `config` describes.

    With `pretrained="imagenet"` the spatial stream gets ImageNet weights and the temporal stream the same ones, its
    stem's kernel averaged over RGB and repeated over the flow's channels (cross-modality initialisation).

    Args:
        config: the model's settings.
        classes: class names in label order.
        data: flow that is computed in the graph has its 8-bit form; default: the defaults.
        short_side: pixels of the short side of stored frames; default: that of `data`. Flow that is computed in the
            graph counts a pixel of the input as `short_side / image_size` stored ones (docs/FLOW.md).

    Raises:
        UserError: an unknown name in `config`, or weights that cannot be had.
    """
    arguments = set(inspect.signature(CCSN.__init__).parameters) & set(vars(config))
    settings = {name: getattr(config, name) for name in arguments}
    data = data or DataConfig()
    settings |= {"flow_bound": data.flow_bound, "flow_scale": (short_side or data.short_side) / config.image_size}
    return CCSN(classes, weights=None if config.pretrained == "none" else config.pretrained, **settings)


def load_model(path, compile: bool = False) -> CCSN:
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
