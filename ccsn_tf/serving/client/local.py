"""A video in, labels out, without a server: by an exported SavedModel in a fresh process that has TensorFlow alone."""

from __future__ import annotations

import json

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving import versions
from ccsn_tf.serving.client.clip_input import jpeg_inputs
from ccsn_tf.serving.client.config import FILE_NAME, JPEG_SIGNATURES, client_config
from ccsn_tf.serving.saved_model.fresh_process import Request
from ccsn_tf.serving.saved_model.verify import ask
from ccsn_tf.serving.sums import check_sums


class LocalModel:
    """The newest version in a folder; has the methods of `client.Client` for one video at a time.

    The process that runs the model imports neither this package nor Keras, and starts anew for each video: to try an
    export, not to serve it.

    Args:
        export_dir: what `export_saved_model` wrote.

    Raises:
        UserError: there is no model of ours.
    """

    def __init__(self, export_dir: str):
        found = versions(export_dir)
        if not found:
            raise UserError(f"--export_dir={export_dir} holds no version of a model: run export/saved_model.py.")
        self.path = found[max(found)]
        check_sums(self.path)
        beside = self.path / "assets.extra" / FILE_NAME
        try:
            self._metadata = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UserError(f"{beside} is missing or damaged: export the model again.") from None
        self._config = client_config(self._metadata)

    def metadata(self) -> dict:
        """What the model says about itself."""
        return self._metadata

    def classify_video(self, path: str, segments: int = 0) -> dict[str, np.ndarray]:
        """See `client.Client.classify_video`; what is refused is a `UserError`."""
        inputs = jpeg_inputs(path, self._config, segments or self._config.eval.test_segments)
        signature = JPEG_SIGNATURES[self._config.model.flow_source]
        (answer,) = ask(str(self.path), [Request(signature, {name: value[None] for name, value in inputs.items()})])
        if answer.error:
            raise UserError(f"{self.path} refuses the request: {' '.join(answer.error.split())}")
        outputs = {name: value[0] for name, value in answer.outputs.items()}
        return {**outputs, "top_labels": np.array([label.decode() for label in outputs["top_labels"]], object)}

    def close(self) -> None:
        """Does nothing: no process is left running."""
