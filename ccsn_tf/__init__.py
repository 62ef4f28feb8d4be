"""Two-stream video action recognition: the Cooperative Cross-Stream Network on TensorFlow and Keras.

    import ccsn_tf as ct

    model = ct.CCSN(classes=names, backbone="tiny", connection="cross_attention", image_size=48)
    model.compile(optimizer="adamw", loss=ct.JointLoss())
    model.fit(train, validation_data=validation, epochs=2)

Nothing is loaded until a name is used: `import ccsn_tf` alone loads neither TensorFlow nor OpenCV.
"""

import importlib

_HOMES = {
    "CCSN": "ccsn_tf.models.ccsn",
    "JointLoss": "ccsn_tf.losses.joint",
    "ModalityRankingLoss": "ccsn_tf.losses.ranking",
    "ConnectionBlock": "ccsn_tf.models.connections.block",
    "Backbone": "ccsn_tf.models.backbones.backbone",
    "Normalization": "ccsn_tf.models.backbones.backbone",
    "TVL1Flow": "ccsn_tf.models.flow",
    "register_backbone": "ccsn_tf.models.backbones",
    "register_connection": "ccsn_tf.models.connections",
    "register_dataset": "ccsn_tf.data.datasets",
    "Listing": "ccsn_tf.data.datasets",
    "Clip": "ccsn_tf.data.datasets",
    "Split": "ccsn_tf.data.datasets",
    "clip_attention": "ccsn_tf.models.attention_maps",
}
_PACKAGES = ("data",)

__all__ = [*_HOMES, *_PACKAGES, "load_model"]


def load_model(path, compile=True):
    """Reads a model that `CCSN.save` or train.py has written.

    Args:
        path: of the .keras file. A connection block of your own must be defined or imported before.
        compile: bool, whether it is compiled as it was when it was saved.

    Returns:
        `CCSN`.

    Raises:
        UserError (a ValueError): the file is missing, damaged, or holds another model.
    """
    from ccsn_tf.models import build

    importlib.import_module("ccsn_tf.training.optimizer")  # so that its optimizers can be read

    return build.load_model(path, compile=compile)


def __getattr__(name):
    if name in _PACKAGES:
        return importlib.import_module(f"ccsn_tf.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'ccsn_tf' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])
