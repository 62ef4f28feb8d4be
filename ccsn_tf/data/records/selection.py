"""The clips of a run: those it trains on, those it validates on, those it is tested on."""

from __future__ import annotations

import dataclasses

from ccsn_tf.config import Config
from ccsn_tf.data.records.manifest import Manifest, StoredClip
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


def evaluated_clips(config: Config, classes: tuple[str, ...]) -> list[StoredClip]:
    """The clips that `eval.test_on` names, of these classes: the split's test clips, or held-out training groups."""
    data = dataclasses.replace(config.data, classes=classes)
    clips = Manifest.read(data.record_dir).select(data, config.eval.side)[1]
    return clips if config.eval.side == "test" else _held_out(config, classes, clips)[1]


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
