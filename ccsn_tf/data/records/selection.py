"""The clips of a run: those it trains on, those it validates on, those it is tested on."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Sequence

from ccsn_tf.config import Config
from ccsn_tf.data.records.manifest import Manifest, StoredClip, refuse_other_input
from ccsn_tf.errors import UserError


def select_clips(config: Config) -> tuple[tuple[str, ...], list[StoredClip], list[StoredClip]]:
    """Classes, training clips and validation clips of a run; held-out groups are the last ones of each class."""
    manifest = Manifest.read(config.data.record_dir)
    classes, training = manifest.select(config.data, "train")
    if config.train.validate_on == "test":
        return classes, training, manifest.select(config.data, "test")[1]
    if config.train.validate_on == "none":
        return classes, training, []
    return classes, *_held_out(config, classes, training)


def of_records(config: Config) -> tuple[Config, Manifest]:
    """A run's config for the records in `record_dir`, which may be of another data set than it was trained on.

    The split is the run's, or where the records have no such split their first.

    Raises:
        UserError: no finished records, or records that the run's model does not take.
    """
    manifest = Manifest.read(config.data.record_dir)
    refuse_other_input(manifest.settings, config, config.data.record_dir)
    own = {**manifest.settings, "flip": config.data.flip and manifest.settings["dataset"] != "demo"}
    if manifest.settings["dataset"] != config.data.dataset:
        own |= {"split": config.data.split if config.data.split in manifest.splits else min(manifest.splits)}
    return config.replace(**own), manifest


def evaluated_clips(config: Config, classes: tuple[str, ...]) -> list[StoredClip]:
    """The clips that `eval.test_on` names, of these classes: the split's test clips, or held-out training groups.

    Args:
        config: from `of_records`.
        classes: those that the records have are looked for.

    Raises:
        UserError: there is none.
    """
    manifest = Manifest.read(config.data.record_dir)
    classes = tuple(name for name in classes if name in manifest.classes)
    data = dataclasses.replace(config.data, classes=classes, mirror_pairs=())
    clips = manifest.select(data, config.eval.side)[1]
    if config.eval.side == "train":
        return _held_out(config, classes, clips)[1]
    if not clips:
        raise UserError(
            f"--record_dir={data.record_dir} has no test clip in split {data.split}: name records that have some."
        )
    return clips


def untested(classes: Sequence[str], tested: Collection[str]) -> str:
    """What it means that some of the `classes` have no clip to be tested on, in a sentence; empty: all have."""
    absent, tested = [name for name in classes if name not in tested], len(set(classes) & set(tested))
    if not absent:
        return ""
    if not tested:
        return "There is no test clip: nothing is measured."
    of = f"{tested} of {len(classes)} classes"
    return f"No test clip of {_named(absent)}: all figures, mean class accuracy too, are of {of}."


def cautions(classes: Sequence[str], training: Sequence[str], test: Sequence[str]) -> list[str]:
    """What a set can be used for and has too little of, and what follows, a sentence each.

    Args:
        classes: of the set.
        training: classes of the training clips, one a clip.
        test: likewise.
    """
    found, counts = [], collections.Counter(training)
    if len(classes) == 1:
        found.append(f"{classes[0]} is the only class: there is nothing to tell apart, and every prediction is right.")
    if absent := [name for name in classes if not counts[name]]:
        found.append(f"No training clip of {_named(absent)}: the set can be evaluated on, but train.py refuses it.")
    if single := [name for name in classes if counts[name] == 1]:
        found.append(
            f"A single training clip of {_named(single)}: views of it are all that the class is learnt from, and are "
            "ranked against one another."
        )
    note = untested(classes, test)
    return [*found, note] if note else found


def _named(classes):
    return ", ".join(classes[:5]) + (" ..." if len(classes) > 5 else "")


def _held_out(config, classes, training):
    """The training clips, and those of the last groups of each class, which are held out."""
    held = set()
    for label in classes:
        groups = sorted({clip.group for clip in training if clip.label == label})
        if len(groups) <= config.data.holdout_groups:
            raise UserError(
                f"--holdout_groups={config.data.holdout_groups} leaves class {label}, which has {len(groups)} training "
                "groups, nothing to train on: lower it."
            )
        held.update((label, group) for group in groups[-config.data.holdout_groups :])
    kept = [clip for clip in training if (clip.label, clip.group) not in held]
    return kept, [clip for clip in training if (clip.label, clip.group) in held]
