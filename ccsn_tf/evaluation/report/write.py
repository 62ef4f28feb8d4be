"""REPORT.html: what an evaluation found, on one page that needs no other file."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.evaluation.protocol import Scores
from ccsn_tf.evaluation.report import pictures
from ccsn_tf.evaluation.report.clips import SeenClip, most_confident, predictions, see_clip
from ccsn_tf.evaluation.report.page import ClipCard, Strip, render
from ccsn_tf.files import write_text
from ccsn_tf.models.attention_maps import last_attention_block
from ccsn_tf.models.ccsn import CCSN

_SHOWN = 6  # clips of each kind


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` knows when it is done: `report` as in evaluation.json, `confusion` of the fused prediction."""

    config: Config
    model: CCSN
    clips: Sequence[StoredClip]
    scores: Scores
    report: dict
    confusion: np.ndarray


def write_report(done: Evaluation, path: str | pathlib.Path) -> None:
    """Writes the page. Of the clips, only those shown are read again, one after the other."""
    scores = done.scores
    right, wrong = most_confident(scores.logits["fused"], scores.labels, [clip.name for clip in done.clips], _SHOWN)
    page = render(
        done.report,
        done.confusion,
        [_card(done, index) for index in right],
        [_card(done, index) for index in wrong],
        _about_attention(done.model, done.report["connection"]),
        pictures.wheel(),
        [(name, _text(value)) for name, value in done.config.flat().items() if value not in ("", ())],
    )
    write_text(path, page)


def _card(done, index):
    seen = see_clip(done.clips[index], done.model, done.config)
    logits = {stream: values[index] for stream, values in done.scores.logits.items()}
    predicted = int(predictions(logits["fused"][None], done.scores.labels[index : index + 1])[0])
    classes = done.model.classes
    return ClipCard(
        done.clips[index].name,
        classes[done.scores.labels[index]],
        classes[predicted],
        {stream: float(softmax(values)[predicted]) for stream, values in logits.items()},
        _strips(seen),
    )


def _strips(seen: SeenClip) -> list[Strip]:
    flow, fastest = pictures.flow_strip(seen.flow)
    strips = [
        Strip(pictures.frame_strip(seen.frames), "frames", "Frames of the clip"),
        Strip(flow, f"flow; full colour: {fastest:.1f} pixels a frame", "Optical flow in colour"),
    ]
    return strips + (_attention_strips(seen) if seen.attention else [])


def _attention_strips(seen):
    to_spatial, to_temporal = seen.attention.to_spatial, seen.attention.to_temporal
    ringed = pictures.strongest_motion(seen.flow, to_temporal.shape[-2:])
    from_ring = to_temporal[np.arange(len(ringed)), [row * to_temporal.shape[-1] + column for row, column in ringed]]
    added = zip(("RGB", "flow"), seen.attention.changes, strict=True)
    more = [f"; the block adds {100 * change:.1f} % to {stream}" for stream, change in added]
    rows = [
        ("where flow looked in the frames", to_temporal.mean(axis=1), None, more[1]),
        ("where the strongest motion (ring) looked in the frames", from_ring, ringed, ""),
        ("where RGB looked in the flow", to_spatial.mean(axis=1), None, more[0]),
    ]
    strips = []
    for what, weights, marks, addition in rows:
        image, peak = pictures.heat_strip(seen.frames, weights, marks)
        strips.append(Strip(image, f"{what}: at most {peak:.1f} times an even spread{addition}", what.capitalize()))
    return strips


def _about_attention(model, connection):
    block = last_attention_block(model)
    if block is None:
        return f"The streams of this run are joined by connection {connection!r}, which has no attention to show."
    return (
        f"Below each clip: the attention of {block.name}, mean of its {block.heads} heads, as heat over the frames, "
        "averaged over all places of the stream that looks, or from the ringed place alone. No colour is an even "
        "spread or less; the brightest is the peak of the three snippets, which is given. Attention is not effect: "
        "beside it stands the size of what the block adds to a stream, relative to the stream's own features there."
    )


def _text(value):
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
