"""The frames of a clip, from a video file or from a folder of frames and flow images, JPEG or PNG.

Folders are as denseflow, mmaction2 and TSN's tools leave them:

    img_00001.jpg, ...                          frames (also image_, frame_, or digits alone)
    flow_x_00001.jpg, flow_y_00001.jpg, ...     flow images (also x_, y_; or in folders flow_x/, flow_y/), if any

Numbers begin with 0 or 1, those of frames and of flow each for themselves, and have no gap. There is one field fewer
than frames: field i leaves frame i. Where there are as many, the tool was TSN's first (dense_flow), which wrote with
each field the frame that it leads to, and not the first frame: the first field is then left out.
"""

import itertools
import os
import pathlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence

import cv2
import numpy as np

from ccsn_tf.data import video
from ccsn_tf.data.upright import scaled_size
from ccsn_tf.data.video import VideoError

_FRAME, _FRAME_EXAMPLE = re.compile(r"(?:img_?|image_?|frame_?)?(\d+)\.(?:jpe?g|png)", re.I), "img_00001.jpg"
_FLOW = {
    axis: re.compile(rf"(?:flow_{axis}_|{axis}_|flow_{axis}/\D*)(\d+)\.(?:jpe?g|png)", re.I) for axis in ("x", "y")
}
_SUBFOLDERS = ("flow_x", "flow_y")


def is_frame_folder(folder: str | os.PathLike) -> bool:
    """Whether a folder stands for a clip, see `are_frames`."""
    _, folders, files = next(os.walk(folder), (folder, (), ()))
    return are_frames(files, folders)


def are_frames(files: Collection[str], folders: Collection[str]) -> bool:
    """Whether a folder with files and folders of these names is a clip: it has images of frames or flow, and no more
    folders than those of flow."""
    numbered = any(pattern.fullmatch(name) for name in files for pattern in (_FRAME, *_FLOW.values()))
    return set(folders) <= set(_SUBFOLDERS) and (numbered or bool(folders))


def count_frames(path: str, beat: Callable[[], None] = lambda: None) -> int:
    """The number of frames of a clip, which is what `iter_frames` yields; `beat` is called for each that is decoded.

    Raises:
        VideoError: there is none, their numbers have a gap, or as `video.iter_frames`.
    """
    if os.path.isdir(path):
        return len(_numbered(path, _FRAME, _FRAME_EXAMPLE))
    return video.decode_whole(path, beat)[0]


def iter_frames(path: str, short_side: int, wanted: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Yields the frames of a clip, as `video.iter_frames` does.

    Raises:
        VideoError: a frame is missing or unreadable, their sizes differ, or as `video.iter_frames`.
    """
    for frame, _ in iter_jpegs(path, short_side, wanted):
        yield frame


def iter_jpegs(
    path: str, short_side: int, wanted: Sequence[int] | None = None
) -> Iterator[tuple[np.ndarray, bytes | None]]:
    """As `iter_frames`, each frame with the JPEG that it was read from; None of a video or PNG, or where it was scaled.

    A folder's frames are taken as they are stored, without the turning that a camera may have noted.
    """
    if not os.path.isdir(path):
        yield from ((frame, None) for frame in video.iter_frames(path, short_side, wanted))
        return
    files = _numbered(path, _FRAME, _FRAME_EXAMPLE)
    if wanted is not None and wanted[-1] >= len(files):
        raise VideoError(f"{path} ends after {len(files)} frames, before frame {wanted[-1] + 1}.")
    first = None
    for file in files if wanted is None else [files[index] for index in wanted]:
        image, jpeg = _read(file)
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
        first = first or (file, image.shape)
        _refuse_other_size(file, image, *first)
        height, width = image.shape[:2]
        size = scaled_size(width, height, short_side)
        if size != (width, height):
            image, jpeg = cv2.resize(image, size, interpolation=cv2.INTER_AREA), None
        yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB), jpeg


def iter_flow(folder: str, short_side: int, wanted: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Yields flow fields as they are stored, uint8 (H, W, 2), x and y; field i goes from frame i to frame i + 1.

    Args:
        folder: the clip.
        short_side: of the frames; larger fields are refused, since their values are pixels of the larger size.
        wanted: sorted indices of fields, from 0; default: every field.

    Raises:
        VideoError: an image is missing or unreadable, sizes differ among them or from the frames', or the number of
            fields does not fit that of the frames.
    """
    frames = _numbered(folder, _FRAME, _FRAME_EXAMPLE)
    x, y = (_numbered(folder, _FLOW[axis], f"flow_{axis}_00001.jpg") for axis in ("x", "y"))
    if len(x) != len(y):
        raise VideoError(f"{folder} has {len(x)} images of x-flow and {len(y)} of y-flow: extract its flow again.")
    if len(x) not in (len(frames) - 1, len(frames)):
        raise VideoError(
            f"{folder} has {len(frames)} frames and {len(x)} flow fields: extract its flow again, which must give one "
            "field fewer than frames."
        )
    fields = list(zip(x, y, strict=True))[len(x) - (len(frames) - 1) :]
    image, _ = _read(frames[0])
    if min(image.shape[:2]) > short_side:
        raise VideoError(
            f"{folder} has frames of {image.shape[1]}x{image.shape[0]} pixels, and --flow=stored scales no flow: pass "
            f"--short_side={min(image.shape[:2])}, or choose an algorithm with --flow."
        )
    for pair in fields if wanted is None else [fields[index] for index in wanted]:
        planes = [_read(file, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)[0] for file in pair]
        for file, plane in zip(pair, planes, strict=True):
            _refuse_other_size(file, plane, frames[0], image.shape)
        yield np.stack(planes, axis=-1)


def files_of(path: str) -> list[str]:
    """The video, or the files in the folder of a clip's frames, in an order that does not change."""
    if not os.path.isdir(path):
        return [path]
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)


