"""What pages that need no other file are made of: templates, and pictures as data URIs.

The pictures are strips of what the network saw of snippets: frames, flow, and where the streams looked in one another.
"""

import base64
import pathlib
from collections.abc import Callable

import cv2
import jinja2
import numpy as np
from keras import ops

from ccsn_tf.config import Config
from ccsn_tf.data.flow import dequantise
from ccsn_tf.data.sampling import middle_frame
from ccsn_tf.models.attention_maps import Attention

_SIDE = 176  # pixels of a picture in a strip, unless told otherwise
_GAP = 4
_WHEEL = 96
_QUALITY = 75  # of WebP, which takes half of what JPEG does

_LEAST_FULL_FLOW = 1.0  # pixels: of a still scene's stored flow, what is left is its rounding to 8 bits

# Attention that is less than twice an even spread at its peak is not drawn as if it were sharp.
_LEAST_FULL_HEAT = 2.0


def page_template(path: str | pathlib.Path, **filters: Callable) -> jinja2.Template:
    """A template whose values are escaped, and whose names must all be given; `filters` by their name in it. It may
    include `head.html`, which lies here."""
    path = pathlib.Path(path)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, pathlib.Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(path.name)


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
    frames: np.ndarray, flow: np.ndarray, attention: Attention | None, side: int = _SIDE
) -> list[dict[str, str]]:
    """Rows of K pictures: `image`, its `caption`, and the `text` for who does not see it.

    Args:
        frames, flow: from `frames_and_flow`.
        attention: of the same snippets; None where the connection has none.
        side: of a picture, in pixels.
    """
    coloured, fastest = flow_strip(flow, side)
    strips = [
        (frame_strip(frames, side), "frames" if len(frames) > 1 else "frame", "What the network was shown"),
        (coloured, f"flow; full colour: {fastest:.1f} pixels a frame", "Optical flow in colour"),
    ]
    if attention is not None:
        to_spatial, to_temporal = attention.to_spatial, attention.to_temporal
        width, ringed = to_temporal.shape[-1], strongest_motion(flow, to_temporal.shape[-2:])
        from_ring = to_temporal[np.arange(len(ringed)), [row * width + column for row, column in ringed]]
        to_rgb, to_flow = (f"; the block adds {100 * change:.1f} % to " for change in attention.changes)
        for what, weights, marks, addition in (
            ("where flow looked in the frames", to_temporal.mean(axis=1), None, f"{to_flow}flow"),
            ("where the strongest motion (ring) looked in the frames", from_ring, ringed, ""),
            ("where RGB looked in the flow", to_spatial.mean(axis=1), None, f"{to_rgb}RGB"),
        ):
            image, peak = heat_strip(frames, weights, side, marks)
            strips.append((image, f"{what}: at most {peak:.1f} times an even spread{addition}", what.capitalize()))
    return [dict(zip(("image", "caption", "text"), strip, strict=True)) for strip in strips]


def frame_strip(frames: np.ndarray, side: int = _SIDE) -> str:
    """Frames, uint8 (K, H, W, 3), side by side."""
    return _strip([_scaled(frame, side) for frame in frames])


def flow_strip(flow: np.ndarray, side: int = _SIDE) -> tuple[str, float]:
    """Flow, float (K, H, W, 2), in colour on one scale; and the speed of the full hue, in pixels.

    It is not the greatest: a few wild vectors, which estimators do produce, would leave the rest nearly white.
    """
    full = max(_LEAST_FULL_FLOW, float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99.5)))
    return _strip([_scaled(flow_to_colour(field, full), side) for field in flow]), full


