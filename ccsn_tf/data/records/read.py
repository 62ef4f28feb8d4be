"""The record of a clip, and how to read it: a `tf.train.Example` of JPEG frames and flow fields in a TFRecord file.

    name    bytes        the clip's name
    rgb     bytes (N+1,) JPEG, colour, (H, W)
    flow    bytes (N,)   JPEG, grey, (2H, W): x above y, quantised; field i goes from frame i to the video's next;
                         none at all with --flow=none
    table   bytes        int32 (2N+1, 2), little-endian: where in the record the N fields (if any) and the N+1 frames
                         begin, and their sizes in bytes

The features stand in the order of their names, so the record ends with the table. With file, offset and length, which
the manifest holds, a reader finds the table, and with it reads the JPEGs that it needs and no others: a few snippets of
a clip are some hundredths of its record. TensorFlow, which takes seconds and 600 MB to load, is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ccsn_tf.errors import UserError

# A TFRecord: the length of a record (8 bytes) and its checksum (4), the record, its checksum (4); little-endian.
HEADER_BYTES = 12
FOOTER_BYTES = 4
PLACE = np.dtype(("<i4", 2))  # a row of the table


def read_jpegs(
    path: str | bytes, offset: int, length: int, num_fields: int, frames: Sequence[int], fields: Sequence[int]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Reads chosen frames and flow fields of one clip, and nothing else of its file. Safe in threads.

    Args:
        path: the TFRecord file.
        offset: where the record's header begins.
        length: bytes of the serialised Example.
        num_fields: N.
        frames: ascending indices of frames, 0 to N.
        fields: ascending indices of flow fields, 0 to N - 1.

    Returns:
        The JPEGs of these frames, and of these fields, each uint8 (bytes,).

    Raises:
        UserError: the file is shorter than its manifest says.
        OSError: the file cannot be read.
    """
    # The frames' rows are the last of the table, whether there are fields or not.
    before = num_fields if len(fields) else 0
    rows = [*fields, *(before + index for index in frames)]
    begin = offset + HEADER_BYTES
    table_bytes = (before + num_fields + 1) * PLACE.itemsize
    file = os.open(path, os.O_RDONLY)
    try:
        table = _read(file, path, begin + length - table_bytes, table_bytes).view(PLACE.base).reshape(-1, 2)
        places = table[rows].tolist()
        jpegs, first = [], 0
        for last, row in enumerate(rows):
            if last + 1 < len(rows) and rows[last + 1] == row + 1:
                continue  # what lies side by side is read at once
            start = places[first][0]
            run = _read(file, path, begin + start, sum(places[last]) - start)
            jpegs += [run[place - start : place - start + size] for place, size in places[first : last + 1]]
            first = last + 1
    finally:
        os.close(file)
    return jpegs[len(fields) :], jpegs[: len(fields)]


def _read(file, path, offset, count):
    content = os.pread(file, count, offset)
    if len(content) != count:
        raise UserError(f"{os.fsdecode(path)} is shorter than it was: run prepare.py again with the same settings.")
    return np.frombuffer(content, np.uint8)
