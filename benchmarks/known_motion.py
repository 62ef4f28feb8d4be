"""Pairs of real frames whose motion is known, as they were moved by computation."""

import dataclasses

import cv2
import numpy as np

_BLUR = 0.8  # pixels of the source: both frames of a pair sample a smooth image, so neither is sharper
_MARGIN = 1.28  # the source shows so much more than the frame: motion brings in what is there


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two grey frames, uint8 (S, S), the flow from first to second, float32 (S, S, 2), and where it can be `seen`."""

    first: np.ndarray
    second: np.ndarray
    flow: np.ndarray
    seen: np.ndarray

    def error(self, flow: np.ndarray) -> float:
        """Mean endpoint error in pixels, over what stays in view."""
        return float(np.linalg.norm(flow - self.flow, axis=-1)[self.seen].mean())


def known_motions(frames: list[np.ndarray], size: int) -> dict[str, list[Pair]]:
    """{motion: a pair a frame}, in several directions; of `frames`, uint8 grey (H, W), of any size.

    Translations by 0.5 to 8 pixels; rotations and zooms about the middle, to 2 and 8 pixels in the corners; two fields:
    a disc of one frame moves over another frame that moves the opposite way, each by 1 to 4 pixels.
    """
    sources = [cv2.GaussianBlur(frame.astype(np.float32), (0, 0), _BLUR) for frame in frames]
    still, corner = np.eye(2), (size - 1) / 2 * np.sqrt(2)
    motions = {}
    for far in (0.5, 1, 2, 4, 8):
        motions[f"translation, {far:g} px"] = [
            _affine(source, size, still, far * _direction(number, sources)) for number, source in enumerate(sources)
        ]
    for far in (2, 8):
        angles = [far / corner * (-1) ** number for number in range(len(sources))]
        motions[f"rotation, to {far} px"] = [
            _affine(source, size, np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]), np.zeros(2))
            for source, a in zip(sources, angles, strict=True)
        ]
        motions[f"zoom, to {far} px"] = [
            _affine(source, size, still * (1 + a), np.zeros(2)) for source, a in zip(sources, angles, strict=True)
        ]
    for far in (1, 2, 4):
        motions[f"two fields, {far} px"] = [
            _two(source, sources[number - 1], size, far * _direction(number, sources))
            for number, source in enumerate(sources)
        ]
    return motions


def _direction(number, sources):
    angle = 2 * np.pi * (number / len(sources) + 0.1)
    return np.array([np.cos(angle), np.sin(angle)])


def _grid(size):
    """x and y from the middle, (size, size) each."""
    return np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 2)


def _sample(source, size, x, y):
    scale = min(source.shape) / (_MARGIN * size)
    x, y = scale * x + (source.shape[1] - 1) / 2, scale * y + (source.shape[0] - 1) / 2
    return cv2.remap(source, np.float32(x), np.float32(y), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def _affine(source, size, matrix, shift):
    """What is at p in the first frame is at matrix p + shift in the second."""
    x, y = _grid(size)
    places, back = np.stack([x, y], axis=-1), np.linalg.inv(matrix)
    flow = places @ matrix.T + shift - places
    before = (places - shift) @ back.T
    second = _sample(source, size, before[..., 0], before[..., 1])
    return _pair(_sample(source, size, x, y), second, flow, True)


def _two(front, behind, size, shift):
    """A disc of `front` moves by `shift`, what is behind by its opposite; what the disc comes to hide is not seen."""
    x, y = _grid(size)

    def inside(by):
        return np.hypot(x - by[0], y - by[1]) < size / 4

    first = np.where(inside((0, 0)), _sample(front, size, x, y), _sample(behind, size, x, y))
    moved = [_sample(source, size, x - by[0], y - by[1]) for source, by in ((front, shift), (behind, -shift))]
    second = np.where(inside(shift), *moved)
    flow = np.where(inside((0, 0))[..., None], shift, -shift)
    return _pair(first, second, flow, inside((0, 0)) | ~inside(2 * shift))


def _pair(first, second, flow, seen):
    size = len(first)
    target = np.stack(np.meshgrid(*[np.arange(size)] * 2), axis=-1) + flow
    in_view = np.logical_and(target >= 0, target <= size - 1).all(axis=-1)
    frames = [np.clip(np.rint(frame), 0, 255).astype(np.uint8) for frame in (first, second)]
    return Pair(*frames, flow.astype(np.float32), in_view & seen)
