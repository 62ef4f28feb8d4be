"""Checks of prepared records: that they are, to the bit, what the manifest says they are."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping

import cv2
import numpy as np

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.checks import sides
from ccsn_tf.data.checks.findings import Finding
from ccsn_tf.data.plan import refuse_short
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.records.manifest import Manifest, StoredClip
from ccsn_tf.data.records.tfrecord import FOOTER_BYTES, HEADER_BYTES, masked_checksum, read_example
from ccsn_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Read:
    """What reading a clip's record shows: what is wrong with it, and a digest of its frames."""

    faults: tuple[str, ...] = ()
    digest: str = ""


def read_records(
    manifest: Manifest, config: DataConfig, thorough: bool, progress: Callable[[int, int], None]
) -> dict[str, Read]:
    """Reads every record, on every core.

    Args:
        manifest: of the folder.
        config: `record_dir`, `workers` and `stall_seconds`.
        thorough: decodes every JPEG, not only the first and last ones of each clip.
        progress: called with (clips done, clips in all).

    Returns:
        {clip name: what was seen}.
    """
    clips, seen = manifest.clips, {}
    progress(0, len(clips))
    with_flow = manifest.settings["flow"] != "none"
    function = functools.partial(_read, record_dir=config.record_dir, thorough=thorough, with_flow=with_flow)
    with WorkerPool(function, config.workers, config.stall_seconds) as pool:
        for done, outcome in enumerate(pool.run([(clip,) for clip in clips]), start=1):
            lost = Read((f"it cannot be read: {outcome.error}",))
            seen[clips[outcome.index].name] = outcome.value if outcome.error is None else lost
            progress(done, len(clips))
    return seen


def _read(clip: StoredClip, beat: Callable[[], None], record_dir: str, thorough: bool, with_flow: bool) -> Read:
    try:
        with pathlib.Path(record_dir, clip.shard).open("rb") as file:
            file.seek(clip.offset)
            content = file.read(HEADER_BYTES + clip.length + FOOTER_BYTES)
    except OSError as error:
        return Read((f"it cannot be read ({error.strerror})",))
    header, record, footer = content[:HEADER_BYTES], content[HEADER_BYTES:-FOOTER_BYTES], content[-FOOTER_BYTES:]
    beat()
    if header != _checked(clip.length.to_bytes(8, "little")) or record + footer != _checked(record):
        return Read(("its bytes are not those that were written: the checksum differs",))
    beat()
    try:
        features = read_example(record)
        name, rgb, flow = features["name"][0].decode(), features["rgb"], features["flow"]
        table = np.frombuffer(features["table"][0], "<i4").reshape(-1, 2).tolist()
    except (ValueError, LookupError):
        return Read(("it is not a record of name, rgb, flow and table",))
    faults = [] if name == clip.name else [f"it holds {name}"]
    fields = clip.fields if with_flow else 0
    if (len(rgb), len(flow)) != (clip.fields + 1, fields):
        faults.append(
            f"it has {len(rgb)} frames and {len(flow)} fields, the manifest says {clip.fields + 1} and {fields}"
        )
    elif [record[start : start + size] for start, size in table] != flow + rgb:
        faults.append("its table does not point at its JPEGs")
    for jpegs, shape in ((rgb, (clip.height, clip.width, 3)), (flow, (2 * clip.height, clip.width))):
        for jpeg in jpegs if thorough else {jpegs[0], jpegs[-1]} if jpegs else ():
            faults += _jpeg_faults(jpeg, shape)
            beat()
    return Read(tuple(dict.fromkeys(faults)), hashlib.sha256(b"".join(rgb)).hexdigest())


def _checked(content):
    """The content with its checksum behind, as TFRecord files have it."""
    return content + masked_checksum(content).to_bytes(4, "little")


def _jpeg_faults(jpeg, shape):
    kind = "frame" if len(shape) == 3 else "flow field"
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED) if jpeg else None
    if image is None:
        return [f"a {kind} is no JPEG"]
    return [] if image.shape == shape else [f"a {kind} has the shape {image.shape}, not {shape}"]


