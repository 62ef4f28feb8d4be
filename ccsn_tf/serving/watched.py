"""An exported model to watch a stream with."""

from __future__ import annotations

import os
import pathlib

import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.models.train_step import LOGITS
from ccsn_tf.serving.batch.backends import Exported, choose, load_saved_model, read_metadata
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
    return {"onnx": _OnnxStream, "saved_model": _SavedStream}[export.backend](export)


class _Stream:
    """What exports have in common as a `StreamModel`. They tell no attention."""

    attention = None

    def __init__(self, metadata: dict):
        self.classes, self.config = tuple(metadata["classes"]), client_config(metadata)
        self.evaluation = metadata["evaluation"]


class _SavedStream(_Stream):
    def __init__(self, export: Exported):
        super().__init__(read_metadata(export))
        self._model = load_saved_model(export.path)
        if not set(STREAM_SIGNATURES) <= set(self._model.signatures):
            raise UserError(
                f"`model`={export.path} has no signatures {' and '.join(STREAM_SIGNATURES)}: export it again, from a "
                "run with `span` segment."
            )

    def snippet(self, inputs):
        return self._call(STREAM_SIGNATURES[0], inputs)

    def answer(self, features):
        return self._call(STREAM_SIGNATURES[1], features)

    def _call(self, signature, arrays):
        outputs = self._model.signatures[signature](**{name: tf.constant(array) for name, array in arrays.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}


class _OnnxStream(_Stream):
    """Of the two files that export/to_onnx.py writes beside a float32 one."""

    def __init__(self, export: Exported):
        files = [str(stream_path(export.path, part)) for part in STREAM_SIGNATURES]
        if not all(map(os.path.exists, files)):
            raise UserError(
                f"`model`={export.path} has no {' and '.join(map(os.path.basename, files))} beside it: export it "
                "again, in fp32, from a run with `span` segment."
            )
        # The cores are the decoder's, too.
        self.snippet, self._answer = (OnnxModel(file, spin=False) for file in files)
        super().__init__(self.snippet.metadata)

    def answer(self, features):
        outputs = self._answer(features)
        return {**outputs, **{name.replace("logits", "scores"): softmax(outputs[name]) for name in LOGITS.values()}}


def is_workdir(path: str | os.PathLike) -> bool:
    """Whether a path is that of a run of train.py, and not of an export."""
    return pathlib.Path(path, "config.json").is_file()
