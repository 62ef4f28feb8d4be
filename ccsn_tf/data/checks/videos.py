"""Checks of the videos themselves: each is decoded, on every core."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.checks.findings import Finding
from ccsn_tf.data.checks.lists import same_videos
from ccsn_tf.data.datasets import Clip, Listing, Split
from ccsn_tf.data.frames import count_frames, files_of, iter_flow, iter_frames
from ccsn_tf.data.prepare.encode import refuse_few_frames
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.records.selection import cautions
from ccsn_tf.data.video import VideoError, decode_ends, decode_whole

_MOST_UNUSABLE = 0.05  # share of the clips that may be missing without the set being another one
_ANY_SIDE = 2**31  # frames are looked at in the size that they have

# Of near-duplicates.
_PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the frames that are compared, as shares of the video
_SIZE = 32
_FLAT = 4.0  # grey levels of standard deviation: a frame with less, as a black one, shows nothing
_MOST_BITS = 7  # of 64 that may differ, on average over the frames
_FEWEST_FRAMES = 3  # of a pair of videos that must be comparable


@dataclasses.dataclass(frozen=True)
class Scanned:
    """What a look at a clip's video, or folder of frames, shows.

    `error`: why it cannot be decoded, or else its `frames` (0: a container that does not say) and how many of them are
    `concealed` damage; `digest` of its files, where another's are as long; `hashes` if near-duplicates are asked for.
    """

    error: str = ""
    frames: int = 0
    concealed: int = 0
    digest: str = ""
    hashes: tuple[int, ...] = ()


def scan(
    clips: Sequence[Clip], config: DataConfig, quick: bool, alike: bool, progress: Callable[[int, int], None]
) -> dict[str, Scanned]:
    """Looks at the videos of `clips`, {clip name: what was seen}; arguments as `check` has them."""
    lengths, seen = [_length(clip.path) for clip in clips], {}
    times = collections.Counter(lengths)
    tasks = [(clip.path, times[length] > 1) for clip, length in zip(clips, lengths, strict=True)]
    progress(0, len(clips))
    look = functools.partial(_look, quick=quick, alike=alike, with_flow=config.flow == "stored")
    with WorkerPool(look, config.workers, config.stall_seconds) as pool:
        for done, outcome in enumerate(pool.run(tasks), start=1):
            clip = clips[outcome.index]
            seen[clip.name] = outcome.value or Scanned(outcome.why(clip.path))
            progress(done, len(clips))
    return seen


def _look(path: str, is_shared: bool, beat: Callable[[], None], quick: bool, alike: bool, with_flow: bool) -> Scanned:
    try:
        if os.path.isdir(path):
            frames, concealed = _decode_folder(path, beat, quick, with_flow), 0
        else:
            decoded = (decode_ends if quick else decode_whole)(path, beat)
            frames, concealed = decoded.frames, decoded.concealed
        return Scanned("", frames, concealed, _digest(path) if is_shared else "", hashes(path, beat) if alike else ())
    except VideoError as error:
        return Scanned(str(error))


def _decode_folder(folder, beat, quick, with_flow):
    """Decodes the images of a folder and returns the number of frames."""
    number = count_frames(folder)
    for _ in iter_frames(folder, _ANY_SIDE, [0, number - 1] if quick else None):
        beat()
    if with_flow and number > 1:
        for _ in iter_flow(folder, _ANY_SIDE, [0, number - 2] if quick else None):
            beat()
    return number


def _length(path):
    try:
        return sum(map(os.path.getsize, files_of(path)))
    except OSError:
        return -1


def _digest(path):
    digest = hashlib.sha256()
    for name in files_of(path):
        with open(name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def check_videos(config: Config, listing: Listing, seen: Mapping[str, Scanned]) -> Iterator[Finding]:
    """Yields what is wrong with the videos of `listing`; `seen` is from `scan`."""
    unusable = set()
    for name, look in seen.items():
        kind, why = "unreadable", look.error
        try:
            if look.frames:
                refuse_few_frames(name, look.frames, config.model.flow_length, config.data.flow_stride)
        except VideoError as error:
            kind, why = "short", str(error)
        if why:
            unusable.add(name)
            yield Finding(kind, name, why)
        elif look.concealed:
            yield Finding("damaged in places", name, f"{name} has damaged parts in {look.concealed} of its frames.")
    digests = {name: look.digest for name, look in seen.items()}
    yield from same_videos(digests, listing.splits, config.data.dataset)
    yield from near_duplicates({name: look.hashes for name, look in seen.items()}, digests, listing.splits)
    yield from _missing(config, listing, unusable)


def _missing(config, listing, unusable):
    """Classes that have no usable clip on a side of the split, and sets of which too much is missing."""
    missing, total = len(unusable) + len(listing.absent), len(listing.clips) + len(listing.absent)
    if missing > _MOST_UNUSABLE * total:
        message = f"{missing} of {total} clips are absent or cannot be used: complete the data set."
        yield Finding("much is missing", "", message, True)
    number, labels = config.data.split, {clip.name: clip.label for clip in listing.clips if clip.name not in unusable}
    if number not in listing.splits:
        known = ", ".join(map(str, sorted(listing.splits)))
        yield Finding("no such split", "", f"--split={number} is not in the lists: give one of {known}.", True)
        return
    training, test = ([labels[name] for name in names if name in labels] for names in listing.splits[number])
    for label in (label for label in listing.classes if label not in training):
        message = f"Class {label} has no usable training clip in split {number}"
        yield Finding("class without clips", "", f"{message}: add some, or leave it out with --classes.", True)
    yield from (Finding("few clips", "", caution) for caution in cautions(listing.classes, training, test))


def hashes(path: str, beat: Callable[[], None] = lambda: None) -> tuple[int, ...]:
    """Five 64-bit numbers, one a frame, that stay nearly the same when a video is encoded again or scaled.

    A bit says whether a place of the frame is brighter than the one on its right (a difference hash: the frame is
    averaged to 8 rows of 9 places). Frames without contrast give 0.

    Raises:
        VideoError: the video cannot be used.
    """
    small = []
    for frame in iter_frames(path, _SIZE):
        small.append(cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA))
        beat()
    chosen = [small[int(place * len(small))] for place in _PLACES]
    bits = [np.packbits(image[:, 1:] > image[:, :-1]) * (image.std() >= _FLAT) for image in chosen]
    return tuple(int.from_bytes(row.tobytes(), "big") for row in bits)


def near_duplicates(
    hashes_of: Mapping[str, tuple[int, ...]], digests: Mapping[str, str], splits: Mapping[int, Split]
) -> Iterator[Finding]:
    """Videos on both sides of a split that look the same, though they are not the same to the bit.

    Args:
        hashes_of: clip name to its `hashes`; empty: not to be compared.
        digests: see `same_videos`.
        splits: by number.
    """
    reported = set()
    for number, split in sorted(splits.items()):
        sides = [[name for name in side if hashes_of.get(name)] for side in split]
        ours, theirs = (np.array([hashes_of[name] for name in side], np.uint64) for side in sides)
        for train, row in zip(sides[0], ours if sides[1] else (), strict=False):
            comparable = (row != 0) & (theirs != 0)
            bits = np.where(comparable, np.bitwise_count(row ^ theirs), 0).sum(axis=1, dtype=np.int64)
            frames = comparable.sum(axis=1)
            for column in np.flatnonzero((frames >= _FEWEST_FRAMES) & (bits <= _MOST_BITS * frames)):
                test = sides[1][column]
                if (train, test) not in reported and not (digests[train] and digests[train] == digests[test]):
                    reported.add((train, test))
                    message = f"{train} trains and {test} tests in split {number}, and they look the same."
                    yield Finding("look the same on both sides", train, message)
