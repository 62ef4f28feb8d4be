"""An exported model to watch a stream with."""

from __future__ import annotations

import os
import pathlib

import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.serving.batch.backends import choose, read_metadata
from ccsn_tf.serving.client.config import STREAM_SIGNATURES, client_config


class SavedStream:
    """A `StreamModel` of a SavedModel that export/saved_model.py wrote.

    Args:
        path: its folder, or that of its versions, of which the newest is taken.

    Raises:
        UserError: it is none of these, or has no signatures for snippets.
    """

    def __init__(self, path: str):
        export = choose([path])
        if export.backend != "saved_model":
            raise UserError(f"`model`={path} has no signatures for snippets: name a work directory or a SavedModel.")
        metadata = read_metadata(export)
        self.classes, self.config = tuple(metadata["classes"]), client_config(metadata)
        try:
            self._model = tf.saved_model.load(export.path)
        except (OSError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path} is damaged ({reason}): export it again with export/saved_model.py.") from None
        if not set(STREAM_SIGNATURES) <= set(self._model.signatures):
            raise UserError(
                f"`model`={path} has no signatures {' and '.join(STREAM_SIGNATURES)}: export it again, from a run with "
                "`span` segment."
            )

    def snippet(self, inputs):
        """See `StreamModel`."""
        return self._call(STREAM_SIGNATURES[0], inputs)

    def answer(self, features):
        """See `StreamModel`."""
        return self._call(STREAM_SIGNATURES[1], features)

    def _call(self, signature, arrays):
        outputs = self._model.signatures[signature](**{name: tf.constant(array) for name, array in arrays.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def is_workdir(path: str | os.PathLike) -> bool:
    """Whether a path is that of a run of train.py, and not of an export."""
    return pathlib.Path(path, "config.json").is_file()
