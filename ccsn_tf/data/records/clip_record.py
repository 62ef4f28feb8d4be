"""A clip to its record: what one worker process does at a time, on this machine or on others. No TensorFlow."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import cv2

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.listing import Clip
from ccsn_tf.data.flow import make_estimator
from ccsn_tf.data.frames import changed_at
from ccsn_tf.data.prepare.encode import encode_clip
from ccsn_tf.data.prepare.worker_pool import Outcome, WorkerLostError
from ccsn_tf.data.records.examples import serialise
from ccsn_tf.data.records.tfrecord import framed
from ccsn_tf.data.video import VideoError

_estimator = functools.lru_cache(maxsize=1)(make_estimator)


@dataclasses.dataclass(frozen=True)
class Record:
    """A clip's record as it stands in a TFRecord file, and its size: `fields` + 1 frames of (height, width)."""

    content: bytes
    fields: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Why a video has no record, and the `last_change` of the file that was tried; None: to be tried again anyway."""

    reason: str
    change: int | None


def make_record(clip: Clip, beat: Callable[[], None], config: DataConfig, min_fields: int) -> Record | Skipped:
    """Decodes a clip's video, computes its flow and serialises both.

    Args:
        clip: which video, and the name that the record bears.
        beat: called for every frame.
        config: sizes, flow and quality.
        min_fields: a clip with fewer flow fields is skipped.
    """
    change = last_change(clip)
    cv2.setNumThreads(1)  # one process a core: more threads would only wait for one another
    try:
        encoded = encode_clip(clip.path, _estimator(config), config, min_fields, beat)
    except VideoError as error:
        return Skipped(str(error), change)
    return Record(framed(serialise(clip.name, encoded)), len(encoded.rgb) - 1, encoded.height, encoded.width)


def result_of(outcome: Outcome, clip: Clip) -> Record | Skipped:
    """What a worker made of a clip; where it died, hung or raised what it should not, the clip is to be tried again."""
    if outcome.error is None:
        return outcome.value
    remedy = "; the same command tries it again." if isinstance(outcome.error, WorkerLostError) else ""
    return Skipped(outcome.why(clip.path) + remedy, None)


def last_change(clip: Clip) -> int | None:
    """When the clip's files or their properties were changed last, in nanoseconds; None where there are none."""
    try:
        return changed_at(clip.path)
    except OSError:
        return None
