"""Checks of what must not be on both sides of a split: one group, one video, videos that look the same."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ccsn_tf.data.checks.findings import Finding
from ccsn_tf.data.checks.near_duplicates import alike
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.records.manifest import StoredClip

_PUBLISHED = ("ucf101", "hmdb51", "sthv2")  # whose splits are to be used as they are

Splits = Mapping[int, tuple[Sequence[str], Sequence[str]]]
"""Names of the training and of the test clips by the split's number."""


def groups(clips: Iterable[Clip | StoredClip], splits: Splits) -> Iterator[Finding]:
    """Groups of clips that belong together, as from one recording, of which some train and others test.

    A group belongs to its class: another class's group of the same name is another one.
    """
    group_of = {clip.name: (clip.label, clip.group) for clip in clips}
    for number, (train, test) in sorted(splits.items()):
        training = {group_of[name]: name for name in train if name in group_of}
        for name in test:
            if group_of.get(name) in training:
                label, group = group_of[name]
                other = training.pop(group_of[name])
                message = f"Group {group} of {label} trains ({other}) and tests ({name}) in split {number}"
                yield Finding("group on both sides", other, f"{message}: put it on one side.", True)


def same_videos(digests: Mapping[str, str], splits: Splits, dataset: str) -> Iterator[Finding]:
    """Videos that are the same to the bit: on both sides of a split, or else under two names on one.

    The former block training, except on published splits: the first of UCF101 has such a pair (Basketball, g03_c01 and
    g23_c01).

    Args:
        digests: clip name to what is equal where the videos are; clips without are left out.
        splits: see `Splits`.
        dataset: as in the config.
    """
    same = collections.defaultdict(list)
    for name, digest in sorted(digests.items()):
        if digest:
            same[digest].append(name)
    for names in (names for names in same.values() if len(names) > 1):
        number, train, test = next(_across(names, splits), (None, "", ""))
        if number is None:
            yield Finding(
                "same video twice", names[0], f"{' and '.join(names)} are the same video: remove all but one."
            )
        else:
            message = f"{train} trains and {test} tests in split {number}, and they are the same video: remove one."
            yield Finding("same video on both sides", train, message, dataset not in _PUBLISHED)


def _across(names, splits):
    """(split, training clip, test clip) of each split that has some of `names` on both sides."""
    for number, (train, test) in sorted(splits.items()):
        training, testing = (sorted(set(names) & set(side)) for side in (train, test))
        if training and testing:
            yield number, training[0], testing[0]


def lookalikes(
    likenesses: Mapping[str, tuple[int, ...]], digests: Mapping[str, str], splits: Splits
) -> Iterator[Finding]:
    """Videos on both sides of a split that look the same, though they are not the same to the bit."""
    reported = set()
    for number, sides in sorted(splits.items()):
        training, testing = ({name: likenesses[name] for name in side if likenesses.get(name)} for side in sides)
        for train, test in alike(training, testing):
            if (train, test) in reported or (digests.get(train) and digests.get(train) == digests.get(test)):
                continue
            reported.add((train, test))
            message = f"{train} trains and {test} tests in split {number}, and they look the same."
            yield Finding("look the same on both sides", train, message)
