"""Optical flow between consecutive frames, and its 8-bit form."""

import functools
import pkgutil
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from ccsn_tf.config import DataConfig
from ccsn_tf.data.upright import scaled_size
from ccsn_tf.errors import UserError
from ccsn_tf.start_up import load_tensorflow

_DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
_FARNEBACK = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2}

# The layer of --flow=tvl1_graph by name: this package imports no model, and a worker loads it when it needs it.
_TVL1_LAYER = "ccsn_tf.models.flow:TVL1Flow"

Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_estimator(config: DataConfig) -> Estimator:
    """The estimator that `config` names: (grey uint8 (H, W), next one) -> float32 (h, w, 2), x and y in pixels.

    It has no memory: a field depends on its two frames alone. Frames with a short side above `flow_side` are scaled
    down to it, and the field has their size then (see `field_size`); its values are pixels of the frames as given.

    DIS: Kroeger et al., ECCV 2016. The presets of OpenCV stop at half or quarter resolution, which loses small motions
    on small frames; `dis_finest_scale` sets where to stop, at the latest where DIS begins. Farneback: SCIA 2003.
    TV-L1: Zach et al., DAGM 2007; as OpenCV has it, or as the network computes it itself (`tvl1_graph`).
    """
    if config.flow in ("stored", "none"):
        return _no_estimate
    if config.flow == "dis":
        estimator = _dis(config)
    elif config.flow == "farneback":
        estimator = functools.partial(cv2.calcOpticalFlowFarneback, flow=None, flags=0, **_FARNEBACK)
    elif config.flow == "tvl1":
        estimator = functools.partial(cv2.optflow.DualTVL1OpticalFlow_create().calc, flow=None)
    else:
        estimator = _in_graph
    return _at_most(config.flow_side, estimator) if config.flow_side else estimator


def field_size(height: int, width: int, flow_side: int) -> tuple[int, int]:
    """(height, width) of the flow of frames of a size, computed at a short side of `flow_side`; 0: at theirs."""
    return scaled_size(width, height, flow_side)[::-1] if flow_side else (height, width)


def _at_most(side: int, estimator: Estimator) -> Estimator:
    last = None, None  # the frame that was scaled last, and what it became: the next field begins with it

    def estimate(previous, following):
        nonlocal last
        height, width = previous.shape
        size = scaled_size(width, height, side)
        if size == (width, height):
            return estimator(previous, following)
        frame, begin = last
        if frame is not previous:
            begin = cv2.resize(previous, size, interpolation=cv2.INTER_AREA)
        end = cv2.resize(following, size, interpolation=cv2.INTER_AREA)
        last = following, end
        across, down = (float(factor) for factor in np.float32([width / size[0], height / size[1]]))
        return cv2.multiply(estimator(begin, end), (across, down, 0, 0))

    return estimate


def _dis(config):
    dis = cv2.DISOpticalFlow_create(_DIS_PRESETS[config.dis_preset])
    patch = dis.getPatchSize()

    def estimate(previous, following):
        # OpenCV's coarsest level. Asked to stop before it begins, DIS would change its own settings, for good.
        height, width = previous.shape
        coarsest = min(int(np.log2(max(height, width) / (4 * patch)) + 0.5), int(np.log2(min(height, width) / patch)))
        dis.setFinestScale(max(0, min(config.dis_finest_scale, coarsest)))
        return dis.calc(previous, following, None)

    return estimate


def _in_graph(previous, following):
    return _compiled_tvl1()(np.stack([previous, following])[None])[0].numpy()


@functools.cache  # it is compiled once a size of frames, for seconds: not once more for every clip
def _compiled_tvl1():
    load_tensorflow()  # here alone: it takes seconds and memory, which workers do without
    import tensorflow as tf

    return tf.function(pkgutil.resolve_name(_TVL1_LAYER)())


def _no_estimate(previous, following):
    raise UserError("--flow=stored computes no flow: give folders of frames that have flow images, or another --flow.")


def flow_fields(frames: Iterable[np.ndarray], estimator: Estimator, stride: int = 1) -> Iterator[np.ndarray]:
    """Yields the flow from each `stride`-th frame to the frame after it, float32 (H, W, 2).

    Field j leaves frame j * stride; it is yielded when frame (j + 1) * stride is there, so that there is one field
    fewer than frames 0, stride, 2 * stride, ..., whatever the stride.

    Args:
        frames: uint8 RGB (H, W, 3).
        estimator: from `make_estimator`.
        stride: frames from one field to the next, at least 1.
    """
    previous = field = None
    for index, frame in enumerate(frames):
        starts, ends = index % stride == 0, index > 0 and (index - 1) % stride == 0
        grey = grey_of(frame) if starts or ends else None
        if ends:
            field = estimator(previous, grey)
        if starts:
            if index > 0:
                yield field
            previous = grey


def grey_of(frame: np.ndarray) -> np.ndarray:
    """What the estimators see of an RGB frame (H, W, 3): uint8 (H, W)."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def quantise(flow: np.ndarray, bound: float) -> np.ndarray:
    """Pixels to uint8: clip to +-bound, then round(255 (v + bound) / (2 bound)) (FLOW, Stored flow)."""
    return np.rint((np.clip(flow, -bound, bound) + bound) * (255.0 / (2.0 * bound))).astype(np.uint8)


def dequantise(stored: np.ndarray, bound: float) -> np.ndarray:
    """uint8 back to float32 pixels; the error is at most bound / 255 inside the bound."""
    return stored.astype(np.float32) * (2.0 * bound / 255.0) - bound
