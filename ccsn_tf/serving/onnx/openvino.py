"""ONNX files of ours, run by OpenVINO on the CPU, where it is faster than ONNX Runtime: in 8 bits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ccsn_tf.serving import optional
from ccsn_tf.serving.onnx.session import damaged, must_be_whole


class OpenVINOModel:
    """The network in an ONNX file of ours, as a function of a batch of clips.

    Call arguments, returns: as of `OnnxModel`.

    Raises:
        UserError: OpenVINO is not installed, no such file, or one that it cannot run.
    """

    def __init__(self, path: str):
        openvino = optional("openvino", "openvino")
        must_be_whole(path)
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16 on some CPUs
        try:
            compiled = openvino.Core().compile_model(path, "CPU", hints)
        except RuntimeError as error:
            raise damaged(path, error) from None
        self._request = compiled.create_infer_request()
        self._names = [output.any_name for output in compiled.outputs]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._request.infer({name: np.asarray(value) for name, value in inputs.items()})
        return {name: outputs[name] for name in self._names}
