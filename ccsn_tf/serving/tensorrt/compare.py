"""A running engine against the ONNX file that it was built from."""

from __future__ import annotations

from ccsn_tf.config import Config
from ccsn_tf.serving import optional
from ccsn_tf.serving.agreement import compare_on_clips
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.saved_model.verify import BATCHES
from ccsn_tf.serving.tensorrt.run import TensorRTModel

# Largest difference, relative where outputs are above 1, of an engine in float32 with stored flow: a GPU adds up in
# another order. Of flow in the network and of lower precisions the differences are told, and none but NaN is refused.
LIMIT = 1e-2


def compare_engine(engine: TensorRTModel, onnx_path: str) -> dict:
    """Compares an engine on clips with its ONNX file in ONNX Runtime, which was compared with Keras when it was made.

    Args:
        engine: running.
        onnx_path: the file.

    Returns:
        See `compare_on_clips`; `with` says what it was compared with.

    Raises:
        UserError: an engine in float32 differs by more than `LIMIT`.
    """
    metadata, words = engine.metadata, f"ONNX Runtime {optional('onnxruntime', 'onnx').__version__} on the CPU"
    config = Config.from_flat({name: value for group in metadata["training"].values() for name, value in group.items()})
    profile = next(iter(engine.inputs.values()))["profile"]
    batches, segments = (
        sorted({min(max(value, profile["min"][axis]), profile["max"][axis]) for value in values})
        for axis, values in enumerate((BATCHES, (config.model.num_segments, config.model.num_segments + 2)))
    )
    limit = LIMIT if (metadata["precision"], metadata["flow_source"]) == ("fp32", "stored") else None
    with clips_to_try(config, tuple(metadata["classes"]), max(batches), must_be_real=False) as clips:
        return {"with": words, **compare_on_clips(engine, OnnxModel(onnx_path), clips, batches, segments, limit)}
