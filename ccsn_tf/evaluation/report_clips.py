"""The clips that a report shows: which they are, and what the network saw and looked at in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.flow import dequantise
from ccsn_tf.data.manifest import StoredClip
from ccsn_tf.data.plan import places
from ccsn_tf.data.sampling import centre_starts
from ccsn_tf.data.snippets import record_snippets
from ccsn_tf.data.transform import network_input
from ccsn_tf.models.attention_maps import Attention, clip_attention
from ccsn_tf.models.ccsn import CCSN

SNIPPETS = 3  # shown of a clip: its first, second and last third


@dataclasses.dataclass(frozen=True)
class SeenClip:
    """A clip as the network saw it, at the stored resolution, in its centre square.

    Attributes:
        frames: uint8 (K, H, W, 3), the middle frame of each snippet.
        flow: float32 (K, H, W, 2), the field that leaves it, in pixels.
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
    length, size = config.model.flow_length, config.model.image_size
    place = {name: values[0] for name, values in places([clip], config.data.record_dir).items()}
    fixed = config.model.consensus == "trn"  # the network takes no other number
    starts = centre_starts(clip.fields, config.model.num_segments if fixed else SNIPPETS, length)
    frames, fields = record_snippets(
        str(place["file"]), int(place["offset"]), int(place["length"]), clip.fields, starts, length
    )
    box, _ = view_boxes(clip.height, clip.width, 1)[0]
    attention = clip_attention(model, *network_input(frames, fields, box, False, size))
    top, left, height, width = box
    square = np.s_[top : top + height, left : left + width]
    middles = [snippet[length // 2].transpose(1, 2, 0)[square] for snippet in fields]
    return SeenClip(
        np.stack([frame[square] for frame in frames]), dequantise(np.stack(middles), config.data.flow_bound), attention
    )


def _log_probability(logits):
    """Of the likeliest class; not the probability, which rounds to one."""
    return -np.log1p(np.sum(np.exp(np.delete(logits - logits.max(), np.argmax(logits)), dtype=np.float64)))
