"""The clips of a run: those it trains on, and those it is tested on."""

import collections
import dataclasses
import itertools
import zlib
from collections.abc import Collection, Sequence

from ccsn_tf.config import Config
from ccsn_tf.data.datasets.listing import some_of
from ccsn_tf.data.records.manifest import Manifest, StoredClip, refuse_other_input
from ccsn_tf.errors import UserError


def select_clips(config: Config) -> tuple[tuple[str, ...], list[StoredClip], list[StoredClip]]:
    """Classes, training clips and validation clips of a run; those of `data.fold` are kept from training."""
    manifest = Manifest.read(config.data.record_dir)
    classes, training = manifest.select(config.data, "train")
    kept, held = _divide(training, config.data)
    if config.data.train_clips:
        kept = few_per_class(kept, config.data.train_clips)
    if config.train.validate_on == "none":
        return classes, kept, []
    return classes, kept, held or manifest.select(config.data, "test")[1]


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
        own |= {"split": config.data.split if config.data.split in manifest.splits else min(manifest.splits), "fold": 0}
    return config.replace(**own), manifest


def evaluated_clips(config: Config, manifest: Manifest, classes: Sequence[str]) -> list[StoredClip]:
    """The clips of these classes that a run is tested on: the split's test clips, or those of `data.fold`.

    Args:
        config, manifest: from `of_records`.
        classes: those that the records have are looked for.

    Raises:
        UserError: there is none.
    """
    classes = tuple(name for name in classes if name in manifest.classes)
    data = dataclasses.replace(config.data, classes=classes, mirror_pairs=())
    clips = manifest.select(data, "train" if data.fold else "test")[1]
    if data.fold:
        clips = _divide(clips, data)[1]
    if not (classes and clips):
        where = f"fold {data.fold} of split {data.split}" if data.fold else f"split {data.split}"
        raise UserError(f"--record_dir={data.record_dir} has no test clip in {where}: name records that have some.")
    return clips


def untested(classes: Sequence[str], tested: Collection[str]) -> str:
    """What it means that some of the `classes` have no clip to be tested on, in a sentence; empty: all have."""
    absent, tested = [name for name in classes if name not in tested], len(set(classes) & set(tested))
    if not absent:
        return ""
    if not tested:
        return "There is no test clip: nothing is measured."
    of = f"{tested} of {len(classes)} classes"
    return f"No test clip of {some_of(absent)}: all figures, mean class accuracy too, are of {of}."


def cautions(classes: Sequence[str], training: Sequence[str], test: Sequence[str]) -> list[str]:
    """What a set with clips of these classes can be used for and has too little of, and what follows, in sentences."""
    found, counts = [], collections.Counter(training)
    if len(classes) == 1:
        found.append(f"{classes[0]} is the only class: there is nothing to tell apart, and every prediction is right.")
    if absent := [name for name in classes if not counts[name]]:
        found.append(f"No training clip of {some_of(absent)}: the set can be evaluated on, but train.py refuses it.")
    if single := [name for name in classes if counts[name] == 1]:
        found.append(
            f"A single training clip of {some_of(single)}: views of it are all that the class is learnt from, and are "
            "ranked against one another."
        )
    note = untested(classes, test)
    return [*found, note] if note else found


def _divide(training, data):
    """The clips that train, and those of the fold, in order."""
    folds = fold_of(training, data.folds) if data.fold else {}
    sides = ([], [])
    for clip in training:
        sides[folds.get((clip.label, clip.group)) == data.fold].append(clip)
    return sides


def few_per_class(clips: Sequence[StoredClip], count: int) -> list[StoredClip]:
    """At most `count` clips of each class, in order: one of each group, then a second of each, and so on.

    Groups and their clips are taken in an order that depends on names alone, so that smaller draws are part of larger.
    """
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for clip in sorted(clips, key=lambda clip: zlib.crc32(clip.name.encode())):
        groups[clip.label][clip.group].append(clip.name)
    kept = set()
    for of_class in groups.values():
        rounds = itertools.chain.from_iterable(itertools.zip_longest(*of_class.values()))
        kept |= set(itertools.islice((name for name in rounds if name is not None), count))
    return [clip for clip in clips if clip.name in kept]


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