def flow_to_colour(flow: np.ndarray, full: float) -> np.ndarray:
    """Optical flow as a picture: the hue is the direction, its saturation the speed.

    Right is red, down yellow-green, left blue-green, up violet; what stands still is white.

    Args:
        flow: float (H, W, 2), x to the right and y down, in pixels.
        full: speed from which the hue is full, in pixels.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    x, y = np.moveaxis(np.asarray(flow, np.float32), -1, 0)
    hue, saturation = np.degrees(np.arctan2(y, x)) % 360, np.minimum(np.hypot(x, y) / full, 1)
    hsv = np.dstack([hue, saturation, np.ones_like(hue)]).astype(np.float32)
    return np.uint8(np.rint(255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)))


def wheel() -> str:
    """The key to the flow's colours: each point of a disc shows the flow that points to it."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, _WHEEL, dtype=np.float32)] * 2)
    opacity = np.uint8(255 * np.clip(_WHEEL / 2 * (1 - np.hypot(x, y)), 0, 1))  # a smooth rim
    return _encoded("png", np.dstack([flow_to_colour(np.dstack([x, y]), 1.0)[..., ::-1], opacity]))


def heat_strip(
    pictures: np.ndarray, weights: np.ndarray, side: int = _SIDE, marks: list[tuple[int, int]] | None = None
) -> tuple[str, float]:
    """Attention as heat over pictures, on one scale: none where it is no more than even, full at its peak.

    Args:
        pictures: uint8 (K, H, W, 3).
        weights: (K, h, w), of sum one each, or less.
        side: of a picture in the strip, in pixels.
        marks: (row, column) of the position that looks, in each.

    Returns:
        The strip, and the peak in multiples of an even spread over the map.
    """
    times = weights * (weights.shape[1] * weights.shape[2])
    peak = float(times.max())
    full = max(_LEAST_FULL_HEAT, peak)
    heated = []
    for number, (picture, map_) in enumerate(zip(pictures, times, strict=True)):
        strength = np.clip((cv2.resize(map_, (side, side), interpolation=cv2.INTER_CUBIC) - 1) / (full - 1), 0, 1)
        image = _heated(_scaled(picture, side), strength)
        if marks:
            row, column = ((np.array(marks[number]) + 0.5) * side / np.array(map_.shape)).astype(int)
            for thickness, colour in ((4, (0, 0, 0)), (2, (255, 255, 255))):
                cv2.circle(image, (int(column), int(row)), side // 22, colour, thickness, cv2.LINE_AA)
        heated.append(image)
    return _strip(heated), peak


def strongest_motion(flow: np.ndarray, shape: tuple[int, int]) -> list[tuple[int, int]]:
    """(row, column) of the cell with the greatest mean speed of each field, float (K, H, W, 2), on a map of `shape`."""
    height, width = shape
    speeds = [cv2.resize(np.hypot(f[..., 0], f[..., 1]), (width, height), interpolation=cv2.INTER_AREA) for f in flow]
    return [tuple(int(i) for i in np.unravel_index(np.argmax(speed), shape)) for speed in speeds]


def _heated(picture, strength):
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    ramp = cv2.cvtColor(cv2.applyColorMap(np.uint8(80 + 175 * strength), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    cover = 0.75 * np.sqrt(strength)[..., None]
    return np.uint8(np.clip(0.8 * grey * (1 - cover) + ramp * cover, 0, 255))


def _scaled(picture, side):
    own = min(picture.shape[:2])
    top, left = ((length - own) // 2 for length in picture.shape[:2])
    picture, shrinks = picture[top : top + own, left : left + own], own > side
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _strip(pictures):
    gap = np.full((len(pictures[0]), _GAP, 3), 128, np.uint8)  # on light and dark pages
    parts = [part for picture in pictures for part in (picture, gap)][:-1]
    return _encoded("webp", cv2.cvtColor(np.concatenate(parts, axis=1), cv2.COLOR_RGB2BGR))


def _encoded(kind, image):
    options = [cv2.IMWRITE_WEBP_QUALITY, _QUALITY] if kind == "webp" else []
    return data_uri(kind, cv2.imencode(f".{kind}", image, options)[1])


def data_uri(kind: str, content: bytes) -> str:
    """A file of a picture, "png" or "webp", as an address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
