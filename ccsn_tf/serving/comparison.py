"""Two forms of one model on the same clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.evaluation.predict import make_forward
from ccsn_tf.models.flow.iterating import LOOPED, iterations
from ccsn_tf.serving.clips import Clips

Model = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def as_exported(model: keras.Model) -> Model:
    """A trained model as a function with the outputs of an exported one, `scores` among them."""
    forward = make_forward(model)

    def outputs(inputs):
        with iterations(LOOPED):  # XLA would compile flow for each size of batch
            made = {name: value.numpy() for name, value in forward(dict(inputs)).items()}
        return {**made, "scores": softmax(made["logits"])}

    return outputs


def compare_on_clips(
    exported: Model,
    trained: Model,
    clips: Clips,
    batches: Sequence[int],
    segments: Sequence[int],
    limit: float | None,
) -> dict:
    """The largest difference of each output, over batches of several sizes with several numbers of segments.

    Args:
        exported, trained: the two forms.
        clips: at least as many as the largest batch.
        limit: that no difference may exceed; None: any finite one will do.

    Returns:
        {"clips": where they came from, "batches", "segments", "limit", "largest": {output: difference}}.

    Raises:
        UserError: a difference is larger, or not a number.
    """
    largest = {}
    for arrays in map(clips.arrays, segments):
        for batch in batches:
            inputs = {name: values[:batch] for name, values in arrays.items()}
            wanted = trained(inputs)
            for name, value in exported(inputs).items():
                difference = np.abs(value - wanted[name]).max()
                largest[name] = float(np.maximum(difference, largest.get(name, 0.0)))  # which keeps what is no number
    for name, difference in largest.items():
        if not difference <= (np.finfo(np.float32).max if limit is None else limit):
            raise UserError(
                f"The exported model differs from the trained one by {difference:.1e} in {name}"
                + (f", more than {limit:.0e}." if limit else ": it overflows, use --precision=fp32.")
            )
    tried = {"clips": clips.source, "batches": list(batches), "segments": list(segments)}
    return {**tried, "limit": limit, "largest": largest}
