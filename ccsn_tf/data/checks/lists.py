"""Checks of what lists say, and of what must not be on both sides of a split."""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping

from ccsn_tf.config import DataConfig
from ccsn_tf.data.checks.findings import Finding
from ccsn_tf.data.datasets import Clip, Listing, Split
from ccsn_tf.data.datasets.videos import videos_below
from ccsn_tf.data.records.manifest import StoredClip

_MOST = 0.9  # of the labels that must be shifted by the same number
_PUBLISHED = ("ucf101", "hmdb51", "sthv2")  # whose splits are to be used as they are
_INCOMPLETE = ("hmdb51", "sthv2")  # whose lists leave videos out


def check_lists(config: DataConfig, listing: Listing) -> Iterator[Finding]:
    """Yields what is wrong with the lists alone: no video is opened."""
    yield from (Finding("lists taken so", "", note) for note in listing.notes)
    yield from (Finding("listed but absent", name, reason) for name, reason in listing.absent)
    yield from _labels_against_folders(listing)
    if config.video_dir and config.dataset not in _INCOMPLETE:
        yield from _unlisted(config, listing)
    yield from groups(listing.clips, listing.splits)


def _labels_against_folders(listing):
    """Clips whose label is another class than their folder: one finding if all are shifted alike."""
    index = {name: number for number, name in enumerate(listing.classes)}
    folders = {clip: pathlib.PurePath(clip.path).parent.name for clip in listing.clips}
    shifts = {clip: index[clip.label] - index[folder] for clip, folder in folders.items() if folder in index}
    for shift, count in collections.Counter(shifts.values()).most_common(1):
        if shift and count >= _MOST * len(shifts):
            message = (
                f"The lists' labels are {abs(shift)} too {'high' if shift > 0 else 'low'} for the folders' names "
                f"({count} of {len(shifts)} clips): number both from the same one."
            )
            yield Finding("labels off by one" if abs(shift) == 1 else "labels shifted", "", message, True)
            return
    for clip in (clip for clip, shift in shifts.items() if shift):
        message = f"{clip.path} is labelled {clip.label}, but lies in {folders[clip]}/."
        yield Finding("label of another class", clip.name, message, True)


def _unlisted(config, listing):
    listed = {os.path.abspath(clip.path) for clip in listing.clips}
    for name in videos_below(config.video_dir).paths:
        path, folders = os.path.join(config.video_dir, name), pathlib.PurePath(name).parts[:-1]
        left_out = config.classes and not set(folders) & set(config.classes)  # on purpose
        if not left_out and os.path.abspath(path) not in listed:
            yield Finding("in no list", name, f"{path} is in no list.")


def groups(clips: Iterable[Clip | StoredClip], splits: Mapping[int, Split]) -> Iterator[Finding]:
    """Groups of clips that belong together, as from one recording, of which some train and others test.

    A group belongs to its class: another class's group of the same name is another one.
    """
    group_of = {clip.name: (clip.label, clip.group) for clip in clips}
    for number, split in sorted(splits.items()):
        training, testing = ({group_of[name]: name for name in side if name in group_of} for side in split)
        for label, group in sorted(training.keys() & testing.keys()):
            train, test = training[label, group], testing[label, group]
            message = f"Group {group} of {label} trains ({train}) and tests ({test}) in split {number}"
            yield Finding("group on both sides", train, f"{message}: put it on one side.", True)


def same_videos(digests: Mapping[str, str], splits: Mapping[int, Split], dataset: str) -> Iterator[Finding]:
    """Videos that are the same to the bit: on both sides of a split, or else under two names on one.

    The former block training, except on published splits: the first of UCF101 has such a pair (Basketball, g03_c01 and
    g23_c01).

    Args:
        digests: clip name to what is equal where the videos are; empty: not to be compared.
        splits: by number.
        dataset: as in the config.
    """
    same = collections.defaultdict(list)
    for name, digest in sorted(digests.items()):
        if digest:
            same[digest].append(name)
    for names in (names for names in same.values() if len(names) > 1):
        sides = ([number, *(sorted({*names} & {*side}) for side in split)] for number, split in sorted(splits.items()))
        number, train, test = next((found for found in sides if all(found)), (None, names, names))
        if number is None:
            message = f"{' and '.join(names)} are the same video: remove all but one."
            yield Finding("same video twice", names[0], message)
        else:
            message = f"{train[0]} trains and {test[0]} tests in split {number}: they are the same video, remove one."
            yield Finding("same video on both sides", train[0], message, dataset not in _PUBLISHED)
