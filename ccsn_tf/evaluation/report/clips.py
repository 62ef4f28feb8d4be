"""The clips that a report shows: which they are, and what the network saw and looked at in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.flow import dequantise
from ccsn_tf.data.plan import centre_starts, places, view_boxes
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.data.views import InputForm
from ccsn_tf.models.attention_maps import Attention, clip_attention
from ccsn_tf.models.ccsn import CCSN

SNIPPETS = 3  # shown of a clip: its first, second and last third


@dataclasses.dataclass(frozen=True)
class SeenClip:
    """A clip as the network saw it, in its centre square.

    Attributes:
        frames: uint8 (K, H, W, 3), the middle frame of each snippet, at the stored resolution.
        flow: float32 (K, h, w, 2), the field that leaves it, in pixels of these frames: the stored one at their
            resolution, or that which the network computes, at the network's.
        attention: of these K snippets; None where the connection has none.
    """

    frames: np.ndarray
    flow: np.ndarray
    attention: Attention | None


def most_confident(
    logits: np.ndarray, labels: np.ndarray, names: Sequence[str], count: int
) -> tuple[list[int], list[int]]:
    """The clips that are right, and those that are wrong, with the highest probability of the predicted class.

    At most one clip a class of the right ones, and one a pair of classes of the wrong ones: clips of one video are much
    alike. At equal probability names decide, so that the same scores give the same clips. Ties within a clip are
    resolved against the prediction, as in the accuracies; a clip with NaN is neither right nor wrong here.

    Args:
        logits: float (N, C).
        labels: integers (N,).
        names: N.
        count: at most this many of each.

    Returns:
        Indices of the right and of the wrong clips, the surest first.
    """
    predicted = predictions(logits, labels)
    confidences = [_log_probability(row) for row in logits]
    order = sorted(
        (i for i, row in enumerate(logits) if not np.isnan(row).any()), key=lambda i: (-confidences[i], names[i])
    )
    chosen: dict[bool, dict[tuple[int, int], int]] = {True: {}, False: {}}
    for index in order:
        pair = int(labels[index]), int(predicted[index])
        chosen[pair[0] == pair[1]].setdefault(pair, index)
    return list(chosen[True].values())[:count], list(chosen[False].values())[:count]


def predictions(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class with the highest score, int (N,); where the true class shares it, one of the others that do."""
    lowered = np.array(logits)
    own = np.arange(len(lowered)), labels
    lowered[own] = np.nextafter(lowered[own], -np.inf)
    return np.argmax(lowered, axis=1)


def see_clip(clip: StoredClip, model: CCSN, config: Config) -> SeenClip:
    """Reads a clip's snippets from its record and lets the network attend to them."""
    place = {name: values[0] for name, values in places([clip], config.data.record_dir).items()}
    record = str(place["file"]), int(place["offset"]), int(place["length"]), clip.fields
    fixed = config.model.consensus == "trn"  # the network takes no other number
    starts = centre_starts(clip.fields, config.model.num_segments if fixed else SNIPPETS, config.model.flow_length)
    box, _ = view_boxes(clip.height, clip.width, 1)[0]
    see = _with_computed_flow if config.model.flow_source == "graph" else _with_stored_flow
    form = InputForm(config.model)
    snippets, inputs = form.of_record(*record, starts), form.empty((len(starts),))
    form.write(snippets, box, False, inputs)
    frames, flow = see(snippets, inputs, box, model, config)
    top, left, height, width = box
    square = np.s_[top : top + height, left : left + width]
    return SeenClip(np.stack([frame[square] for frame in frames]), flow, clip_attention(model, inputs))


def _with_stored_flow(snippets, inputs, box, model, config):
    """The middle frames, and their fields in pixels."""
    middle, (top, left, height, width) = config.model.flow_length // 2, box
    square = np.s_[:, top : top + height, left : left + width]
    middles = [snippet[middle][square].transpose(1, 2, 0) for snippet in snippets["flow"]]
    return snippets["rgb"], dequantise(np.stack(middles), config.data.flow_bound)


def _with_computed_flow(snippets, inputs, box, model, config):
    middle = config.model.flow_length // 2
    estimate = keras.Model(model.input, model.get_layer("temporal_flow").output)
    fields = keras.ops.convert_to_numpy(estimate({"frames": inputs["frames"][None]}, training=False))
    flow = fields[..., 2 * middle : 2 * middle + 2] * (box[2] / config.model.image_size)
    return [snippet[middle] for snippet in snippets["frames"]], flow


def _log_probability(logits):
    """Of the likeliest class; not the probability, which rounds to one."""
    return -np.log1p(np.sum(np.exp(np.delete(logits - logits.max(), np.argmax(logits)), dtype=np.float64)))
