"""REPORT.html: what an evaluation found, on one page that needs no other file."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from ccsn_tf.config import Config, flag_text
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.evaluation.metrics import Scores, predictions, softmax
from ccsn_tf.evaluation.pages import (
    data_uri,
    frame_strip,
    frames_and_flow,
    page_template,
    seen_strips,
    wheel,
)
from ccsn_tf.evaluation.similar import Index, stored_clips, stored_frames
from ccsn_tf.files import write_text
from ccsn_tf.models.attention_maps import clip_attention, last_attention_block
from ccsn_tf.models.ccsn import CCSN

_TEMPLATE = pathlib.Path(__file__).with_name("report.html")
_SHOWN = 6  # clips of each kind
_SNIPPETS = 3  # of a clip: its first, second and last third


def write_report(
    path: str | pathlib.Path,
    config: Config,
    model: CCSN,
    clips: Sequence[StoredClip],
    scores: Scores,
    alone: Scores | None,
    report: dict,
    confusion: pathlib.Path,
    index: Index | None = None,
) -> None:
    """Writes the page. Of the clips, only those shown are read again, one after the other.

    Args:
        path: of the page.
        config, model, clips, scores: of the evaluation.
        alone: scores of the same clips with the connection's messages left out; None: a model without connection.
        report: content of evaluation.json.
        confusion: PNG file of the confusion matrix.
        index: mistaken clips are shown with the nearest of its clips; None: without.
    """
    fused = scores.logits["fused"]
    predicted = predictions(fused, scores.labels)
    right, wrong = most_confident(fused, scores.labels, predicted, [clip.name for clip in clips], _SHOWN)
    stored = stored_clips(config) if index else {}

    def card(number):
        logits = {stream: values[number] for stream, values in scores.logits.items()}
        strips = seen_strips(*see_clip(clips[number], model, config))
        if index and predicted[number] != scores.labels[number]:
            embeddings = {name: rows[number] for name, rows in scores.embeddings.items()}
            strips.append(nearest_strip(index, embeddings, stored, config))
        return {
            "name": clips[number].name,
            "true_class": model.classes[scores.labels[number]],
            "predicted": model.classes[predicted[number]],
            "probabilities": {stream: softmax(values)[predicted[number]] for stream, values in logits.items()},
            "strips": strips,
        }

    turned = {"right": [], "wrong": []}
    if alone is not None:
        turned = turned_by_messages(fused, alone.logits["fused"], scores.labels, [clip.name for clip in clips])
    report = {**report, "turned": {way: len(indices) for way, indices in turned.items()}}
    turned = map(card, turned["right"][:_SHOWN])
    attention = _about_attention(last_attention_block(model), report["connection"])
    settings = {name: value for name, value in config.flat().items() if value not in ("", ())}
    matrix = data_uri("png", confusion.read_bytes())
    write_text(path, render(report, matrix, map(card, right), map(card, wrong), turned, attention, settings))


def render(report, confusion, right, wrong, turned, attention, settings) -> str:
    """The page, from plain numbers and pictures.

    Args:
        report: content of evaluation.json, and `turned` {"right", "wrong"}: clips that the messages turned so.
        confusion: address of the picture of the confusion matrix.
        right, wrong, turned: the clips that are shown, each {"name", "true_class", "predicted", "probabilities",
            "strips"}.
        attention: how to read the attention in the clips' strips, or why there is none; plain text.
        settings: {name: value} of what the run was made with.
    """
    template = page_template(_TEMPLATE, percent=_percent, number=_number)
    return template.render(
        report=report,
        weakest_first=sorted(report["classes"], key=lambda row: (row["fused"] is None, row["fused"])),
        confusion=confusion,
        right=list(right),
        wrong=list(wrong),
        turned=list(turned),
        attention=attention,
        wheel=wheel(),
        most_confused=[list(row.values()) for row in report["most_confused"]],
        settings=[(name, flag_text(value)) for name, value in settings.items()],
    )


def _percent(value, sign=""):
    return "-" if value is None else f"{100 * value:.1f}{sign}"


def _number(value):
    return "-" if value is None else f"{value:.2f}"


def most_confident(
    logits: np.ndarray, labels: np.ndarray, predicted: np.ndarray, names: Sequence[str], count: int
) -> tuple[list[int], list[int]]:
    """The clips that are right, and those that are wrong, with the highest probability of the predicted class.

    At most one clip a class of the right ones, and one a pair of classes of the wrong ones: clips of one video are much
    alike. At equal probability names decide, so that the same scores give the same clips.

    Args:
        logits: float (N, C), with labels, names and `metrics.predictions` (N,).
        count: at most this many of each.

    Returns:
        Indices of the right and of the wrong clips, the surest first; a clip with NaN is neither.
    """
    scored = [(-_log_probability(logits[i]), names[i], i) for i in np.flatnonzero(predicted >= 0).tolist()]
    right, wrong = {}, {}
    for _, _, index in sorted(scored):
        truth, prediction = int(labels[index]), int(predicted[index])
        (right if truth == prediction else wrong).setdefault((truth, prediction), index)
    return list(right.values())[:count], list(wrong.values())[:count]


def turned_by_messages(
    logits: np.ndarray, alone: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> dict[str, list[int]]:
    """The clips that are named right with the messages and wrong without, and the other way round.

    Of logits (N, C) with the messages and `alone`, labels and names (N,), the indices {"right", "wrong"}: those whose
    true class has gained or lost the most probability first, then by name.
    """
    each = np.arange(len(labels))
    gain = (softmax(logits) - softmax(alone))[each, labels]
    before, after = (predictions(scores, labels) == labels for scores in (alone, logits))
    right, wrong = np.flatnonzero(after & ~before).tolist(), np.flatnonzero(before & ~after).tolist()
    return {
        "right": sorted(right, key=lambda index: (-gain[index], names[index])),
        "wrong": sorted(wrong, key=lambda index: (gain[index], names[index])),
    }


def _log_probability(logits):
    """Of the likeliest class; not the probability, which rounds to one."""
    return -np.log1p(np.sum(np.exp(np.delete(logits - logits.max(), np.argmax(logits)), dtype=np.float64)))


def see_clip(clip: StoredClip, model: CCSN, config: Config):
    """A clip as the network sees it, in the centre square of its record.

    Returns:
        frames: uint8 (K, S, S, 3), the middle frame of each snippet.
        flow: float32 (K, S, S, 2), the field that leaves it, stored or computed, in pixels of the stored frames.
        attention: `Attention` of these K snippets; None where the connection has none.
    """
    settings = config.model
    # TRN's network takes no other number than it is made for.
    segments = settings.num_segments if settings.consensus == "trn" else _SNIPPETS
    views = evaluation_views([clip], model.classes, config.data.record_dir, settings, segments, 1)
    inputs = {name: values[0] for name, values in next(views.as_numpy_iterator()).items() if name != "label"}
    estimate = model.get_layer("temporal_flow") if settings.flow_source == "graph" else None
    frames, flow = frames_and_flow(inputs, config, min(clip.height, clip.width), estimate)
    return frames, flow, clip_attention(model, inputs)


def nearest_strip(
    index: Index, embeddings: dict[str, np.ndarray], stored: Mapping[str, StoredClip], config: Config
) -> dict[str, str]:
    """The training clips that a mistaken clip is most like, a frame each."""
    found = index.nearest(embeddings, "both", _SNIPPETS)
    names = [index.names[number] for number, _ in found]
    frames = [shown[0] for shown in stored_frames(names, stored, config, 1)]
    named = ", ".join(f"{index.labels[number]} {alike:.2f}" for number, alike in found)
    caption = f"most like these training clips, by both embeddings: {named}"
    return {"image": frame_strip(frames), "caption": caption, "text": f"Nearest training clips: {named}"}


def _about_attention(block, connection):
    if block is None:
        return f"The streams of this run are joined by connection {connection!r}, which has no attention to show."
    return (
        f"Below each clip: the attention of {block.name}, mean of its {block.heads} heads, as heat over the frames, "
        "averaged over all places of the stream that looks, or from the ringed place alone. No colour is an even "
        "spread or less; the brightest is the peak of the three snippets, which is given. Attention is not effect: "
        "beside it stands the size of what the block adds to a stream, relative to the stream's own features there."
    )
