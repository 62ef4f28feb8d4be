"""A video in, labels out, without a server: by an exported SavedModel, with TensorFlow."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.serving import versions
from ccsn_tf.serving.batch.backends import Exported, load_saved_model, read_metadata
from ccsn_tf.serving.client.clip_input import jpeg_inputs
from ccsn_tf.serving.client.config import JPEG_SIGNATURES, client_config


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
        self.path = str(found[max(found)])
        self._metadata, self._model = read_metadata(Exported("saved_model", self.path)), load_saved_model(self.path)
        self._config = client_config(self._metadata)

    def metadata(self) -> dict:
        """What the model says about itself."""
        return self._metadata

    def classify_video(self, path: str, segments: int = 0) -> dict[str, np.ndarray]:
        """See `client.Client.classify_video`; what is refused is a `UserError`."""
        inputs = jpeg_inputs(path, self._config, segments or self._config.eval.test_segments)
        signature = self._model.signatures[JPEG_SIGNATURES[self._config.model.flow_source]]
        try:
            answer = signature(**{name: tf.constant(value[None].tolist()) for name, value in inputs.items()})
        except tf.errors.OpError as error:
            raise UserError(f"{self.path} refuses the request: {' '.join(error.message.split())}") from None
        outputs = {name: value[0].numpy() for name, value in answer.items()}
        return {**outputs, "top_labels": np.array([label.decode() for label in outputs["top_labels"]], object)}

    def close(self) -> None:
        """Does nothing."""
