"""Checks of the videos themselves: each is decoded, on every core."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.checks.findings import Finding
from ccsn_tf.data.checks.lists import same_videos
from ccsn_tf.data.datasets import Clip, Listing
from ccsn_tf.data.frames import files_of, iter_flow, iter_frames
from ccsn_tf.data.prepare.encode import refuse_few_frames
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.records.selection import cautions
from ccsn_tf.data.video import VideoError, decode_whole

_MOST_UNUSABLE = 0.05  # share of the clips that may be missing without the set being another one
_ANY_SIDE = 2**31  # frames are looked at in the size that they have


@dataclasses.dataclass(frozen=True)
class Scanned:
    """What a look at a clip's video, or folder of frames, shows.

    `error`: why it cannot be decoded, or else its `frames` and how many of them are `concealed` damage; `digest` of its
    files, where another's are as long.
    """

    error: str = ""
    frames: int = 0
    concealed: int = 0
    digest: str = ""


def scan(clips: Sequence[Clip], config: DataConfig, progress: Callable[[int, int], None]) -> dict[str, Scanned]:
    """Decodes the videos of `clips`, {clip name: what was seen}; `progress` is called with (clips done, in all)."""
    lengths, seen = [_length(clip.path) for clip in clips], {}
    times = collections.Counter(lengths)
    tasks = [(clip.path, times[length] > 1) for clip, length in zip(clips, lengths, strict=True)]
    progress(0, len(clips))
    look = functools.partial(_look, with_flow=config.flow == "stored")
    with WorkerPool(look, config.workers, config.stall_seconds) as pool:
        for done, outcome in enumerate(pool.run(tasks), start=1):
            clip = clips[outcome.index]
            seen[clip.name] = outcome.value or Scanned(outcome.why(clip.path))
            progress(done, len(clips))
    return seen


def _look(path: str, is_shared: bool, beat: Callable[[], None], with_flow: bool) -> Scanned:
    try:
        if os.path.isdir(path):
            frames, concealed = sum(1 for _ in _beaten(iter_frames(path, _ANY_SIDE), beat)), 0
            if with_flow and frames > 1:
                collections.deque(_beaten(iter_flow(path, _ANY_SIDE), beat), maxlen=0)
        else:
            decoded = decode_whole(path, beat)
            frames, concealed = decoded.frames, decoded.concealed
        return Scanned("", frames, concealed, _digest(path) if is_shared else "")
    except VideoError as error:
        return Scanned(str(error))


def _beaten(images, beat):
    for image in images:
        beat()
        yield image


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
            if not look.error:
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
