"""What the network saw of snippets, as pictures: frames, flow, and where the streams looked in one another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from keras import ops

from ccsn_tf.config import Config
from ccsn_tf.data.flow import dequantise
from ccsn_tf.data.sampling import middle_frame
from ccsn_tf.evaluation.report import pictures
from ccsn_tf.models.attention_maps import Attention


def frames_and_flow(
    inputs: dict[str, np.ndarray], config: Config, side: int, estimate: Callable | None
) -> tuple[np.ndarray, np.ndarray]:
    """The middle frame of K snippets, and the field that leaves it, stored or computed.

    Args:
        inputs: of the network by name, uint8 (K, ...) (see `InputForm`).
        config: of the run.
        side: short side of the frames that the inputs were cut from, in pixels.
        estimate: the flow layer of a network that computes flow itself.

    Returns:
        uint8 (K, S, S, 3); float32 (K, S, S, 2), in pixels of the frames that the inputs were cut from.
    """
    middle = middle_frame(0, config.model.flow_length)
    if "frames" in inputs:
        pairs = inputs["frames"][:, middle : middle + 2]
        return pairs[:, 0], ops.convert_to_numpy(estimate(pairs)) * (side / config.model.image_size)
    return inputs["rgb"], dequantise(inputs["flow"][..., 2 * middle : 2 * middle + 2], config.data.flow_bound)


def seen_strips(
    frames: np.ndarray, flow: np.ndarray, attention: Attention | None, side: int = pictures.SIDE
) -> list[dict[str, str]]:
    """Rows of K pictures: `image`, its `caption`, and the `text` for who does not see it.

    Args:
        frames, flow: from `frames_and_flow`.
        attention: of the same snippets; None where the connection has none.
        side: of a picture, in pixels.
    """
    coloured, fastest = pictures.flow_strip(flow, side)
    strips = [
        (pictures.frame_strip(frames, side), "frames" if len(frames) > 1 else "frame", "What the network was shown"),
        (coloured, f"flow; full colour: {fastest:.1f} pixels a frame", "Optical flow in colour"),
    ]
    if attention is not None:
        to_spatial, to_temporal = attention.to_spatial, attention.to_temporal
        width, ringed = to_temporal.shape[-1], pictures.strongest_motion(flow, to_temporal.shape[-2:])
        from_ring = to_temporal[np.arange(len(ringed)), [row * width + column for row, column in ringed]]
        to_rgb, to_flow = (f"; the block adds {100 * change:.1f} % to " for change in attention.changes)
        for what, weights, marks, addition in (
            ("where flow looked in the frames", to_temporal.mean(axis=1), None, f"{to_flow}flow"),
            ("where the strongest motion (ring) looked in the frames", from_ring, ringed, ""),
            ("where RGB looked in the flow", to_spatial.mean(axis=1), None, f"{to_rgb}RGB"),
        ):
            image, peak = pictures.heat_strip(frames, weights, side, marks)
            strips.append((image, f"{what}: at most {peak:.1f} times an even spread{addition}", what.capitalize()))
    return [dict(zip(("image", "caption", "text"), strip, strict=True)) for strip in strips]
