"""How far an exported model computes and decides what the trained one does; how accurate it is by segments."""

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
from ccsn_tf.serving.model_card import accuracy_in_words

BATCHES = (1, 3, 7)  # clips that exported models are compared on at once
SEGMENTS = 8  # of a clip, that clients are told to send
_COMPARED = (3, 8, 25)

Model = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def as_exported(model: keras.Model) -> Model:
    """A trained model as a function with the outputs of an exported one, `scores` among them."""
    forward = make_forward(model)

    def outputs(inputs):
        with iterations(LOOPED):  # XLA would compile flow for each size of batch
            made = {name: value.numpy() for name, value in forward(dict(inputs)).items()}
        return {**made, "scores": softmax(made["logits"])}

    return outputs


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest one of two arrays, relative above 1; NaN where either is."""
    return float(np.max(np.abs(found - wanted) / np.maximum(1, np.abs(wanted))))


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
                found = difference(value, wanted[name])
                largest[name] = float(np.maximum(found, largest.get(name, 0.0)))  # which keeps what is no number
    for name, found in largest.items():
        if not found <= (np.finfo(np.float32).max if limit is None else limit):
            raise UserError(
                f"The exported model differs from the trained one by {found:.1e} in {name}"
                + (f", more than {limit:.0e}." if limit else ": it overflows, use --precision=fp32.")
            )
    tried = {"clips": clips.source, "batches": list(batches), "segments": list(segments)}
    return {**tried, "limit": limit, "largest": largest}


def score_test_clips(
    forward: Callable,
    config: Config,
    classes: tuple[str, ...],
    segments: int,
    progress: Callable[[int, int], None],
    most: int = 0,
) -> tuple[Scores, int]:
    """The scores of the test clips of a run's split, `segments` x centre crop (see `score_clips`), and how many it has.

    `most` of them at most, evenly spaced; 0: all.
    """
    clips = evaluated_clips(*of_records(config), classes)
    places = np.linspace(0, len(clips) - 1, min(most or len(clips), len(clips))).round().astype(int)
    chosen = [clips[place] for place in places]
    views = evaluation_views(chosen, classes, config.data.record_dir, config.model, segments, 1)
    return score_clips(forward, views, len(chosen), segments, 1, progress), len(clips)


def compare_scores(reference: Scores, other: Scores) -> dict:
    """What changed, as JSON values.

    Returns:
        `num_clips`; for "spatial", "temporal" and "fused" each: `agreement`, the share of clips with the same best
        class; `top1_reference` and `top1`, shares that are right.
    """
    report = {"num_clips": len(reference.labels)}
    for stream in PREDICTIONS:
        ours, theirs = reference.logits[stream], other.logits[stream]
        same = (ours.argmax(axis=1) == theirs.argmax(axis=1)) & np.isfinite(theirs).all(axis=1)
        theirs = np.where(np.isfinite(theirs), theirs, np.nan)  # an overflow is no better than no number
        report[stream] = {
            "agreement": float(same.mean()),
            "top1_reference": top_k_accuracy(ours, reference.labels, 1),
            "top1": top_k_accuracy(theirs, reference.labels, 1),
        }
    return report


def for_clients(config: Config, asked_for: bool) -> Config:
    """A run's config whose `eval.test_segments` is what clients are told to send: `SEGMENTS`, or what was asked for."""
    if asked_for or config.model.consensus == "trn":  # which takes no other number than that of its training
        return config
    return config.replace(test_segments=SEGMENTS)


def accuracy_by_segments(
    model: keras.Model,
    config: Config,
    most_clips: int,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict | None:
    """The accuracy of a trained model with 3, 8 and 25 segments per clip, and with what clients are told to send.

    Args:
        config: of the model's run; `eval.test_segments` is what clients are told.
        most_clips: that are looked at, evenly spaced over the run's test clips; 0: nothing is measured.
        say: receives a line: the figures, or why there are none.
        progress: called with (clips done, clips in all), a clip counted once for each number of segments.

    Returns:
        {"clips": how many, "of": so many test clips, "top1": {segments, as text: share that the fused prediction names
        right, centre crop}}; None if nothing is measured.
    """
    if not most_clips:
        return None
    forward, told, top1 = make_forward(model), config.eval.test_segments, {}
    compared = sorted({*_COMPARED, told})
    for before, segments in enumerate(compared):

        def count(done, total, before=before):
            progress(before * total + done, len(compared) * total)

        try:
            scores, of = score_test_clips(forward, config, tuple(model.classes), segments, count, most_clips)
        except UserError as error:
            numbers = ", ".join(map(str, compared))
            say(f"Accuracy with {numbers} segments is not measured, for which --record_dir names records: {error}")
            return None
        top1[str(segments)] = top_k_accuracy(scores.logits["fused"], scores.labels, 1)
    accuracy = {"clips": len(scores.labels), "of": of, "top1": top1}
    say(accuracy_in_words(accuracy, told))
    return accuracy
