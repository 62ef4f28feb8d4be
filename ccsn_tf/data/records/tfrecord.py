"""What TensorFlow calls an Example and a TFRecord, without TensorFlow, which takes seconds and 600 MB to load.

TFRecord: the length of a record (8 bytes), its checksum (4), the record, its checksum (4); little-endian.
Example: a protocol buffer in which every field is length-delimited: a tag, the length, the content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import google_crc32c

HEADER_BYTES = 12
FOOTER_BYTES = 4


def example(features: Mapping[str, Sequence[bytes]]) -> bytes:
    """A serialised `tf.train.Example` with a bytes_list for each feature; equal features give equal bytes."""
    entries = []
    for name in sorted(features):  # as protobuf's deterministic serialisation has it
        bytes_list = [piece for value in features[name] for piece in _field(1, [value])]
        feature = _field(1, bytes_list)
        entries += _field(1, [*_field(1, [name.encode()]), *_field(2, feature)])
    return b"".join(_field(1, entries))


def read_example(record: bytes) -> dict[str, list[bytes]]:
    """The features of a serialised `tf.train.Example`, each a bytes_list.

    Raises:
        ValueError: it is no such Example.
    """
    features = {}
    for feature_map in _fields(record, 1):
        for entry in _fields(feature_map, 1):
            (name,), (feature,) = _fields(entry, 1), _fields(entry, 2)
            features[name.decode()] = [value for bytes_list in _fields(feature, 1) for value in _fields(bytes_list, 1)]
    return features


def framed(record: bytes) -> bytes:
    """A record as it stands in a TFRecord file: `HEADER_BYTES` before it and `FOOTER_BYTES` behind."""
    length = len(record).to_bytes(8, "little")
    checksums = [masked_checksum(part).to_bytes(4, "little") for part in (length, record)]
    return b"".join([length, checksums[0], record, checksums[1]])


def masked_checksum(data: bytes) -> int:
    """CRC-32C as TFRecord files store it: rotated by 15 bits, plus a constant (TensorFlow, TFRecord)."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _field(number: int, pieces: list[bytes]) -> list[bytes]:
    """A length-delimited field, in pieces: long content is joined once, at the end."""
    return [bytes([number << 3 | 2]), _varint(sum(map(len, pieces))), *pieces]


def _varint(number):
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _fields(message: bytes, number: int) -> list[bytes]:
    """The contents of a message's fields of this number; all its fields must be length-delimited."""
    contents, place = [], 0
    while place < len(message):
        tag, length, shift = message[place], 0, 0
        more = tag & 7 == 2
        while more and place + 1 < len(message) and shift < 64:
            place += 1
            length |= (message[place] & 0x7F) << shift
            more, shift = message[place] >= 0x80, shift + 7
        place += 1
        if tag & 7 != 2 or more or place + length > len(message):
            raise ValueError("no protocol buffer of length-delimited fields")
        if tag >> 3 == number:
            contents.append(message[place : place + length])
        place += length
    return contents
