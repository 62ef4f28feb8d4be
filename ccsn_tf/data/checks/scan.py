"""Looks at every video of a data set, on every core; what is found is judged elsewhere."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Sequence

from ccsn_tf.data.checks.likeness import likeness
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.video import Decoded, VideoError, decode_ends, decode_whole
from ccsn_tf.data.worker_pool import WorkerPool


@dataclasses.dataclass(frozen=True)
class Scanned:
    """What a look at a clip's video shows.

    `error`: why it cannot be used, or else `decoded`; `digest` of the file, where another is as long; `likeness` if
    that is asked for.
    """

    error: str = ""
    decoded: Decoded | None = None
    digest: str = ""
    likeness: tuple[int, ...] = ()


def scan(
    clips: Sequence[Clip],
    quick: bool,
    alike: bool,
    workers: int,
    stall_seconds: float,
    progress: Callable[[int, int], None],
) -> dict[str, Scanned]:
    """Looks at the videos of `clips`.

    Args:
        clips: which.
        quick: decodes the ends of each video only.
        alike: computes what shows that two videos look the same, which decodes each twice.
        workers: processes, 0: one a core.
        stall_seconds: a video whose decoder gets nowhere for as long cannot be used.
        progress: called with (clips done, clips in all).

    Returns:
        {clip name: what was seen}.
    """
    lengths = [_length(clip.path) for clip in clips]
    times = collections.Counter(lengths)
    tasks = [(clip.path, times[length] > 1) for clip, length in zip(clips, lengths, strict=True)]
    seen = {}
    progress(0, len(clips))
    with WorkerPool(functools.partial(_look, quick=quick, alike=alike), workers, stall_seconds) as pool:
        for done, outcome in enumerate(pool.run(tasks), start=1):
            clip = clips[outcome.index]
            error = f"{clip.path} cannot be decoded: {outcome.error}."
            seen[clip.name] = outcome.value if outcome.error is None else Scanned(error)
            progress(done, len(clips))
    return seen


def _look(path: str, is_shared: bool, beat: Callable[[], None], quick: bool, alike: bool) -> Scanned:
    try:
        decoded = (decode_ends if quick else decode_whole)(path, beat)
        similar = likeness(path, beat) if alike else ()
    except VideoError as error:
        return Scanned(str(error))
    return Scanned("", decoded, _digest(path) if is_shared else "", similar)


def _length(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
