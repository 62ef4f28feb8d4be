"""Temporal sampling of snippets (Wang et al., Temporal Segment Networks, ECCV 2016).

Positions are indices of stored flow fields, from 0; field i leaves stored frame i. A snippet of L fields that starts at
t is seen by the temporal stream whole, and by the spatial stream as its middle frame, t + L // 2.
"""

from __future__ import annotations

import numpy as np


def train_starts(num_fields: int, num_segments: int, flow_length: int, rng: np.random.Generator) -> np.ndarray:
    """One random start in each of `num_segments` equal parts of the clip.

    Args:
        num_fields: N, flow fields of the clip, at least L.
        num_segments: K.
        flow_length: L.
        rng: consumed once.

    Returns:
        int64 (K,), sorted, each in [0, N - L].
    """
    positions = num_fields - flow_length + 1
    # Real-valued bounds spread the remainder over all segments, where TSN's integer part never reaches the clip's end.
    edges = np.arange(num_segments) * (positions / num_segments)
    offsets = rng.random(num_segments) * (positions / num_segments)
    return np.minimum((edges + offsets).astype(np.int64), positions - 1)


def centre_starts(num_fields: int, num_segments: int, flow_length: int) -> np.ndarray:
    """The middle of each of `num_segments` equal parts, int64 (K,), sorted, each in [0, N - L]."""
    positions = num_fields - flow_length + 1
    return ((np.arange(num_segments) + 0.5) * (positions / num_segments)).astype(np.int64)


def middle_frame(starts: np.ndarray, flow_length: int) -> np.ndarray:
    """The frame that the spatial stream sees of each snippet."""
    return starts + flow_length // 2
