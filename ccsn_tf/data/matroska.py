"""How long a Matroska or WebM file says it is: it has no table of its frames that would show that it was cut."""

from __future__ import annotations

_HEADER, _SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")
_ENOUGH = 4096  # bytes: the header is some 40 long


def announced_bytes(path: str) -> int | None:
    """The length of the file by its own account (RFC 8794 and RFC 9559: header, then one segment), in bytes.

    None where it does not say, as live recordings do not, or where it is no such file.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_ENOUGH)
    if not head.startswith(_HEADER):
        return None
    start, size = _size(head, len(_HEADER))
    segment = start + (size or 0)
    if size is None or head[segment : segment + len(_SEGMENT)] != _SEGMENT:
        return None
    start, size = _size(head, segment + len(_SEGMENT))
    return None if size is None else start + size


def _size(head, place):
    """Where an element's content begins and how long it is: a number whose first byte says how many bytes it has."""
    first = head[place] if place < len(head) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(head[place : place + length], "big") & ((1 << 7 * length) - 1)
    if length > 8 or value == (1 << 7 * length) - 1:  # all ones: unknown
        return place + length, None
    return place + length, value
