"""Looks at every video of a data set, on every core; what is found is judged elsewhere."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Sequence

from ccsn_tf.config import DataConfig
from ccsn_tf.data import frames
from ccsn_tf.data.checks.near_duplicates import likeness
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.video import Decoded, VideoError, decode_ends, decode_whole

_ANY_SIDE = 2**31  # frames are looked at in the size that they have


@dataclasses.dataclass(frozen=True)
class Scanned:
    """What a look at a clip's video, or folder of frames, shows.

    `error`: why it cannot be used, or else `decoded`; `digest` of its files, where another's are as long; `likeness`
    if that is asked for.
    """

    error: str = ""
    decoded: Decoded | None = None
    digest: str = ""
    likeness: tuple[int, ...] = ()


def scan(
    clips: Sequence[Clip],
    config: DataConfig,
    quick: bool,
    alike: bool,
    progress: Callable[[int, int], None],
) -> dict[str, Scanned]:
    """Looks at the videos of `clips`.

    Args:
        clips: which.
        config: `workers`, `stall_seconds`, and whether `flow` is stored with frames.
        quick: decodes the ends of each video only.
        alike: computes what shows that two videos look the same, which decodes each twice.
        progress: called with (clips done, clips in all).

    Returns:
        {clip name: what was seen}.
    """
    lengths = [_length(clip.path) for clip in clips]
    times = collections.Counter(lengths)
    tasks = [(clip.path, times[length] > 1) for clip, length in zip(clips, lengths, strict=True)]
    seen = {}
    progress(0, len(clips))
    look = functools.partial(_look, quick=quick, alike=alike, with_flow=config.flow == "stored")
    with WorkerPool(look, config.workers, config.stall_seconds) as pool:
        for done, outcome in enumerate(pool.run(tasks), start=1):
            clip = clips[outcome.index]
            error = f"{clip.path} cannot be decoded: {outcome.error}."
            seen[clip.name] = outcome.value if outcome.error is None else Scanned(error)
            progress(done, len(clips))
    return seen


def _look(path: str, is_shared: bool, beat: Callable[[], None], quick: bool, alike: bool, with_flow: bool) -> Scanned:
    try:
        if os.path.isdir(path):
            decoded = _decode_folder(path, beat, quick, with_flow)
        else:
            decoded = (decode_ends if quick else decode_whole)(path, beat)
        similar = likeness(path, beat) if alike else ()
    except VideoError as error:
        return Scanned(str(error))
    return Scanned("", decoded, _digest(path) if is_shared else "", similar)


def _decode_folder(folder, beat, quick, with_flow):
    number = frames.count_frames(folder)
    for frame in frames.iter_frames(folder, _ANY_SIDE, [0, number - 1] if quick else None):
        height, width = frame.shape[:2]
        beat()
    if with_flow and number > 1:
        for _ in frames.iter_flow(folder, _ANY_SIDE, [0, number - 2] if quick else None):
            beat()
    return Decoded(number, width, height, 0)


def _files(path):
    """The file, or those in the folder, in an order that does not change."""
    if not os.path.isdir(path):
        return [path]
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)


def _length(path):
    try:
        return sum(map(os.path.getsize, _files(path)))
    except OSError:
        return -1


def _digest(path):
    digest = hashlib.sha256()
    for name in _files(path):
        with open(name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
