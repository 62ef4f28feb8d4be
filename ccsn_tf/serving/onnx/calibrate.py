"""The range of each activation that 8 bits should cover, found on clips.

Covering the largest value that ever occurred would waste steps on outliers; the range taken is the one with the least
squared error of rounding and clipping together, over the histogram of all values seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from ccsn_tf.serving.packages import optional

# Magnitudes are counted by octave, finely enough that a bin is narrower than a rounding step wherever that matters.
_BINS_AN_OCTAVE = 64
_LOWEST, _HIGHEST = -20, 20  # octaves: 1e-6 to 1e6, what is below is zero
_CENTRES = 2.0 ** (_LOWEST + (np.arange(_BINS_AN_OCTAVE * (_HIGHEST - _LOWEST)) + 0.5) / _BINS_AN_OCTAVE)

LEVELS = 127  # of int8 on either side of zero; the -128 that is left over is used, but no range is made for it


def calibrate(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    batches: Iterable[dict[str, np.ndarray]],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """The range of each tensor: its values are to be represented between plus and minus that.

    Args:
        model: float32.
        tensors: names of float tensors in it.
        batches: inputs of the model.
        progress: called with the number of batches done.

    Returns:
        {tensor: range}, positive.
    """
    runtime = optional("onnxruntime", "onnx")
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    observed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors if name not in known
    )
    session = runtime.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
    counts = np.zeros((len(tensors), len(_CENTRES)))
    for done, batch in enumerate(batches, start=1):
        for row, values in zip(counts, session.run(list(tensors), batch), strict=True):
            row += histogram(values)
        progress(done)
    return {name: best_range(row) for name, row in zip(tensors, counts, strict=True)}


def histogram(values: np.ndarray) -> np.ndarray:
    """Counts of the magnitudes of `values` in the bins of this file; zeros, which cost nothing, are left out."""
    magnitudes = np.abs(values[values != 0])
    octaves = np.log2(magnitudes, dtype=np.float32) - _LOWEST
    bins = np.clip(octaves * _BINS_AN_OCTAVE, 0, len(_CENTRES) - 1).astype(np.int64)
    return np.bincount(bins, minlength=len(_CENTRES)).astype(np.float64)


def best_range(counts: np.ndarray) -> float:
    """The range with the least squared error for a histogram, among those down to a hundredth of the largest value."""
    if not counts.any():
        return 1.0  # always zero: any range will do
    occupied = np.flatnonzero(counts)
    values, weights = _CENTRES[occupied], counts[occupied]
    largest = values[-1]
    candidates = largest * np.geomspace(0.01, 1.0, 200)
    errors = [np.sum(weights * (values - quantised(values, limit)) ** 2) for limit in candidates]
    return float(candidates[int(np.argmin(errors))])


def quantised(values: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """What int8 makes of `values`: the nearest multiple of a 127th of `limit`, from -128 to 127 of them."""
    step = limit / LEVELS
    return np.clip(np.rint(values / step), -LEVELS - 1, LEVELS) * step
