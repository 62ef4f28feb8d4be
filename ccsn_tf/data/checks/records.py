"""Checks of prepared records: that they are, to the bit, what the manifest says they are."""

from __future__ import annotations

import functools
import hashlib
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.checks.findings import Finding
from ccsn_tf.data.checks.lists import groups, same_videos
from ccsn_tf.data.datasets import Split
from ccsn_tf.data.flow import field_size
from ccsn_tf.data.plan import refuse_short
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.records.manifest import Manifest, StoredClip
from ccsn_tf.data.records.record import FIELDS, FRAMES, jpeg_name
from ccsn_tf.data.records.selection import cautions
from ccsn_tf.errors import UserError


def check_records(
    config: Config, manifest: Manifest, thorough: bool, progress: Callable[[int, int], None]
) -> Iterator[Finding]:
    """Yields what is wrong with the records in `config.data.record_dir`; arguments as `check` has them."""
    try:
        labels = []
        for side in ("train", "test"):
            classes, clips = manifest.select(config.data, side)
            refuse_short(clips, config.model.flow_length)
            labels.append([clip.label for clip in clips])
        yield from (Finding("few clips", "", caution) for caution in cautions(classes, *labels))
    except UserError as error:
        yield Finding("refused by train.py", "", str(error), True)
    clips, digests = manifest.clips, {}
    progress(0, len(clips))
    read = functools.partial(_read, config.data.record_dir, manifest.settings, thorough)
    with WorkerPool(read, config.data.workers, config.data.stall_seconds) as pool:
        for done, outcome in enumerate(pool.run([(clip,) for clip in clips]), start=1):
            clip = clips[outcome.index]
            fault, digests[clip.name] = outcome.value or (outcome.why("reading it"), "")
            if fault:
                path = pathlib.Path(config.data.record_dir, clip.file)
                remedy = f"delete {path} and run prepare.py again, which restores it"
                yield Finding("damaged record", clip.name, f"{clip.name}: {fault}; {remedy}.", True)
            progress(done, len(clips))
    splits = {number: Split(**split) for number, split in manifest.splits.items()}
    yield from same_videos(digests, splits, manifest.settings["dataset"])
    yield from groups(clips, splits)
    for name, reason in sorted(manifest.skipped.items()):
        yield Finding("left out by prepare.py", name, reason)


def _read(
    record_dir: str, settings: dict, thorough: bool, clip: StoredClip, beat: Callable[[], None]
) -> tuple[str, str]:
    """(what is wrong with a clip's record, if anything; a digest of its frames)."""
    counts = {FRAMES: clip.fields + 1, FIELDS: clip.fields if settings["flow"] != "none" else 0}
    digest = hashlib.sha256()
    height, width = field_size(clip.height, clip.width, settings.get("flow_side", 0))
    shapes = {FRAMES: (clip.height, clip.width, 3), FIELDS: (2 * height, width)}
    expected = [(kind, number) for kind, count in counts.items() for number in range(count)]
    try:
        with zipfile.ZipFile(pathlib.Path(record_dir, clip.file)) as file:
            if file.comment != clip.name.encode() or file.namelist() != [jpeg_name(*place) for place in expected]:
                held = f"{counts[FRAMES]} frames and {counts[FIELDS]} flow fields"
                return f"it is not the record of {clip.name} with {held}", ""
            for kind, number in expected:
                jpeg = file.read(jpeg_name(kind, number))  # with its checksum
                beat()
                if kind == FRAMES:
                    digest.update(jpeg)
                if thorough or number in (0, counts[kind] - 1):
                    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED) if jpeg else None
                    if image is None or image.shape != shapes[kind]:
                        return f"{jpeg_name(kind, number)} is no JPEG of the shape {shapes[kind]}", ""
    except OSError as error:
        return f"it cannot be read ({error.strerror})", ""
    except (zipfile.BadZipFile, NotImplementedError, ValueError, zlib.error, EOFError) as error:
        return f"its bytes are not those that were written ({error})", ""
    return "", digest.hexdigest()
