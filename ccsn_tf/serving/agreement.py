"""How far an exported model computes and decides what the trained one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.config.settings import PREDICTIONS
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.records.selection import evaluated_clips, of_records
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import Scores, softmax, top_k_accuracy
from ccsn_tf.evaluation.predict import make_forward, score_clips
from ccsn_tf.models.flow.loops import LOOPED, iterations
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
    """The largest difference of each output, relative above 1, over batches of several sizes and numbers of segments.

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
                difference = (np.abs(value - wanted[name]) / np.maximum(1, np.abs(wanted[name]))).max()
                largest[name] = float(np.maximum(difference, largest.get(name, 0.0)))  # which keeps what is no number
    for name, difference in largest.items():
        if not difference <= (np.finfo(np.float32).max if limit is None else limit):
            raise UserError(
                f"The exported model differs from the trained one by {difference:.1e} in {name}"
                + (f", more than {limit:.0e}." if limit else ": it overflows, use --precision=fp32.")
            )
    tried = {"clips": clips.source, "batches": list(batches), "segments": list(segments)}
    return {**tried, "limit": limit, "largest": largest}


def score_test_clips(
    forward: Callable, config: Config, classes: tuple[str, ...], segments: int, progress: Callable[[int, int], None]
) -> Scores:
    """The scores of the test clips of a run's split, `segments` x centre crop; see `score_clips`."""
    clips = evaluated_clips(*of_records(config), classes)
    views = evaluation_views(clips, classes, config.data.record_dir, config.model, segments, 1)
    return score_clips(forward, views, len(clips), segments, 1, progress)


def compare_scores(reference: Scores, other: Scores) -> dict:
    """What changed, as JSON values.

    Returns:
        `num_clips`; for "spatial", "temporal" and "fused" each: `agreement`, the share of clips with the same best
        class; `top1_reference` and `top1`, shares that are right; `mean_change` and `largest_change` of a class's
        probability.
    """
    report = {"num_clips": len(reference.labels)}
    for stream in PREDICTIONS:
        ours, theirs = reference.logits[stream], other.logits[stream]
        theirs = np.where(np.isfinite(theirs), theirs, np.nan)  # an overflow is no better than no number
        same = (ours.argmax(axis=1) == theirs.argmax(axis=1)) & np.isfinite(theirs).all(axis=1)
        change = np.nan_to_num(np.abs(softmax(theirs) - softmax(ours)), nan=1.0)
        report[stream] = {
            "agreement": float(same.mean()),
            "top1_reference": top_k_accuracy(ours, reference.labels, 1),
            "top1": top_k_accuracy(theirs, reference.labels, 1),
            "mean_change": float(change.mean()),
            "largest_change": float(change.max()),
        }
    return report
