"""The record of a clip: a ZIP file of JPEGs, stored as they are.

    frames/0000000.jpg   N + 1, colour, (H, W)
    fields/0000000.jpg   N, grey, (2h, w): x above y, quantised; field i goes from frame i to the video's next one,
                         h is H or less (`flow.field_size`); none at all with --flow=none

The file's comment is the clip's name. Names in it are all of one length, hence so are the rows of its directory: with
the place of the directory, which the manifest holds, a reader finds the rows, and with them reads the JPEGs that it
needs and no others: a few snippets are some hundredths of a clip.
"""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterable, Sequence

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file

FRAMES, FIELDS = "frames", "fields"
_NAME_BYTES = len("frames/0000000.jpg")
_HEADER_BYTES = 30 + _NAME_BYTES  # before each JPEG
_ROW = np.dtype(
    {"names": ["bytes", "begin"], "formats": ["<u4"] * 2, "offsets": [24, 42], "itemsize": 46 + _NAME_BYTES}
)
OVERHEAD = _HEADER_BYTES + _ROW.itemsize
"""Bytes of a record a JPEG, beside the JPEG itself."""
MAX_BYTES = 2**31 - 2**16
"""Of a record: beyond, rows of the directory grow."""

_IN_MEMORY = 2**24  # bytes of fields that wait for the last frame; more wait on disk


def record_file(name: str) -> str:
    """Where the record of a clip is below the record folder; clips may have names that files cannot."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"clips/{digest[:2]}/{digest[:24]}.zip"


def jpeg_name(kind: str, number: int) -> str:
    """A JPEG's name in a record."""
    return f"{kind}/{number:07d}.jpg"


def write_record(path: str | os.PathLike, name: str, jpegs: Iterable[tuple[str, bytes]]) -> None:
    """Writes a clip's record, which is there whole or not at all; equal JPEGs give equal bytes.

    Args:
        path: of the record.
        name: the clip's.
        jpegs: (`FRAMES` or `FIELDS`, JPEG), each kind in its order. Memory does not depend on how many.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    count, lengths = 0, []
    with (
        whole_file(path) as beside,
        tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=beside.parent) as fields,
        zipfile.ZipFile(beside, "w") as file,
    ):
        file.comment = name.encode()
        for kind, jpeg in jpegs:
            if kind == FIELDS:
                lengths.append(fields.write(jpeg))
                continue
            file.writestr(zipfile.ZipInfo(jpeg_name(FRAMES, count)), jpeg)
            count += 1
        fields.seek(0)
        for number, length in enumerate(lengths):
            file.writestr(zipfile.ZipInfo(jpeg_name(FIELDS, number)), fields.read(length))


def read_jpegs(
    path: str | bytes, directory: int, num_fields: int, frames: Sequence[int], fields: Sequence[int]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Reads chosen frames and flow fields of one clip, and nothing else of its file. Safe in threads.

    Args:
        path: the record.
        directory: where the ZIP's directory begins.
        num_fields: N.
        frames: ascending indices of frames, 0 to N.
        fields: ascending indices of flow fields, 0 to N - 1.

    Returns:
        The JPEGs of these frames, and of these fields, each uint8 (bytes,).

    Raises:
        UserError: the file is shorter than its manifest says.
        OSError: the file cannot be read.
    """
    rows = [*frames, *(num_fields + 1 + index for index in fields)]
    if not rows:
        return [], []
    file = os.open(path, os.O_RDONLY)
    try:
        begin, count = rows[0], rows[-1] + 1 - rows[0]
        table = _read(file, path, directory + begin * _ROW.itemsize, count * _ROW.itemsize).view(_ROW)
        chosen = np.array(rows) - begin
        starts, sizes = (table["begin"][chosen] + _HEADER_BYTES).tolist(), table["bytes"][chosen].tolist()
        jpegs, first = [], 0
        for last, row in enumerate(rows):
            if last + 1 < len(rows) and rows[last + 1] == row + 1:
                continue  # what lies side by side is read at once
            start = starts[first]
            run = _read(file, path, start, starts[last] + sizes[last] - start)
            for place, size in zip(starts[first : last + 1], sizes[first : last + 1], strict=True):
                jpegs.append(run[place - start : place - start + size])
            first = last + 1
    finally:
        os.close(file)
    return jpegs[: len(frames)], jpegs[len(frames) :]


def _read(file, path, offset, count):
    content = os.pread(file, count, offset)
    if len(content) != count:
        raise UserError(f"{os.fsdecode(path)} is shorter than it was: run prepare.py again with the same settings.")
    return np.frombuffer(content, np.uint8)
