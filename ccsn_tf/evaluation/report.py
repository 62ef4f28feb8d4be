"""REPORT.html: what an evaluation found, on one page that needs no other file."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.manifest import StoredClip
from ccsn_tf.evaluation import report_pictures as pictures
from ccsn_tf.evaluation.protocol import Scores
from ccsn_tf.evaluation.report_clips import SeenClip, most_confident, predictions, see_clip
from ccsn_tf.evaluation.report_page import ClipCard, Strip, render
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
        {stream: float(_softmax(values)[predicted]) for stream, values in logits.items()},
        _strips(seen),
    )


def _strips(seen: SeenClip) -> list[Strip]:
    flow, fastest = pictures.flow_strip(seen.flow)
    strips = [
        Strip(pictures.frame_strip(seen.frames), "frames", "Frames of the clip"),
        Strip(flow, f"flow; full colour: {fastest:.1f} pixels a frame", "Optical flow in colour"),
    ]
    if seen.attention is None:
        return strips
    for weights, looks in (
        (seen.attention.to_temporal, "flow looked here"),
        (seen.attention.to_spatial, "RGB looked here in the flow"),
    ):
        image, peak = pictures.heat_strip(seen.frames, weights.mean(axis=1))
        strips.append(Strip(image, f"{looks}, on average; at most {peak:.1f} times an even spread", looks))
    return strips


def _about_attention(model, connection):
    block = last_attention_block(model)
    if block is None:
        return f"The streams of this run are joined by connection {connection!r}, which has no attention to show."
    return (
        f"Below each clip: the attention of {block.name}, averaged over its {block.heads} heads, as heat over the "
        "frames. No colour is an even spread or less."
    )


def _softmax(logits):
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def _text(value):
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
