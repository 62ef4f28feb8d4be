"""How many segments clients are told to send, and how accurate a model is with fewer and with more."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.records.selection import evaluated_clips, of_records
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import top_k_accuracy
from ccsn_tf.evaluation.predict import make_forward, score_clips
from ccsn_tf.serving.model_card import accuracy_in_words

DEFAULT = 8
_COMPARED = (3, 8, 25)


def for_clients(config: Config, asked_for: bool) -> Config:
    """A run's config whose `eval.test_segments` is what clients are told to send: `DEFAULT`.

    Args:
        config: of the run.
        asked_for: whether its `eval.test_segments` was, and stays.
    """
    if asked_for or config.model.consensus == "trn":  # which takes no other number than that of its training
        return config
    return config.replace(test_segments=DEFAULT)


def accuracy_by_segments(
    model: keras.Model,
    config: Config,
    most_clips: int,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict | None:
    """The accuracy of a trained model with 3, 8 and 25 segments per clip, and with what clients are told to send.

    Args:
        model: a `CCSN`.
        config: of its run; `eval.test_segments` is what clients are told.
        most_clips: that are looked at, evenly spaced over the run's test clips; 0: nothing is measured.
        say: receives a line: the figures, or why there are none.
        progress: called with (clips done, clips in all), a clip counted once for each number of segments.

    Returns:
        {"clips": how many, "of": so many test clips, "top1": {segments, as text: share that the fused prediction names
        right, centre crop}}; None if nothing is measured.
    """
    if not most_clips:
        return None
    told, classes, top1 = config.eval.test_segments, tuple(model.classes), {}
    compared = sorted({*_COMPARED, told})
    try:
        config, manifest = of_records(config)
        clips = evaluated_clips(config, manifest, classes)
        places = np.linspace(0, len(clips) - 1, min(most_clips, len(clips))).round().astype(int)
        chosen, forward = [clips[place] for place in places], make_forward(model)
        for number, segments in enumerate(compared):
            views = evaluation_views(chosen, classes, config.data.record_dir, config.model, segments, 1)
            before, total = number * len(chosen), len(compared) * len(chosen)
            scores = score_clips(
                forward, views, len(chosen), segments, 1, lambda done, _, b=before, t=total: progress(b + done, t)
            )
            top1[str(segments)] = top_k_accuracy(scores.logits["fused"], scores.labels, 1)
    except UserError as error:
        numbers = ", ".join(map(str, compared))
        say(f"Accuracy with {numbers} segments is not measured, for which --record_dir names records: {error}")
        return None
    accuracy = {"clips": len(chosen), "of": len(clips), "top1": top1}
    say(accuracy_in_words(accuracy, told))
    return accuracy
