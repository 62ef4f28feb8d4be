"""The clips of a run: those it trains on, and those it is tested on."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from ccsn_tf.config import Config
from ccsn_tf.data.records.manifest import Manifest, StoredClip


def select_clips(config: Config) -> tuple[tuple[str, ...], list[StoredClip], list[StoredClip]]:
    """Classes, training clips and validation clips of a run; those of `data.fold` are kept from training."""
    manifest = Manifest.read(config.data.record_dir)
    classes, training = manifest.select(config.data, "train")
    kept, held = _divide(training, config.data)
    if config.train.validate_on == "none":
        return classes, kept, []
    return classes, kept, held or manifest.select(config.data, "test")[1]


def evaluated_clips(config: Config, classes: tuple[str, ...]) -> list[StoredClip]:
    """The clips of these classes that a run is tested on: the split's test clips, or those of `data.fold`."""
    data = dataclasses.replace(config.data, classes=classes)
    manifest = Manifest.read(data.record_dir)
    if not data.fold:
        return manifest.select(data, "test")[1]
    return _divide(manifest.select(data, "train")[1], data)[1]


def _divide(training, data):
    """The clips that train, and those of the fold, in order."""
    folds = fold_of(training, data.folds)
    held = {key for key, fold in folds.items() if data.fold and fold == data.fold}
    sides = ([], [])
    for clip in training:
        sides[(clip.label, clip.group) in held].append(clip)
    return sides


def fold_of(clips: Sequence[StoredClip], folds: int) -> dict[tuple[str, str], int]:
    """Cuts groups into parts that have about as many clips of each class: {(label, group): 1 to `folds`}.

    The largest groups of each class are dealt first, each to the part that has the fewest clips of that class. The only
    group of a class is in none, 0: the class would be left without training clips.
    """
    sizes = collections.Counter((clip.label, clip.group) for clip in clips)
    groups = collections.Counter(label for label, _ in sizes)
    of_class, in_all, dealt = collections.Counter(), collections.Counter(), {}
    for (label, group), size in sorted(sizes.items(), key=lambda item: (item[0][0], -item[1], item[0][1])):
        if groups[label] == 1:
            dealt[label, group] = 0
            continue
        fold = min(range(1, folds + 1), key=lambda number: (of_class[label, number], in_all[number], number))
        dealt[label, group] = fold
        of_class[label, fold] += size
        in_all[fold] += size
    return dealt
