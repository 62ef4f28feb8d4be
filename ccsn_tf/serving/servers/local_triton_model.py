"""Triton's backend `onnxruntime` in Python, for servers that carry only the Python backend (see `local_triton`).

Triton loads this file, in a process that has neither this package nor TensorFlow.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[4]))  # Triton's Python takes no PYTHONPATH

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """A version of a model; its name and methods are what Triton looks for."""

    def initialize(self, _):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # Triton ends where this gets no core
        path = os.path.join(triton.get_model_dir(), "model.onnx")
        self._session = onnxruntime.InferenceSession(path, options)
        self._inputs, self._outputs = (
            [tensor.name for tensor in tensors] for tensors in (self._session.get_inputs(), self._session.get_outputs())
        )

    def execute(self, requests):
        """One run for the requests that Triton's batcher joined, as the real backend does it."""
        parts = [[triton.get_input_tensor_by_name(each, name).as_numpy() for each in requests] for name in self._inputs]
        try:
            joined = {name: np.concatenate(part) for name, part in zip(self._inputs, parts, strict=True)}
            results = self._session.run(self._outputs, joined)
        except Exception as error:
            failure = triton.TritonError(f"onnx runtime error: {error}")
            return [triton.InferenceResponse(error=failure) for _ in requests]
        ends = np.cumsum([len(part) for part in parts[0]])[:-1]
        answers = zip(*(np.split(result, ends) for result in results), strict=True)
        return [triton.InferenceResponse([*map(triton.Tensor, self._outputs, answer)]) for answer in answers]
