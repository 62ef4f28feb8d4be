"""Optical flow between consecutive frames, and its 8-bit form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from ccsn_tf.config import DataConfig
from ccsn_tf.errors import UserError

DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}

Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_estimator(config: DataConfig) -> Estimator:
    """The estimator that `config` names: (grey uint8 (H, W), next one) -> float32 (H, W, 2), x and y in pixels.

    DIS: Kroeger et al., ECCV 2016. The presets of OpenCV stop at half or quarter resolution, which loses small motions
    on small frames; `dis_finest_scale` sets where to stop, at the latest where DIS begins. Farneback: SCIA 2003.
    TV-L1: Zach et al., DAGM 2007.
    """
    if config.flow == "stored":
        return _no_estimate
    if config.flow == "dis":
        return _make_dis(config)
    if config.flow == "farneback":
        return lambda previous, following: cv2.calcOpticalFlowFarneback(
            previous,
            following,
            None,
            pyr_scale=0.5,
            levels=3,
            winsize=15,
            iterations=3,
            poly_n=5,
            poly_sigma=1.2,
            flags=0,
        )
    tvl1 = cv2.optflow.DualTVL1OpticalFlow_create()
    return lambda previous, following: tvl1.calc(previous, following, None)


def _no_estimate(previous, following):
    raise UserError("--flow=stored computes no flow: give folders of frames that have flow images, or another --flow.")


def _make_dis(config):
    dis = cv2.DISOpticalFlow_create(DIS_PRESETS[config.dis_preset])
    patch = dis.getPatchSize()

    def estimate(previous, following):
        # OpenCV's coarsest level. Asked to stop before it begins, DIS would change its own settings, for good.
        height, width = previous.shape
        coarsest = min(int(np.log2(max(height, width) / (4 * patch)) + 0.5), int(np.log2(min(height, width) / patch)))
        dis.setFinestScale(max(0, min(config.dis_finest_scale, coarsest)))
        return dis.calc(previous, following, None)

    return estimate


def flow_fields(frames: Iterable[np.ndarray], estimator: Estimator) -> Iterator[np.ndarray]:
    """Yields the flow from each frame to the next, float32 (H, W, 2): one field fewer than frames."""
    previous = None
    for frame in frames:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if previous is not None:
            yield estimator(previous, grey)
        previous = grey


def quantise(flow: np.ndarray, bound: float) -> np.ndarray:
    """Pixels to uint8: clip to +-bound, then round(255 (v + bound) / (2 bound)) (METHOD, Streams)."""
    return np.rint((np.clip(flow, -bound, bound) + bound) * (255.0 / (2.0 * bound))).astype(np.uint8)


def dequantise(stored: np.ndarray, bound: float) -> np.ndarray:
    """uint8 back to float32 pixels; the error is at most bound / 255 inside the bound."""
    return stored.astype(np.float32) * (2.0 * bound / 255.0) - bound