def damaged(config: Config, manifest: Manifest, seen: Mapping[str, Read]) -> Iterator[Finding]:
    """Records that are not what was written."""
    shards = {clip.name: clip.shard for clip in manifest.clips}
    for name, read in seen.items():
        for fault in read.faults:
            path = pathlib.Path(config.data.record_dir, shards[name])
            remedy = f"delete {path} and run prepare.py again, which restores it"
            yield Finding("damaged record", name, f"{name}: {fault}; {remedy}.", True)


def places(config: Config, manifest: Manifest, seen: Mapping[str, Read]) -> Iterator[Finding]:
    """Record files that the manifest's clips do not fill from end to end, and clips that it names twice."""
    names = collections.Counter(clip.name for clip in manifest.clips)
    for name in (name for name, times in names.items() if times > 1):
        yield _wrong(f"{name} is there {names[name]} times", name)
    ends = dict.fromkeys(manifest.shards, 0)
    for clip in sorted(manifest.clips, key=lambda clip: (clip.shard, clip.offset)):
        if clip.shard not in ends:
            yield _wrong(f"{clip.name} is in {clip.shard}, which is no file of it", clip.name)
            continue
        if clip.offset != ends[clip.shard]:
            yield _wrong(
                f"{clip.name} begins at byte {clip.offset} of {clip.shard}, not at {ends[clip.shard]}", clip.name
            )
        ends[clip.shard] = clip.offset + HEADER_BYTES + clip.length + FOOTER_BYTES
    for shard, end in ends.items():
        if end != manifest.shards[shard]:
            yield _wrong(f"the clips of {shard} end at byte {end}, the file at {manifest.shards[shard]}")


def labels_and_splits(config: Config, manifest: Manifest, seen: Mapping[str, Read]) -> Iterator[Finding]:
    """Clips whose class the manifest does not have, and names in its splits that are no clips of it."""
    known = {clip.name for clip in manifest.clips} | set(manifest.skipped)
    for clip in manifest.clips:
        if clip.label not in manifest.classes:
            yield _wrong(f"{clip.name} is labelled {clip.label}, which is no class of it", clip.name)
    for number, split in manifest.splits.items():
        for name in sorted({*split["train"], *split["test"]} - known):
            yield _wrong(f"split {number} names {name}, which it says nothing else about", name)
        for name in sorted({*split["train"]} & {*split["test"]}):
            yield _wrong(f"split {number} has {name} on both sides", name)


def _wrong(what, clip=""):
    return Finding("wrong manifest", clip, f"manifest.json is wrong: {what}; run prepare.py again.", True)


def what_training_refuses(config: Config, manifest: Manifest, seen: Mapping[str, Read]) -> Iterator[Finding]:
    """Other settings, an unknown split, classes without clips, clips shorter than a snippet."""
    for side in ("train", "test"):
        try:
            _, clips = manifest.select(config.data, side)
            refuse_short(clips, config.model.flow_length)
        except UserError as error:
            yield Finding("refused by train.py", "", str(error), True)
            return


def same_frames(config: Config, manifest: Manifest, seen: Mapping[str, Read]) -> Iterator[Finding]:
    """See `sides.same_videos`: here, clips with the same frames."""
    digests = {name: read.digest for name, read in seen.items()}
    yield from sides.same_videos(digests, _splits(manifest), manifest.settings["dataset"])


def groups_on_both_sides(config: Config, manifest: Manifest, seen: Mapping[str, Read]) -> Iterator[Finding]:
    """See `sides.groups`."""
    yield from sides.groups(manifest.clips, _splits(manifest))


def _splits(manifest):
    return {number: (split["train"], split["test"]) for number, split in manifest.splits.items()}


def skipped(config: Config, manifest: Manifest, seen: Mapping[str, Read]) -> Iterator[Finding]:
    """Clips that preparation left out."""
    for name, reason in sorted(manifest.skipped.items()):
        yield Finding("left out by prepare.py", name, reason)


CHECKS = (what_training_refuses, places, labels_and_splits, damaged, same_frames, groups_on_both_sides, skipped)
"""Each is called with the config, the manifest and what was read."""
