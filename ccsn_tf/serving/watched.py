"""An exported model to watch a stream with."""

from __future__ import annotations

import os
import pathlib

import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.models.train_step import LOGITS
from ccsn_tf.serving.batch.backends import choose, read_metadata
from ccsn_tf.serving.client.config import STREAM_SIGNATURES, client_config
from ccsn_tf.serving.onnx.session import OnnxModel, stream_path
from ccsn_tf.streaming.model import StreamModel


def exported_stream(path: str) -> StreamModel:
    """What export/saved_model.py or export/to_onnx.py wrote; `evaluation` of it is what evaluation.json of the run was.

    Args:
        path: a folder of versions, of which the newest is taken, or one of them; or an .onnx file.

    Raises:
        UserError: it is none of these, or has no functions of snippets.
    """
    export = choose([path])
    if export.backend == "tensorrt":
        raise UserError(f"`model`={path} knows clips alone: name a work directory, a SavedModel or an ONNX file.")
    return {"onnx": OnnxStream, "saved_model": SavedStream}[export.backend](path)


class SavedStream:
    """A `StreamModel` of a SavedModel that export/saved_model.py wrote. It tells no attention.

    Args:
        path: its folder, or that of its versions, of which the newest is taken.

    Raises:
        UserError: it is none of these, or has no signatures for snippets.
    """

    attention = None

    def __init__(self, path: str):
        export = choose([path], "saved_model")
        metadata = read_metadata(export)
        self.classes, self.config = tuple(metadata["classes"]), client_config(metadata)
        self.evaluation = metadata["evaluation"]
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


class OnnxStream:
    """A `StreamModel` of the two files that export/to_onnx.py writes beside a float32 one. They tell no attention.

    Args:
        path: of the file that they stand beside.

    Raises:
        UserError: they are missing or damaged.
    """

    attention = None

    def __init__(self, path: str):
        files = [str(stream_path(path, part)) for part in STREAM_SIGNATURES]
        if not all(map(os.path.exists, files)):
            raise UserError(
                f"`model`={path} has no {' and '.join(map(os.path.basename, files))} beside it: export it again, in "
                "fp32, from a run with `span` segment."
            )
        # The cores are the decoder's, too.
        self._snippet, self._answer = (OnnxModel(file, spin=False) for file in files)
        metadata = self._snippet.metadata
        self.classes, self.config = tuple(metadata["classes"]), client_config(metadata)
        self.evaluation = metadata["evaluation"]

    def snippet(self, inputs):
        """See `StreamModel`."""
        return self._snippet(inputs)

    def answer(self, features):
        """See `StreamModel`."""
        outputs = self._answer(features)
        return {**outputs, **{name.replace("logits", "scores"): softmax(outputs[name]) for name in LOGITS.values()}}


def is_workdir(path: str | os.PathLike) -> bool:
    """Whether a path is that of a run of train.py, and not of an export."""
    return pathlib.Path(path, "config.json").is_file()
