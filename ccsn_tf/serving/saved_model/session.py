"""SavedModels of ours, run by TensorFlow or read; reading needs no TensorFlow."""

import json
import pathlib
from collections.abc import Mapping

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving.metadata import FILE_NAME
from ccsn_tf.serving.model_card import check_sums


class SavedModel:
    """The network in a version's folder, as a function of a batch of clips; and its other signatures.

    Attributes:
        path: the folder.
        metadata: what a client needs to know (see `metadata.make_metadata`).
        signatures: names.

    Call arguments, returns: as of `OnnxModel`.

    Raises:
        UserError: it is none of ours, or damaged.
    """

    def __init__(self, path: str):
        import tensorflow as tf

        self.path, self.metadata = path, saved_metadata(path)
        check_sums(path)
        try:
            self._model = tf.saved_model.load(path)
        except (OSError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path} is damaged ({reason}): export it again with export/saved_model.py.") from None
        self.signatures = frozenset(self._model.signatures)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.call("serving_default", inputs)

    def call(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What a signature answers; strings are bytes in object arrays.

        Raises:
            UserError: it has no such signature, or refuses the inputs.
        """
        import tensorflow as tf

        if signature not in self.signatures:
            raise UserError(f"{self.path} has no signature {signature}: export it again with export/saved_model.py.")
        try:
            outputs = self._model.signatures[signature](**{name: tf.constant(each) for name, each in inputs.items()})
        except tf.errors.OpError as error:
            reason = " ".join(error.message.split())
            raise UserError(f"{self.path} refuses the request ({reason}): ask for fewer clips or segments.") from None
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def saved_metadata(path: str) -> dict:
    """What a version's folder says about itself.

    Raises:
        UserError: it is none of ours.
    """
    try:
        return json.loads(pathlib.Path(path, "assets.extra", FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{path} is a SavedModel, but was not written by export/saved_model.py: it says neither its classes nor "
            "how its input is made."
        ) from None
