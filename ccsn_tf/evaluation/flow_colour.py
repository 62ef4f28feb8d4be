"""Optical flow as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LEAST_FULL = 0.5  # pixels: below, a still scene would be shown as a storm of noise

# The hues of the Middlebury wheel and its steps from each to the next (Baker et al., "A database and evaluation
# methodology for optical flow", IJCV 2011): more of them where the eye tells more hues apart.
_HUES = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
_HUE_STEPS = (15, 6, 4, 11, 13, 6)


def flow_to_colour(flow: np.ndarray, maximum: float | None = None) -> np.ndarray:
    """Optical flow as a picture, after Middlebury: the hue is the direction, its strength the speed.

    Right is red, down and right orange, down yellow, down and left green, left blue-green, up and left blue, up violet,
    up and right magenta. What stands still is white; speeds from `maximum` up have the full hue.

    Args:
        flow: float (H, W, 2), x to the right and y down, in pixels.
        maximum: speed of the full hue, in pixels; `None`: the greatest in `flow`.

    Returns:
        uint8 (H, W, 3), RGB; black where the flow is not finite.
    """
    flow = np.asarray(flow, np.float32)
    known = np.isfinite(flow).all(axis=-1)
    x, y = np.moveaxis(np.where(known[..., None], flow, 0.0), -1, 0)
    speed = np.hypot(x, y)
    if maximum is None:
        maximum = speed.max(initial=0.0)
    strength = np.clip(speed / maximum, 0.0, 1.0) if maximum > 0 else np.zeros_like(speed)
    starts = np.concatenate([[0], np.cumsum(_HUE_STEPS)])
    place = np.arctan2(y, x) / (2 * np.pi) % 1.0 * starts[-1]  # clockwise from the right, in steps of the wheel
    hue = np.stack([np.interp(place, starts, channel) for channel in np.transpose(_HUES)], axis=-1)
    colour = 255.0 - strength[..., None] * (255.0 - hue)
    return np.where(known[..., None], np.rint(colour), 0).astype(np.uint8)


def full_speed(flows: Sequence[np.ndarray]) -> float:
    """The speed to show with the full hue in all of `flows`, float (..., 2) each, in pixels; at least half a pixel.

    Not the greatest: a few wild vectors, which estimators do produce, would leave the rest nearly white.
    """
    speeds = np.concatenate([np.hypot(flow[..., 0], flow[..., 1]).ravel() for flow in flows] or [[]])
    speeds = speeds[np.isfinite(speeds)]
    return max(_LEAST_FULL, float(np.percentile(speeds, 99.5))) if speeds.size else _LEAST_FULL


def colour_wheel(side: int) -> np.ndarray:
    """The key to the colours, uint8 (side, side, 4), RGBA: each point of the disc shows the flow that points to it."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 2)
    colours = flow_to_colour(np.stack([x, y], axis=-1), 1.0)
    opacity = np.uint8(255 * np.clip(side / 2 * (1 - np.hypot(x, y)), 0, 1))[..., None]  # a smooth rim
    return np.concatenate([colours, opacity], axis=-1)
