"""Exported models in this process: labels of videos without a server, and answers to a stream."""

import functools
import os
import pathlib

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import with_scores
from ccsn_tf.serving import versions
from ccsn_tf.serving.batch.backends import choose
from ccsn_tf.serving.client.clip_input import jpeg_inputs
from ccsn_tf.serving.metadata import JPEG_SIGNATURES, STREAM_SIGNATURES, client_config
from ccsn_tf.serving.onnx.session import OnnxModel, stream_path
from ccsn_tf.serving.saved_model.session import SavedModel


class LocalModel:
    """The newest version in a folder; has the methods of `client.Client` for videos.

    Args:
        export_dir: what `export_saved_model` wrote.

    Raises:
        UserError: there is no model of ours, or a damaged one.
    """

    def __init__(self, export_dir: str):
        found = versions(export_dir)
        if not found:
            raise UserError(f"--export_dir={export_dir} holds no version of a model: run export/saved_model.py.")
        self._model = SavedModel(str(found[max(found)]))
        self._config = client_config(self._model.metadata)

    def metadata(self) -> dict:
        """What the model says about itself."""
        return self._model.metadata

    def classify_video(self, path: str, segments: int = 0) -> dict[str, np.ndarray]:
        """See `client.Client.classify_video`; what is refused is a `UserError`."""
        inputs = jpeg_inputs(path, self._config, segments or self._config.eval.test_segments)
        signature = JPEG_SIGNATURES[self._config.model.flow_source]
        answer = self._model.call(signature, {name: value[None] for name, value in inputs.items()})
        outputs = {name: value[0] for name, value in answer.items()}
        return {**outputs, "top_labels": np.array([label.decode() for label in outputs["top_labels"]], object)}

    def close(self) -> None:
        """Does nothing."""


class ExportedStream:
    """An export as a `StreamModel`, of its two functions. It tells no attention."""

    attention = None

    def __init__(self, metadata, snippet, answer):
        self.classes, self.config = tuple(metadata["classes"]), client_config(metadata)
        self.evaluation, self.snippet, self.answer = metadata["evaluation"], snippet, answer


def exported_stream(path: str) -> ExportedStream:
    """What export/saved_model.py or export/to_onnx.py wrote; `evaluation` of it is what evaluation.json of the run was.

    Args:
        path: a folder of versions, of which the newest is taken, or one of them; or an .onnx file.

    Raises:
        UserError: it is none of these, or has no functions of snippets.
    """
    export = choose([path])
    if export.backend == "tensorrt":
        raise UserError(f"`model`={path} knows clips alone: name a work directory, a SavedModel or an ONNX file.")
    if export.backend == "saved_model":
        model = SavedModel(export.path)
        if not model.signatures.issuperset(STREAM_SIGNATURES):
            raise UserError(
                f"`model`={export.path} has no signatures {' and '.join(STREAM_SIGNATURES)}: export it again, from a "
                "run with `span` segment."
            )
        return ExportedStream(model.metadata, *(functools.partial(model.call, name) for name in STREAM_SIGNATURES))
    files = [str(stream_path(export.path, part)) for part in STREAM_SIGNATURES]
    if not all(map(os.path.exists, files)):
        raise UserError(
            f"`model`={export.path} has no {' and '.join(map(os.path.basename, files))} beside it: export it again, in "
            "fp32, from a run with `span` segment."
        )
    snippet, answer = (OnnxModel(file, spin=False) for file in files)  # the cores are the decoder's, too
    return ExportedStream(snippet.metadata, snippet, lambda features: with_scores(answer(features)))


def is_workdir(path: str | os.PathLike) -> bool:
    """Whether a path is that of a run of train.py, and not of an export."""
    return pathlib.Path(path, "config.json").is_file()
