"""A look into every video, or every record, from end to end and on every core."""

import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.flow import field_size
from ccsn_tf.data.frames import files_of, iter_flow, iter_frames
from ccsn_tf.data.records.manifest import Manifest, StoredClip
from ccsn_tf.data.records.record import FIELDS, FRAMES, jpeg_name
from ccsn_tf.data.video import VideoError, decode_whole
from ccsn_tf.worker_pool import WorkerPool

_ANY_SIDE = 2**31  # frames are looked at in the size that they have


@dataclasses.dataclass(frozen=True)
class Scanned:
    """What a look at a clip's video, folder of frames or record shows.

    `error`: why it cannot be used, or else its `frames`, how many of them are `concealed` damage, and a `digest` that
    is equal where the pictures are; empty where that need not be known.
    """

    error: str = ""
    frames: int = 0
    concealed: int = 0
    digest: str = ""


def scan_videos(clips: Sequence[Clip], config: DataConfig, progress: Callable[[int, int], None]) -> dict[str, Scanned]:
    """Decodes the videos of `clips`, {clip name: what was seen}; `progress` is called with (clips done, in all)."""
    lengths = [_length(clip.path) for clip in clips]
    times = collections.Counter(lengths)
    tasks = [(clip.path, times[length] > 1) for clip, length in zip(clips, lengths, strict=True)]
    look = functools.partial(_look, with_flow=config.flow == "stored")
    return _scanned(clips, [clip.path for clip in clips], look, tasks, config, progress)


def scan_records(manifest: Manifest, config: DataConfig, progress: Callable[[int, int], None]) -> dict[str, Scanned]:
    """Reads the records in `config.record_dir`, which are to be, to the bit, what `manifest` says they are."""
    read = functools.partial(_read, config.record_dir, manifest.settings)
    names = [f"reading {pathlib.Path(config.record_dir, clip.file)}" for clip in manifest.clips]
    return _scanned(manifest.clips, names, read, [(clip,) for clip in manifest.clips], config, progress)


def _scanned(clips, names, look, tasks, config, progress):
    seen = {}
    progress(0, len(clips))
    with WorkerPool(look, config.workers, config.stall_seconds) as pool:
        for done, outcome in enumerate(pool.run(tasks), start=1):
            seen[clips[outcome.index].name] = outcome.value or Scanned(outcome.why(names[outcome.index]))
            progress(done, len(clips))
    return seen


def _look(path: str, is_shared: bool, beat: Callable[[], None], with_flow: bool) -> Scanned:
    """A video or a folder of frames, with a digest if its length `is_shared` by another."""
    try:
        if os.path.isdir(path):
            frames, concealed = sum(1 for _ in _beaten(iter_frames(path, _ANY_SIDE), beat)), 0
            if with_flow and frames > 1:
                collections.deque(_beaten(iter_flow(path, _ANY_SIDE), beat), maxlen=0)
        else:
            frames, concealed = decode_whole(path, beat)
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


def _read(record_dir: str, settings: dict, clip: StoredClip, beat: Callable[[], None]) -> Scanned:
    """A record, whose JPEGs are read with their checksums; the first and last of each kind are decoded."""
    counts = {FRAMES: clip.fields + 1, FIELDS: clip.fields if settings["flow"] != "none" else 0}
    digest = hashlib.sha256()
    height, width = field_size(clip.height, clip.width, settings.get("flow_side", 0))
    shapes = {FRAMES: (clip.height, clip.width, 3), FIELDS: (2 * height, width)}
    expected = [(kind, number) for kind, count in counts.items() for number in range(count)]
    try:
        with zipfile.ZipFile(pathlib.Path(record_dir, clip.file)) as file:
            if file.comment != clip.name.encode() or file.namelist() != [jpeg_name(*place) for place in expected]:
                held = f"{counts[FRAMES]} frames and {counts[FIELDS]} flow fields"
                return Scanned(f"it is not the record of {clip.name} with {held}")
            for kind, number in expected:
                jpeg = file.read(jpeg_name(kind, number))
                beat()
                if kind == FRAMES:
                    digest.update(jpeg)
                if number in (0, counts[kind] - 1):
                    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED) if jpeg else None
                    if image is None or image.shape != shapes[kind]:
                        return Scanned(f"{jpeg_name(kind, number)} is no JPEG of the shape {shapes[kind]}")
    except OSError as error:
        return Scanned(f"it cannot be read ({error.strerror})")
    except (zipfile.BadZipFile, NotImplementedError, ValueError, zlib.error, EOFError) as error:
        return Scanned(f"its bytes are not those that were written ({error})")
    return Scanned("", counts[FRAMES], 0, digest.hexdigest())
