"""How far a model in less precision decides as the trained one does, over the test clips of its split."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile
from collections.abc import Callable

import keras
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.config.settings import PREDICTIONS
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.evaluation.metrics import softmax, top_k_accuracy
from ccsn_tf.evaluation.predict import Scores, make_forward, score_clips
from ccsn_tf.files import whole_file
from ccsn_tf.serving.metadata import weights_hash


@dataclasses.dataclass(frozen=True)
class EvaluationClips:
    """The test clips of a run's split, to be scored as `num_segments` x centre crop."""

    config: Config
    classes: tuple[str, ...]
    num_segments: int

    def scores(self, forward: Callable, progress: Callable[[int, int], None]) -> Scores:
        """See `score_clips`."""
        classes, clips = self._select()
        model, segments = self.config.model, self.num_segments
        views = evaluation_views(clips, classes, self.config.data.record_dir, model, segments, 1)
        return score_clips(forward, views, len(clips), segments, 1, progress)

    def reference(self, model: keras.Model, cache: pathlib.Path, progress: Callable[[int, int], None]) -> Scores:
        """The scores of the trained model, which are read from `cache` if they are there, and written there if not.

        A cache of other weights, clips or segments, or a damaged one, is replaced.
        """
        key = self._key(model)
        if cache.is_file():
            with contextlib.suppress(zipfile.BadZipFile, KeyError, ValueError):
                kept = np.load(io.BytesIO(cache.read_bytes()))
                if str(kept["key"]) == key:
                    return Scores(kept["labels"], {stream: kept[stream] for stream in PREDICTIONS}, {})
        scores = self.scores(make_forward(model), progress)
        with whole_file(cache) as beside, beside.open("wb") as file:
            np.savez(file, key=key, labels=scores.labels, **scores.logits)
        return scores

    def _select(self):
        data = dataclasses.replace(self.config.data, classes=self.classes)
        return Manifest.read(data.record_dir).select(data, "test")

    def _key(self, model):
        clips = [dataclasses.astuple(clip) for clip in self._select()[1]]
        text = json.dumps([weights_hash(model), self.classes, self.num_segments, self.config.model.image_size, clips])
        return hashlib.sha256(text.encode()).hexdigest()


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
