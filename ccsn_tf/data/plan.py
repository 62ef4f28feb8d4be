"""Which clips a pass over the data visits, in which order, and what it looks at in each.

All randomness of the input pipeline is drawn here, from (seed, epoch) alone, before any file is read: the same run can
be repeated, resumed at any epoch, and divided over any number of replicas without changing a batch.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from ccsn_tf.config import DataConfig, ModelConfig
from ccsn_tf.data.augment import random_box
from ccsn_tf.data.manifest import StoredClip
from ccsn_tf.data.sampling import train_starts
from ccsn_tf.errors import UserError

Plan = dict[str, np.ndarray]


def balanced_order(labels: np.ndarray, P: int, Q: int, rng: np.random.Generator) -> np.ndarray:
    """Draws batches of P distinct classes with Q distinct clips each, for about one pass over the clips.

    Classes and the clips of each class are dealt from shuffled decks, so that every class comes equally often and a
    clip comes back only when its class's others have been. A class of fewer than Q clips repeats some of them.

    Args:
        labels: int (N,), the clips' labels.
        P: classes a batch, at most the number of classes.
        Q: clips of each.
        rng: consumed.

    Returns:
        int64 (steps, P * Q): indices into `labels`; `steps` = max(1, N // (P * Q)).
    """
    classes = np.unique(labels)
    class_deck = _Deck(classes, rng)
    clip_decks = {label: _Deck(np.flatnonzero(labels == label), rng) for label in classes}
    steps = max(1, len(labels) // (P * Q))
    return np.array([[i for label in class_deck.deal(P) for i in clip_decks[label].deal(Q)] for _ in range(steps)])


class _Deck:
    """Deals cards from a shuffled deck, and shuffles anew when it is used up; a hand has no card twice if it can."""

    def __init__(self, cards: np.ndarray, rng: np.random.Generator):
        self._cards, self._rng, self._left = cards, rng, []

    def deal(self, count: int) -> list:
        hand = []
        while len(hand) < count:
            if not self._left:
                fresh = self._rng.permutation(self._cards)
                if len(self._cards) >= count:  # cards in hand go to the back, to be dealt later
                    held = np.isin(fresh, hand)
                    fresh = np.concatenate([fresh[~held], fresh[held]])
                self._left = list(fresh[::-1])
            hand.append(self._left.pop())
        return hand


def shuffled_order(num_clips: int, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """One permutation of the clips cut into batches, int64 (steps, batch_size); the remainder is dropped."""
    order = rng.permutation(num_clips)
    if num_clips < batch_size:  # fewer clips than a batch: fill it by repetition
        order = np.resize(order, batch_size)
    steps = len(order) // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)


def training_plan(
    clips: Sequence[StoredClip], classes: Sequence[str], data: DataConfig, model: ModelConfig, seed: int, epoch: int
) -> Plan:
    """The plan of one training epoch.

    Returns:
        Arrays with leading axes (steps, batch): `file` (str), `offset`, `length`, `fields` (int64), `label` (int32),
        `starts` (..., K) int64 segment starts, `box` (..., 3) int64 top, left, side, `mirrored` (bool).

    Raises:
        UserError: P is larger than the number of classes, or a clip is shorter than a snippet.
    """
    if data.sampler == "balanced" and data.classes_per_batch > len(classes):
        raise UserError(
            f"--classes_per_batch={data.classes_per_batch} is more than the {len(classes)} classes there are: lower it."
        )
    refuse_short(clips, model.flow_length)
    rng = np.random.default_rng([seed, epoch])
    labels = labels_of(clips, classes)
    if data.sampler == "balanced":
        order = balanced_order(labels, data.classes_per_batch, data.clips_per_class, rng)
    else:
        order = shuffled_order(len(clips), data.batch_size, rng)
    drawn = [clips[index] for index in order.ravel()]
    views = {
        "starts": [train_starts(clip.fields, model.num_segments, model.flow_length, rng) for clip in drawn],
        "box": [random_box(clip.height, clip.width, data.min_crop_scale, rng) for clip in drawn],
        "mirrored": rng.random(len(drawn)) < (0.5 if data.flip else 0.0),
    }
    flat = {**places(drawn, data.record_dir), "label": labels[order.ravel()], **views}
    return {name: np.asarray(values).reshape(*order.shape, *np.shape(values)[1:]) for name, values in flat.items()}


def labels_of(clips: Sequence[StoredClip], classes: Sequence[str]) -> np.ndarray:
    """The clips' indices in `classes`, int32 (N,)."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[clip.label] for clip in clips], np.int32)


def places(clips: Sequence[StoredClip], record_dir: str) -> Plan:
    """Where the records of `clips` are, and how long the clips: `file`, `offset`, `length`, `fields`, each (N,)."""
    return {
        "file": np.array([str(pathlib.Path(record_dir, clip.shard)) for clip in clips]),
        "offset": np.array([clip.offset for clip in clips], np.int64),
        "length": np.array([clip.length for clip in clips], np.int64),
        "fields": np.array([clip.fields for clip in clips], np.int64),
    }


def refuse_short(clips: Sequence[StoredClip], flow_length: int) -> None:
    """Raises UserError where a clip has fewer flow fields than a snippet."""
    for clip in clips:
        if clip.fields < flow_length:
            raise UserError(
                f"Clip {clip.name} has {clip.fields} flow fields, fewer than --flow_length={flow_length}: prepare "
                "again with that --flow_length, which leaves such clips out, or lower it."
            )
