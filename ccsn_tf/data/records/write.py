"""Clips to record files (shards), and the index beside each, which says what it holds and that it is whole.

What a shard holds follows from the list of clips alone, hence its bytes do not depend on who writes it, nor on when.
`records.read` says what a record is made of.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import pickle
import tempfile
from collections.abc import Generator, Mapping, Sequence

import google_crc32c
import numpy as np

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.listing import Clip, Listing
from ccsn_tf.data.frames import changed_at
from ccsn_tf.data.records.folder import LocalFolder
from ccsn_tf.data.records.manifest import Manifest, StoredClip, stored_settings
from ccsn_tf.data.records.read import FOOTER_BYTES, HEADER_BYTES, PLACE
from ccsn_tf.errors import UserError

_KEPT_IN_MEMORY = 2**24  # bytes of records a shard that wait for their turn; more wait on disk


@dataclasses.dataclass(frozen=True)
class EncodedClip:
    """JPEGs of a clip: `rgb` colour (H, W), `flow` grey (2H, W), x above y, quantised; field i leaves frame i.

    There is one field fewer than frames, or, with `flow=none`, none. With `flow_stride` s, frame i is the video's frame
    i * s.
    """

    rgb: list[bytes]
    flow: list[bytes]
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Record:
    """A clip's record as it stands in a TFRecord file, and its size: `fields` + 1 frames of (height, width)."""

    content: bytes
    fields: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Why a video has no record, and the `last_change` of the file that was tried; None: to be tried again anyway."""

    reason: str
    change: int | None


def last_change(clip: Clip) -> int | None:
    """When the clip's files or their properties were changed last, in nanoseconds; None where there are none."""
    try:
        return changed_at(clip.path)
    except OSError:
        return None


def serialise(name: str, clip: EncodedClip) -> bytes:
    """The serialised Example of a clip; equal clips give equal bytes."""
    features = {"name": [name.encode()], "rgb": clip.rgb, "flow": clip.flow}
    blank = np.zeros(len(clip.flow) + len(clip.rgb), PLACE)
    # The table's size is known before its content, and all that it points to stands before it.
    record, places, end = example({**features, "table": [blank.tobytes()]}), [], 0
    for jpeg in [*clip.flow, *clip.rgb]:
        begin = record.index(jpeg, end)
        end = begin + len(jpeg)
        places.append((begin, len(jpeg)))
    return example({**features, "table": [np.array(places, PLACE.base).tobytes()]})


def example(features: Mapping[str, Sequence[bytes]]) -> bytes:
    """A serialised `tf.train.Example` with a bytes_list for each feature; equal features give equal bytes."""
    entries = []
    for name in sorted(features):  # as protobuf's deterministic serialisation has it
        bytes_list = [piece for value in features[name] for piece in _field(1, [value])]
        entries += _field(1, [*_field(1, [name.encode()]), *_field(2, _field(1, bytes_list))])
    return b"".join(_field(1, entries))


def _field(number: int, pieces: list[bytes]) -> list[bytes]:
    """A length-delimited field of a protocol buffer, in pieces: long content is joined once, at the end."""
    length, varint = sum(map(len, pieces)), bytearray()
    while length >= 0x80:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    return [bytes([number << 3 | 2, *varint, length]), *pieces]


def framed(record: bytes) -> bytes:
    """A record as it stands in a TFRecord file: `HEADER_BYTES` before it and `FOOTER_BYTES` behind."""
    length = len(record).to_bytes(8, "little")
    return b"".join([length, _masked_checksum(length), record, _masked_checksum(record)])


