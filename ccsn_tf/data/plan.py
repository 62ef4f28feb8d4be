"""Which clips a pass over the data visits, in which order, and what it looks at in each (`sampling`).

All randomness of the input pipeline is drawn here, from (seed, epoch) alone, before any file is read: the same run can
be repeated, resumed at any epoch, and divided over any number of replicas without changing a batch.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from ccsn_tf.config import DataConfig, ModelConfig
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.data.sampling import train_starts, training_box
from ccsn_tf.errors import UserError

Plan = dict[str, np.ndarray]

_BY_CHANCE = -1  # whether a clip is mirrored


def training_plan(
    clips: Sequence[StoredClip], classes: Sequence[str], data: DataConfig, model: ModelConfig, seed: int, epoch: int
) -> Plan:
    """The plan of one training epoch.

    Half of the clips are mirrored. Where the mirror image shows another class (`StoredClip.mirror_label`), a mirrored
    clip has that class's label; where that class is not among `classes`, the clip is never mirrored. Balanced batches
    are balanced in the labels that result: a class is dealt its own clips as they are and its partner's mirrored.

    Returns:
        Arrays with leading axes (steps, batch): `clip` (index into `clips`), `file` (str), `directory`, `fields`
        (int64), `label` (int32), `starts` (..., K) int64 segment starts, `box` (..., 4) int64 top, left, height,
        width, `mirrored` (bool).

    Raises:
        UserError: P is larger than the number of classes, or a clip is shorter than a snippet.
    """
    if data.sampler == "balanced" and data.classes_per_batch > len(classes):
        raise UserError(
            f"--classes_per_batch={data.classes_per_batch} is more than the {len(classes)} classes there are: lower it."
        )
    refuse_short(clips, model.flow_length)
    rng = np.random.default_rng([seed, epoch])
    index = {name: number for number, name in enumerate(classes)}
    labels = labels_of(clips, classes)
    # Labels of the clips' mirror images; -1 where that class is not among `classes`.
    turned = np.array([index.get(clip.mirror_label or clip.label, -1) for clip in clips], np.int32)
    batches, mirror = _draw(labels, turned, data, rng)
    order = batches.ravel()
    drawn = [clips[index] for index in order]
    views = {
        "starts": [train_starts(clip.fields, model.num_segments, model.flow_length, rng) for clip in drawn],
        "box": [training_box(clip, data, rng) for clip in drawn],
    }
    chance = rng.random(len(drawn)) < (0.5 if data.flip else 0.0)
    mirrored = np.where(mirror == _BY_CHANCE, chance, mirror == 1)
    label = np.where(mirrored, turned[order], labels[order])
    flat = {"clip": order, **places(drawn, data.record_dir), "label": label, **views, "mirrored": mirrored}
    return {name: np.asarray(values).reshape(*batches.shape, *np.shape(values)[1:]) for name, values in flat.items()}


def fixed_views(clips: Sequence[StoredClip], data: DataConfig, model: ModelConfig, views: int) -> Plan:
    """Training views of each clip that are the same in every run: what `training_plan` would draw, once and for all.

    Returns:
        The arrays of `training_plan`, without `clip`, with leading axes (clips, views); with `data.flip` (clips,
        2 * views): each view as it is, then mirrored. `label` is zero. They depend on a clip's name and size, not on
        the other clips or on a run's seed.
    """
    rows = []
    for clip in clips:
        rng = np.random.default_rng(list(clip.name.encode()))
        for _ in range(views):
            starts = train_starts(clip.fields, model.num_segments, model.flow_length, rng)
            rows.append((clip, starts, training_box(clip, data, rng)))
    flat = {**places([row[0] for row in rows], data.record_dir), "label": np.zeros(len(rows), np.int32)}
    flat |= {"starts": np.array([row[1] for row in rows]), "box": np.array([row[2] for row in rows])}
    sides = (False, True) if data.flip else (False,)
    twice = {name: np.repeat(values, len(sides), axis=0) for name, values in flat.items()}
    twice["mirrored"] = np.tile(sides, len(rows))
    return {name: values.reshape(len(clips), -1, *values.shape[1:]) for name, values in twice.items()}


def labels_of(clips: Sequence[StoredClip], classes: Sequence[str]) -> np.ndarray:
    """The clips' indices in `classes`, int32 (N,)."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[clip.label] for clip in clips], np.int32)


def places(clips: Sequence[StoredClip], record_dir: str) -> Plan:
    """Where the records of `clips` are, and how long the clips: `file`, `directory`, `fields`, each (N,)."""
    return {
        "file": np.array([str(pathlib.Path(record_dir, clip.file)) for clip in clips]),
        "directory": np.array([clip.directory for clip in clips], np.int64),
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


def _draw(labels: np.ndarray, turned: np.ndarray, data: DataConfig, rng: np.random.Generator):
    """Clips by batch, int (steps, batch), and whether each is mirrored, int (steps * batch,): 0, 1 or _BY_CHANCE."""
    if data.sampler == "shuffle":
        order = shuffled_order(len(labels), data.batch_size, rng)
        return order, np.where(turned[order] < 0, 0, _BY_CHANCE).ravel()
    # A clip whose mirror image shows another class is two cards: as it is in its own class, mirrored in the other.
    two = np.flatnonzero((turned != labels) & (turned >= 0) & data.flip)
    clips, cards = np.concatenate([np.arange(len(labels)), two]), np.concatenate([labels, turned[two]])
    steps = max(1, len(labels) // data.batch_size)
    dealt = balanced_order(cards, data.classes_per_batch, data.clips_per_class, rng, steps)
    order = clips[dealt]
    return order, np.where(turned[order] == labels[order], _BY_CHANCE, dealt >= len(labels)).ravel()


def balanced_order(labels: np.ndarray, P: int, Q: int, rng: np.random.Generator, steps: int) -> np.ndarray:
    """Draws batches of P distinct classes with Q distinct clips each.

    Classes and the clips of each class are dealt from shuffled decks, so that every class comes equally often and a
    clip comes back only when its class's others have been. A class of fewer than Q clips repeats some of them.

    Returns:
        int64 (steps, P * Q): indices into the clips' labels, int (N,).
    """
    classes = np.unique(labels)
    class_deck = _Deck(classes, rng)
    clip_decks = {label: _Deck(np.flatnonzero(labels == label), rng) for label in classes}
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
