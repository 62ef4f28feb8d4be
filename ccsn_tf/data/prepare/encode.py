"""A clip to its record: decode, compute flow, compress. No TensorFlow: workers need not load it."""

import dataclasses
import functools
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.listing import Clip
from ccsn_tf.data.flow import Estimator, flow_fields, make_estimator, quantise
from ccsn_tf.data.frames import changed_at, iter_flow, iter_jpegs
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.data.records.record import FIELDS, FRAMES, MAX_BYTES, OVERHEAD, write_record
from ccsn_tf.data.video import VideoError
from ccsn_tf.errors import UserError
from ccsn_tf.worker_pool import Outcome, WorkerLostError, WorkerPool

_estimator = functools.lru_cache(maxsize=1)(make_estimator)


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Why a video has no record, and when its files had changed last (`changed_at`); None: to be tried again anyway."""

    reason: str
    change: int | None


Results = dict[str, StoredClip | Skipped]
"""What became of each clip, by its name."""


def record_pool(config: DataConfig, min_fields: int, workers: int) -> WorkerPool:
    """Processes that make records of clips; a task is a clip and the path of its record."""
    make = functools.partial(make_record, config=config, min_fields=min_fields)
    return WorkerPool(make, workers, config.stall_seconds)


def make_record(
    clip: Clip, record: str, beat: Callable[[], None], config: DataConfig, min_fields: int
) -> StoredClip | Skipped:
    """What a worker does with a clip: decodes its video, computes its flow and writes both, unless they are there.

    Args:
        clip: which video, and the name that the record bears.
        record: path of the record.
        beat: called for every frame.
        config: sizes, flow and quality.
        min_fields: a clip with fewer flow fields is skipped.

    Raises:
        UserError: the record cannot be written.
    """
    try:
        return _stored(clip, record)  # by a preparation that was killed
    except (OSError, zipfile.BadZipFile):
        pass
    change = changed_at(clip.path)
    cv2.setNumThreads(1)  # one process a core: more threads would only wait for one another
    try:
        write_record(record, clip.name, encode_clip(clip.path, _estimator(config), config, min_fields, beat))
    except VideoError as error:
        return Skipped(str(error), change)
    return _stored(clip, record)


def _stored(clip, record):
    with zipfile.ZipFile(record) as file:
        if file.comment != clip.name.encode():  # the last bytes of the file
            raise zipfile.BadZipFile
        names = file.namelist()
        frames = sum(name.startswith(FRAMES) for name in names)
        height, width = cv2.imdecode(np.frombuffer(file.read(names[0]), np.uint8), cv2.IMREAD_GRAYSCALE).shape
        size = pathlib.Path(record).stat().st_size
        return StoredClip(clip.name, clip.label, clip.group, size, file.start_dir, frames - 1, height, width)


def result_of(outcome: Outcome, clip: Clip) -> StoredClip | Skipped:
    """What a worker made of a clip; where it died, hung or raised what it should not, the clip is to be tried again.

    Raises:
        UserError: the record cannot be written.
    """
    if isinstance(outcome.error, UserError):
        raise outcome.error
    if outcome.error is None:
        return outcome.value
    remedy = "; the same command tries it again." if isinstance(outcome.error, WorkerLostError) else ""
    return Skipped(outcome.why(clip.path) + remedy, None)


def encode_clip(
    path: str,
    estimator: Estimator,
    config: DataConfig,
    min_fields: int,
    beat: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, bytes]]:
    """Decodes a clip, computes its flow and yields both as `write_record` takes them.

    With `flow_stride` s, stored frame i is the video's frame i * s. Of a folder of frames, JPEGs of the right size are
    kept as they are, and with --flow=stored the flow images are taken for the flow.

    Args:
        path: the video, or the folder of its frames.
        estimator: from `make_estimator`; not used with --flow=stored.
        config: sizes, bound and quality.
        min_fields: fewest flow fields that the clip must have.
        beat: called for every frame.

    Raises:
        VideoError: the video cannot be used, or is too short.
    """
    seen, total, jpegs, shape = 0, 0, [], ()

    def stored(frames):
        nonlocal seen, shape
        for frame, jpeg in frames:
            if seen % config.flow_stride == 0:
                jpegs.append((FRAMES, jpeg or encode_frame(frame, config.jpeg_quality)))
            shape = frame.shape
            seen += 1
            beat()
            yield frame

    try:
        for field in _fields(path, stored(iter_jpegs(path, config.short_side)), estimator, config):
            if field is not None:
                jpegs.append((FIELDS, encode_field(field, config.jpeg_quality)))
            total += sum(len(jpeg) + OVERHEAD for _, jpeg in jpegs)
            if total > MAX_BYTES:  # at once: a video without end would fill the disk
                raise VideoError(f"{path} is too long: {seen} frames fill a record; cut it into shorter videos.")
            yield from jpegs
            jpegs.clear()
    except cv2.error as error:
        raise flow_failure(path, config, *shape[:2], error) from None
    refuse_few_frames(path, seen, min_fields, config.flow_stride)
    yield from jpegs


def _fields(path, frames, estimator, config):
    """Quantised fields, uint8 (H, W, 2), of frames that are used up; None between them, where frames may be taken."""
    stride = config.flow_stride
    if config.flow not in ("none", "stored"):
        yield from (quantise(field, config.flow_bound) for field in flow_fields(frames, estimator, stride))
        return
    if config.flow == "stored" and not os.path.isdir(path):
        raise VideoError(
            f"{path} is a video, and --flow=stored takes flow images from a folder of frames: choose an algorithm with "
            "--flow."
        )
    num_frames = 0
    for _ in frames:
        num_frames += 1
        yield None
    if config.flow == "stored":
        yield from iter_flow(path, config.short_side, range(0, (num_frames - 1) // stride * stride, stride))


def refuse_few_frames(path: str, num_frames: int, flow_length: int, stride: int) -> None:
    """Raises VideoError where `num_frames` frames hold no snippet of `flow_length` fields, `stride` frames apart."""
    needed = flow_length * stride + 1
    if num_frames < needed:
        frames = f"{num_frames} frame{'s' if num_frames > 1 else ''}"
        apart = f" at --flow_stride={stride}" if stride > 1 else ""
        raise VideoError(
            f"{path} has {frames}: a snippet of --flow_length={flow_length} flow fields{apart} needs {needed}."
        )


def flow_failure(path: str, config: DataConfig, height: int, width: int, error: cv2.error) -> VideoError:
    """What to raise where OpenCV computes no flow of frames, as it does where they are too small for an algorithm."""
    return VideoError(
        f"{path}: --flow={config.flow} fails on frames of {width}x{height} pixels ({error.err or error}): leave the "
        "video out, or make it larger."
    )


def encode_frame(frame: np.ndarray, quality: int) -> bytes:
    """The JPEG of a frame, uint8 RGB (H, W, 3)."""
    return _jpeg(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality)


def encode_field(field: np.ndarray, quality: int) -> bytes:
    """The JPEG of a quantised flow field, uint8 (H, W, 2): grey, x above y."""
    return _jpeg(np.concatenate(cv2.split(field)), quality)


def _jpeg(image, quality):
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()