def changed_at(path: str) -> int | None:
    """When a clip or its properties were changed last, in nanoseconds: of a folder, the latest of its files; None where
    it is not there any more."""
    try:
        return max(os.stat(file).st_ctime_ns for file in (path, *files_of(path)))
    except OSError:
        return None


def _numbered(folder: str, pattern: re.Pattern, example: str) -> list[str]:
    """The folder's images of this pattern, by number."""
    found = {}
    try:
        names = os.listdir(folder)
        for subfolder in set(_SUBFOLDERS) & set(names):
            names += [f"{subfolder}/{name}" for name in os.listdir(os.path.join(folder, subfolder))]
    except OSError as error:
        raise VideoError(f"{folder} cannot be read ({error.strerror}).") from None
    for name in names:
        matched = pattern.fullmatch(name)
        other = found.setdefault(int(matched.group(1)), name) if matched else name
        if other != name:
            raise VideoError(f"{folder} has both {other} and {name}: remove one of the two.")
    if not found:
        raise VideoError(f"{folder} holds no {example}, or the like: extract it again, or leave it out.")
    numbers = sorted(found)
    if numbers[0] > 1:
        raise VideoError(f"{folder} begins with {found[numbers[0]]}, not with number 0 or 1: extract it again.")
    for before, after in itertools.pairwise(numbers):
        if after != before + 1:
            raise VideoError(f"{folder} jumps from {found[before]} to {found[after]}: extract it again.")
    return [os.path.join(folder, found[number]) for number in numbers]


def _read(path: str, mode: int = cv2.IMREAD_UNCHANGED) -> tuple[np.ndarray, bytes | None]:
    """An image as OpenCV's array, as it lies, and its bytes if it is a JPEG; a PNG in 8 bits without transparency."""
    try:
        content = pathlib.Path(path).read_bytes()
        is_png = content.startswith(_PNG)
        if is_png and mode == cv2.IMREAD_UNCHANGED:
            mode = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        # What was cut lacks its end, and is not shown to OpenCV, which would complain of it on the terminal.
        whole = content.rstrip(b"\0\r\n ").endswith(_PNG_END if is_png else _JPEG_END) and content[:2] in _BEGINNINGS
        image = cv2.imdecode(np.frombuffer(content, np.uint8), mode) if whole else None
    except OSError as error:
        raise VideoError(f"{path} cannot be read ({error.strerror}).") from None
    except cv2.error:
        image = None
    if image is None:
        raise VideoError(f"{path} is damaged, or neither JPEG nor PNG: extract it again.")
    return image, None if is_png else content


_PNG, _PNG_END, _JPEG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xae\x42\x60\x82", b"\xff\xd9"
_BEGINNINGS = (_PNG[:2], b"\xff\xd8")


def _refuse_other_size(path, image, first, shape):
    if image.shape[:2] != tuple(shape[:2]):
        found, expected = (f"{width}x{height}" for height, width in (image.shape[:2], shape[:2]))
        raise VideoError(
            f"{path} has {found} pixels, but {os.path.basename(first)} {expected}: extract the clip again, to one size."
        )
