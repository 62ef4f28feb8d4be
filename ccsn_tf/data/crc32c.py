"""CRC-32C (Castagnoli; RFC 3720, appendix B.4), the checksum of TFRecord files, in NumPy.

A checksum is a linear function of the message over GF(2), and of the state that it starts from. So the message is laid
out in rows of `_LANES` words, each lane is summed on its own, all at once, and the lanes are folded together at last;
"advancing" is what a state undergoes while zeros follow it.
"""

from __future__ import annotations

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # bits reversed
_LANES = 4096  # 32-bit words in a row: a power of two


def crc32c(data: bytes) -> int:
    """The CRC-32C of `data`, about 1 ms a megabyte."""
    if len(data) < 4:
        return _crc32c_of_few(data)
    rows = -(-len(data) // (4 * _LANES))
    message = np.zeros(4 * _LANES * rows, np.uint8)  # zeros in front leave a state of zero as it is
    message[-len(data) :] = np.frombuffer(data, np.uint8)
    start = len(message) - len(data)
    message[start : start + 4] ^= 0xFF  # which is to start from a state of ones
    low, high = _row_tables()
    state = np.zeros(_LANES, np.uint32)
    for row in message.view("<u4").reshape(rows, _LANES):
        halves = state.view(np.uint16)
        state = low[halves[0::2]] ^ high[halves[1::2]] ^ row
    lanes = _LANES
    while lanes > 1:
        lanes //= 2
        state = _apply(_tables(4 * lanes), state[:lanes]) ^ state[lanes:]
    return int(_apply(_tables(4), state)[0]) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord files store it: rotated by 15 bits, plus a constant (TensorFlow, TFRecord)."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc32c_of_few(data):
    state = 0xFFFFFFFF
    for byte in data:
        state = _advanced_by_a_byte(state ^ byte)
    return state ^ 0xFFFFFFFF


def _advanced_by_a_byte(state):
    for _ in range(8):
        state = state >> 1 ^ (_POLYNOMIAL if state & 1 else 0)
    return state


@functools.cache
def _advance(num_bytes):
    """What becomes of each of the 32 bits of a state while `num_bytes` zeros follow; a power of two."""
    if num_bytes == 1:
        return [_advanced_by_a_byte(1 << bit) for bit in range(32)]
    half = _advance(num_bytes // 2)
    return [functools.reduce(int.__xor__, (half[bit] for bit in range(32) if column >> bit & 1)) for column in half]


@functools.cache
def _tables(num_bytes):
    """The same for each of the four bytes of a state and its 256 values, uint32 (4, 256)."""
    values = np.arange(256)
    tables = np.zeros((4, 256), np.uint32)
    for bit, column in enumerate(_advance(num_bytes)):
        tables[bit // 8] ^= np.where(values >> bit % 8 & 1, np.uint32(column), np.uint32(0))
    return tables


@functools.cache
def _row_tables():
    """The same for each half of a state and its 65,536 values, uint32, while a row of zeros follows."""
    tables = _tables(4 * _LANES)
    values = np.arange(1 << 16)
    return [tables[first][values & 255] ^ tables[first + 1][values >> 8] for first in (0, 2)]


def _apply(tables, state):
    return functools.reduce(np.bitwise_xor, (tables[byte][state >> 8 * byte & 255] for byte in range(4)))