def _masked_checksum(data):
    """CRC-32C as TFRecord files store it: rotated by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")


@dataclasses.dataclass(frozen=True)
class Shard:
    """A record file to be, and its clips in order."""

    name: str
    clips: tuple[Clip, ...]

    @property
    def index_name(self) -> str:
        """Of the JSON file beside it."""
        return str(pathlib.PurePath(self.name).with_suffix(".json"))


def plan_shards(lists: Sequence[Sequence[str]], clips: Sequence[Clip], clips_per_shard: int) -> list[Shard]:
    """The shards of a data set, `clips-00000-of-00004.tfrecord` and so on; those without a clip are left out.

    Args:
        lists: names of the clips that were there at first, and of those that each later preparation found more: the
            shards of these are `added1-00000-of-00001.tfrecord` and so on.
        clips: those that are there now.
        clips_per_shard: of those that were there when the shard was planned.
    """
    by_name, shards = {clip.name: clip for clip in clips}, []
    for number, names in enumerate(lists):
        chunks = [names[start : start + clips_per_shard] for start in range(0, len(names), clips_per_shard)]
        for n, chunk in enumerate(chunks):
            name = f"{f'added{number}' if number else 'clips'}-{n:05d}-of-{len(chunks):05d}.tfrecord"
            shards.append(Shard(name, tuple(by_name[clip] for clip in chunk if clip in by_name)))
    return [shard for shard in shards if shard.clips]


def write_shard(folder: LocalFolder, shard: Shard) -> Generator[None, tuple[int, Record | Skipped], None]:
    """Writes one record file, then its index. To be sent (position of the clip, what became of it), in any order.

    Begin it with `next`. It ends (StopIteration) when all clips are there; closed before, it leaves nothing behind.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    stored, skipped, offset = [], {}, 0
    places = {}
    with folder.whole(shard.name) as file, tempfile.SpooledTemporaryFile(_KEPT_IN_MEMORY, dir=folder.scratch) as early:
        for position, clip in enumerate(shard.clips):
            result = None
            if position in places:
                early.seek(places[position])
                result = pickle.load(early)
            while result is None:
                arrived, of_arrived = yield
                if arrived == position:
                    result = of_arrived
                else:
                    places[arrived] = early.seek(0, os.SEEK_END)
                    pickle.dump(of_arrived, early)
            if isinstance(result, Skipped):
                skipped[clip.name] = dataclasses.asdict(result)
                continue
            file.write(result.content)
            size = {"fields": result.fields, "height": result.height, "width": result.width}
            length = len(result.content) - HEADER_BYTES - FOOTER_BYTES
            stored.append({"name": clip.name, "offset": offset, "length": length, **size})
            offset += len(result.content)
    index = {"bytes": offset, "clips": stored, "skipped": skipped}
    with folder.whole(shard.index_name) as file:
        file.write(json.dumps(index).encode() + b"\n")


def read_index(folder: LocalFolder, shard: Shard) -> dict | None:
    """What `write_shard` noted, None where the shard or its index is not there, or not whole."""
    content, size = folder.read(shard.index_name), folder.size(shard.name)
    try:
        index = json.loads(content or b"")
        return index if {"clips", "skipped"} < index.keys() and index["bytes"] == size else None
    except (ValueError, AttributeError, KeyError):  # emptied or garbled by a loss of power
        return None


def is_missing(folder: LocalFolder, shard: Shard) -> bool:
    """Whether a shard is to be written (again): it is not whole, or a video that it lacks has changed or come back."""
    index = read_index(folder, shard)
    if index is None or {clip.name for clip in shard.clips} - {clip["name"] for clip in index["clips"]} - {
        *index["skipped"]
    }:
        return True
    tried = {name: skipped["change"] for name, skipped in index["skipped"].items()}
    changes = ((tried[clip.name], last_change(clip)) for clip in shard.clips if clip.name in tried)
    return any(before is None or before != now for before, now in changes)


def collect(folder: LocalFolder, config: DataConfig, listing: Listing, shards: Sequence[Shard]) -> Manifest:
    """The manifest of shards that are all there."""
    indices = {shard.name: read_index(folder, shard) for shard in shards}
    lost = [name for name, index in indices.items() if index is None]
    if lost:
        raise UserError(f"{lost[0]} vanished from {folder} in the meantime: run the same command again.")
    stored = {clip["name"]: {"shard": name, **clip} for name, index in indices.items() for clip in index["clips"]}
    skipped = {name: reason["reason"] for index in indices.values() for name, reason in index["skipped"].items()}
    skipped = {clip.name: skipped[clip.name] for clip in listing.clips if clip.name in skipped}  # others are gone
    return Manifest(
        settings=stored_settings(config),
        classes=listing.classes,
        splits={number: {"train": split.train, "test": split.test} for number, split in listing.splits.items()},
        shards={name: index["bytes"] for name, index in indices.items()},
        clips=tuple(
            StoredClip(label=clip.label, group=clip.group, **stored[clip.name])
            for clip in listing.clips
            if clip.name in stored
        ),
        skipped={**dict(listing.absent), **skipped},
        skipped_labels=listing.absent_labels
        | {clip.name: clip.label for clip in listing.clips if clip.name in skipped},
        mirrored=listing.mirrored,
        unused=listing.unused,
    )
