"""Scenes of the demo set "whose motion is it": two look-alike objects, one of them marked, each with its own motion.

The label is the direction in which the marked (orange) object moves. Nothing but the place where mark and motion meet
gives it away:

* The world wraps around: what leaves the frame on one side comes back on the other, as in an arcade game. Positions
  are drawn uniformly on that torus, so that at every instant both objects are uniform and independent, whatever the
  label. A still frame, taken at any time, therefore says nothing about it, nor does a sum of scores of stills that
  were judged one by one. (Stills that are compared with each other show motion, here as anywhere.)
* Silhouette, speed and luminance texture of the two objects come from one distribution and the mark is chroma alone,
  at constant luminance. Optical flow is computed on luminance: at best it finds both directions, not whose is whose.
"""

import dataclasses
import itertools

import cv2
import numpy as np

DIRECTIONS = {"Down": (0, 1), "Left": (-1, 0), "Right": (1, 0), "Up": (0, -1)}
"""Unit steps (x, y) in image coordinates: y points down. In the order of the labels."""

MARKED, OTHER = 0, 1
"""Indices of the two objects in `Scene.positions` and `Scene.sprites`."""

MIN_SIZE = 32

# In pixels of a 64-pixel frame; other sizes scale with the frame.
_REFERENCE_SIZE = 64
_DIAMETER = (17.0, 20.0)
_SPEED = (1.5, 2.2)
_SHAKE = 0.75  # largest push that the camera gets from one frame to the next, along each axis
_SHAKE_MEMORY = 0.8  # the share of its displacement that the camera keeps: it wanders, but comes back
_MAX_SHAKE = 6.0  # more than these can add up to: the window stays inside the backdrop

# Corners of the polygons, the last as good as a disc. Objects and clutter share them.
_CORNERS = (4, 5, 6, 32)

# YCbCr (BT.601, full range, chroma around 0). With this chroma a luminance in 80..176 stays inside RGB's cube at every
# hue, hence nothing is clipped and the grey image is the same whatever the hue.
_OBJECT_LUMINANCE = (80.0, 176.0)
_OBJECT_CHROMA = 45.0
_MARK_HUE = 128.0  # degrees in the (Cb, Cr) plane: orange
_MARK_HUE_SPREAD = 6.0
_OTHER_HUE_SPREAD = 80.0  # around the opposite of the mark: green through cyan and blue to violet
_GRAIN = 1.2  # standard deviation of the blur that gives the objects' texture its grain, in pixels
_CLUTTER_CHROMA = 10.0

_RGB_FROM_YCBCR = np.array([[1.0, 1.0, 1.0], [0.0, -0.344136, 1.772], [1.402, -0.714136, 0.0]])


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """All that a clip shows, T frames of `size` pixels a side: the ground truth that frames are rendered from.

    Attributes:
        size: side of the square frame in pixels.
        direction: key of `DIRECTIONS` along which the marked object moves: the label.
        other_direction: key along which the other object moves; never equal to `direction`.
        speed: pixels a frame, of both objects.
        camera: (T, 2) float64, what the camera's shake adds to every image position, (x, y) in pixels.
        positions: (T, 2, 2) float64 in [0, size), image positions of the centres: frame, object (`MARKED` or
            `OTHER`), (x, y). Integers are pixel centres. They include `camera` and wrap around.
        silhouette: (S, S) float32 in 0..1, the coverage that both objects share, with two empty pixels all around.
        sprites: (2, S, S, 3) float32, RGB in 0..255 of `MARKED` and `OTHER`.
        marked_in_front: whether the marked object hides the other where they meet.
        backdrop: (N, N, 3) uint8, the background, larger than the frame.
        origin: (2,) float64, where in the backdrop the frame's corner lies without shake, (x, y) in pixels.
    """

    size: int
    direction: str
    other_direction: str
    speed: float
    camera: np.ndarray
    positions: np.ndarray
    silhouette: np.ndarray
    sprites: np.ndarray
    marked_in_front: bool
    backdrop: np.ndarray
    origin: np.ndarray


def paint_backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """Paints clutter for frames of `size` pixels: overlapping greyish shapes of a random family, with fine grain.

    Returns:
        (2 size, 2 size, 3) uint8 RGB. Clips cut their own window from it, hence the surplus.
    """
    unit = size / _REFERENCE_SIZE
    side = 2 * size
    corners = rng.choice(_CORNERS, size=rng.integers(1, 3), replace=False)
    radius = rng.uniform(3.0, 7.0) * unit
    tint = rng.uniform(0.0, 360.0)
    canvas = np.full((side, side, 3), 128, np.uint8)
    # Enough shapes to bury the plain start several times over.
    for _ in range(round(4 * side * side / (np.pi * radius * radius))):
        outline = _polygon(rng.choice(corners), radius * rng.uniform(0.5, 1.5), rng.uniform(0.0, 2 * np.pi))
        outline += rng.uniform(0.0, side, 2)
        hue = tint + rng.uniform(-60.0, 60.0)
        colour = _rgb(rng.uniform(50.0, 205.0), hue, rng.uniform(0.0, _CLUTTER_CHROMA))
        # Four fractional bits place the outline finer than a pixel.
        cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32)], colour.tolist(), cv2.LINE_AA, shift=4)
    grain = 10.0 * _grain(rng, side, _GRAIN * unit)
    return np.clip(np.round(canvas + grain[..., None]), 0, 255).astype(np.uint8)


def sample_scene(rng: np.random.Generator, direction: str, size: int, num_frames: int, backdrop: np.ndarray) -> Scene:
    """Draws a scene whose marked object moves along `direction`.

    Args:
        rng: the only source of chance.
        direction: a key of `DIRECTIONS`.
        size: side of the frame in pixels, at least 32.
        num_frames: T, at least 2.
        backdrop: from `paint_backdrop` for the same size.
    """
    unit = size / _REFERENCE_SIZE
    other_direction = str(rng.choice([name for name in DIRECTIONS if name != direction]))
    speed = rng.uniform(*_SPEED) * unit
    camera = np.zeros((num_frames, 2))
    for t in range(1, num_frames):
        camera[t] = _SHAKE_MEMORY * camera[t - 1] + rng.uniform(-_SHAKE, _SHAKE, 2)
    camera *= unit
    silhouette = _silhouette(rng, rng.uniform(*_DIAMETER) * unit)
    mark_hue = _MARK_HUE + rng.uniform(-_MARK_HUE_SPREAD, _MARK_HUE_SPREAD)
    other_hue = _MARK_HUE + 180.0 + rng.uniform(-_OTHER_HUE_SPREAD, _OTHER_HUE_SPREAD)
    sprites = [_object_texture(rng, len(silhouette), hue, _GRAIN * unit) for hue in (mark_hue, other_hue)]
    # Image positions of objects that start anywhere on the torus, independently of everything else.
    steps = speed * np.array([DIRECTIONS[name] for name in (direction, other_direction)], np.float64)
    start, times = rng.uniform(0.0, size, (2, 2)), np.arange(num_frames)[:, None, None]
    return Scene(
        size=size,
        direction=direction,
        other_direction=other_direction,
        speed=speed,
        camera=camera,
        positions=(start + times * steps + camera[:, None]) % size,
        silhouette=silhouette,
        sprites=np.stack(sprites),
        marked_in_front=bool(rng.integers(2)),
        # The window lies anywhere in the turned backdrop, which looks different in every clip of a group.
        backdrop=np.rot90(backdrop, rng.integers(4)),
        origin=rng.uniform(_MAX_SHAKE * unit, len(backdrop) - size - _MAX_SHAKE * unit - 2, 2),
    )


def let_turn(
    scene: Scene, rng: np.random.Generator, shortest: int, longest: int
) -> tuple[Scene, list[tuple[int, str]]]:
    """The scene with objects that turn, both at once, after `shortest` to `longest` frames, into other directions.

    Returns:
        The scene, and (frame, direction of the marked object from there on), from frame 0 on.
    """
    frames, turns = len(scene.positions), [(0, (scene.direction, scene.other_direction))]
    steps = np.zeros((frames, 2, 2))
    for frame in range(1, frames):
        if frame - turns[-1][0] == longest or (frame - turns[-1][0] >= shortest and rng.random() < 1 / longest):
            pairs = [pair for pair in itertools.permutations(DIRECTIONS, 2) if pair[MARKED] != turns[-1][1][MARKED]]
            turns.append((frame, pairs[rng.integers(len(pairs))]))
        steps[frame] = [DIRECTIONS[name] for name in turns[-1][1]]
    shaken = scene.camera[:, None] + scene.speed * np.cumsum(steps, axis=0)
    positions = (scene.positions[0] - scene.camera[0] + shaken) % scene.size
    return dataclasses.replace(scene, positions=positions), [(frame, pair[MARKED]) for frame, pair in turns]


def render_scene(scene: Scene) -> np.ndarray:
    """Renders a scene. Nothing is blurred by its motion: a blur would show the direction in a still frame.

    Returns:
        (T, size, size, 3) uint8 RGB.
    """
    frames = np.empty((len(scene.positions), scene.size, scene.size, 3), np.uint8)
    for t, frame in enumerate(frames):
        canvas = _cut(scene.backdrop, scene.origin - scene.camera[t], scene.size)
        for index in (OTHER, MARKED) if scene.marked_in_front else (MARKED, OTHER):
            coverage, rows_columns = _place(scene, scene.silhouette[..., None], index, t)
            colours, _ = _place(scene, scene.sprites[index], index, t)
            canvas[rows_columns] += coverage * (colours - canvas[rows_columns])
        frame[:] = np.clip(np.round(canvas), 0, 255)
    return frames


def _polygon(corners, radius, turn) -> np.ndarray:
    """Corners (n, 2) of a regular polygon around 0, in pixels."""
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _silhouette(rng, diameter) -> np.ndarray:
    """Coverage (S, S) in 0..1 of a random shape with the area of a disc of this diameter.

    Two pixels stay empty on every side, which `_place` needs.
    """
    corners = rng.choice(_CORNERS)
    radius = diameter / 2 * np.sqrt(2 * np.pi / (corners * np.sin(2 * np.pi / corners)))
    side = 2 * int(np.ceil(radius)) + 4
    fine = 8
    outline = _polygon(corners, radius, rng.uniform(0.0, 2 * np.pi)) + side / 2
    mask = np.zeros((side * fine, side * fine), np.uint8)
    cv2.fillPoly(mask, [np.round(outline * fine - 0.5).astype(np.int32)], 255)
    return cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _object_texture(rng, side, hue, grain) -> np.ndarray:
    """(side, side, 3) float32 RGB blotches of one hue; their luminance has the same distribution for every hue."""
    low, high = _OBJECT_LUMINANCE
    luminance = (low + high) / 2 + (high - low) / 2 * np.tanh(1.5 * _grain(rng, side, grain))
    return _rgb(luminance, hue, _OBJECT_CHROMA).astype(np.float32)


def _grain(rng, side, sigma) -> np.ndarray:
    """Smooth noise (side, side) with mean 0 and standard deviation 1."""
    noise = cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), sigma)
    return (noise - noise.mean()) / noise.std()


def _rgb(luminance, hue, chroma) -> np.ndarray:
    """RGB (..., 3) of a luminance (...), 0..255, at a hue in degrees and a chroma, both of the (Cb, Cr) plane."""
    angle = np.deg2rad(hue)
    ycbcr = np.stack(np.broadcast_arrays(luminance, chroma * np.cos(angle), chroma * np.sin(angle)), axis=-1)
    return ycbcr @ _RGB_FROM_YCBCR


def _cut(image, corner, side) -> np.ndarray:
    """The window (side, side, ...) of an image whose corner lies at (x, y), fractions of a pixel by bilinear mixing."""
    x, y = np.floor(corner).astype(int)
    fx, fy = np.asarray(corner) - (x, y)
    block = image[y : y + side + 1, x : x + side + 1].astype(np.float32)
    rows = (1 - fy) * block[:-1] + fy * block[1:]
    return (1 - fx) * rows[:, :-1] + fx * rows[:, 1:]


def _place(scene, image, index, t) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Moves an object's (S, S, ...) image to its place in frame `t`.

    Returns:
        The image at whole pixels of the frame, (S - 2, S - 2, ...), and the indices of these pixels, wrapped around.
    """
    side = len(image) - 2
    corner = scene.positions[t, index] - (len(image) - 1) / 2
    whole = np.floor(corner)
    # One pixel of the empty rim goes on each side, so that the fraction always has a neighbour to mix with.
    moved = _cut(image, 1 - (corner - whole), side)
    columns, rows = ((int(start) + 1 + np.arange(side)) % scene.size for start in whole)
    return moved, np.ix_(rows, columns)
