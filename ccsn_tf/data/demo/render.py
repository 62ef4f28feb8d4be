"""The demo set "whose motion is it" as video files in UCF101's layout; what it shows is in `demo_scene`.

A mirrored clip belongs to another class (left becomes right): train without horizontal flips, or swap the two labels.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable

import av
import numpy as np

from ccsn_tf.data.demo import scene as demo_scene
from ccsn_tf.data.prepare.worker_pool import WorkerLostError, WorkerPool
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file, write_text

CLASSES = tuple(f"MarkedMoves{direction}" for direction in demo_scene.DIRECTIONS)
"""Class names by label (0-based); UCF101's lists count from 1."""

NUM_GROUPS = 25
NUM_TEST_GROUPS = 5
"""As in UCF101 the first groups are for testing, the others for training. Clips of a group share their backdrop."""

FPS = 25

_MAX_CLIPS_PER_GROUP = 99  # of one class: file names have two digits for it
_MARKER = "demo.json"
_UNFINISHED = "demo.unfinished.json"  # the marker's name as long as the set is not whole
_VERSION = 1  # raise it when a change of the rendering changes the files

# Constant quantiser, MPEG-4's second finest: no visible block edges.
_QUANTISER = 2


@dataclasses.dataclass(frozen=True, order=True)
class DemoClip:
    """Names one clip: label 0..3, group 1..25, number 1..99 within the group and class."""

    label: int
    group: int
    number: int

    @property
    def name(self) -> str:
        """Path below `videos/`, as the lists give it."""
        name = CLASSES[self.label]
        return f"{name}/v_{name}_g{self.group:02d}_c{self.number:02d}.avi"


def render_demo_set(
    root: str | os.PathLike,
    num_train: int = 2000,
    num_test: int = 400,
    size: int = 64,
    num_frames: int = 12,
    seed: int = 0,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Renders the set below `root`, or what is missing of it: the same arguments give the same bytes.

    Writes `videos/<Class>/v_<Class>_gNN_cMM.avi`, `ucfTrainTestlist/{classInd,trainlist01,testlist01}.txt` and, when
    all is there, `demo.json` with the arguments.

    Args:
        root: a folder that is absent, empty, or holds this set, whole or in part.
        num_train: training clips, a multiple of 4, at most 7,920: the classes are balanced.
        num_test: test clips, a multiple of 4, at most 1,980.
        size: side of the frames in pixels, even (the codec halves the chroma) and at least 32.
        num_frames: frames a clip, at least 2.
        seed: 0 or more.
        workers: processes; 0 takes one per CPU.
        progress: is called with the number of clips that are there, first with those found, then after each clip.

    Raises:
        UserError: an argument is out of range, or `root` holds something else.
    """
    root = pathlib.Path(root)
    parameters = {"num_train": num_train, "num_test": num_test, "size": size, "num_frames": num_frames, "seed": seed}
    _check(parameters, workers)
    text = json.dumps({"version": _VERSION, **parameters}, indent=2) + "\n"
    _refuse_other_content(root, text)

    train = demo_clips(num_train, range(NUM_TEST_GROUPS + 1, NUM_GROUPS + 1))
    test = demo_clips(num_test, range(1, NUM_TEST_GROUPS + 1))
    videos = root / "videos"
    missing = [clip for clip in train + test if not _is_whole(videos / clip.name)]
    found = num_train + num_test - len(missing)
    report = progress or (lambda count: None)
    report(found)
    lists = _lists(root, train, test)
    if (root / _MARKER).exists() and not missing and all(path.exists() for path in lists):
        return

    write_text(root / _UNFINISHED, text)
    (root / _MARKER).unlink(missing_ok=True)
    render = functools.partial(_render_file, videos, size=size, num_frames=num_frames, seed=seed)
    _render_all(render, missing, workers, lambda count: report(found + count))
    for path, content in lists.items():
        write_text(path, content)
    (root / _UNFINISHED).replace(root / _MARKER)


def demo_clips(count: int, groups: range) -> list[DemoClip]:
    """The `count` clips of a split, a quarter a class and spread evenly over the groups, in the order of the lists."""
    per_class = range(count // len(CLASSES))
    return sorted(
        DemoClip(label, groups[k % len(groups)], k // len(groups) + 1)
        for label in range(len(CLASSES))
        for k in per_class
    )


def demo_scene_of(clip: DemoClip, size: int, num_frames: int, seed: int) -> demo_scene.Scene:
    """The scene, hence the ground truth, of a clip of the set. It depends on nothing but the arguments."""
    sequence = np.random.SeedSequence(seed, spawn_key=(clip.group, clip.label, clip.number))
    direction = tuple(demo_scene.DIRECTIONS)[clip.label]
    backdrop = _backdrop(seed, clip.group, size)
    return demo_scene.sample_scene(np.random.default_rng(sequence), direction, size, num_frames, backdrop)


def write_clip(path: str | os.PathLike, frames: np.ndarray, fps: int = FPS) -> None:
    """Writes (T, H, W, 3) uint8 RGB frames as an MPEG-4 AVI file; H and W are even.

    The file appears under its name when it is whole. The same frames give the same bytes. Every frame is coded on its
    own: in a predicted frame the traces of the prediction would show what moved.
    """
    with whole_file(path) as beside, av.open(str(beside), "w", format="avi", options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("mpeg4", rate=fps, options={"qmin": str(_QUANTISER), "qmax": str(_QUANTISER)})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 1
        stream.codec_context.thread_count = 1  # the slices, hence the bytes, depend on the number of threads
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def _check(parameters: dict[str, int], workers: int) -> None:
    """Raises `UserError` for an argument that is out of range."""
    classes = len(CLASSES)
    for name, groups in (("num_train", NUM_GROUPS - NUM_TEST_GROUPS), ("num_test", NUM_TEST_GROUPS)):
        most = classes * groups * _MAX_CLIPS_PER_GROUP
        if parameters[name] % classes or not classes <= parameters[name] <= most:
            raise UserError(
                f"--{name}={parameters[name]} must be a multiple of {classes}, from {classes} to {most}: the classes "
                "are balanced, and file names count to 99."
            )
    if parameters["size"] % 2 or parameters["size"] < demo_scene.MIN_SIZE:
        raise UserError(f"--size={parameters['size']} must be even and at least {demo_scene.MIN_SIZE}.")
    for name, value, least in (
        ("num_frames", parameters["num_frames"], 2),
        ("seed", parameters["seed"], 0),
        ("workers", workers, 0),
    ):
        if value < least:
            raise UserError(f"--{name}={value} must be at least {least}.")


def _refuse_other_content(root: pathlib.Path, text: str) -> None:
    """Raises `UserError` unless the folder is new, empty, or has a marker that says `text`.

    An interrupted set, too, can only be continued with the parameters that it was begun with.
    """
    remedy = "delete the folder or choose another one"
    markers = [path for path in (root / _MARKER, root / _UNFINISHED) if path.exists()]
    if not markers and root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} is not empty and holds no demo set: {remedy}.")
    for marker in markers:
        if marker.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{root} holds a demo set rendered with other parameters, which are in {marker.name}: {remedy}."
            )


def _lists(root: pathlib.Path, train: list[DemoClip], test: list[DemoClip]) -> dict[pathlib.Path, str]:
    """UCF101's three lists, path to content. Only the training list gives the labels, as UCF101's does."""
    folder = root / "ucfTrainTestlist"
    return {
        folder / "classInd.txt": "".join(f"{label} {name}\n" for label, name in enumerate(CLASSES, 1)),
        folder / "trainlist01.txt": "".join(f"{clip.name} {clip.label + 1}\n" for clip in train),
        folder / "testlist01.txt": "".join(f"{clip.name}\n" for clip in test),
    }


def _is_whole(path: pathlib.Path) -> bool:
    """Whether an AVI file has the length that its header announces; the header is completed last."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
            length = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"AVI " and int.from_bytes(head[4:8], "little") + 8 == length


def _render_all(render, clips, workers, report) -> None:
    """Calls `render` with each clip, and `report` with the number of clips rendered after each."""
    with WorkerPool(render, workers) as pool:
        for count, outcome in enumerate(pool.run([(clip,) for clip in clips]), 1):
            if isinstance(outcome.error, WorkerLostError):
                raise UserError(f"{clips[outcome.index].name}: {outcome.error}; the same command goes on from there.")
            if outcome.error:
                raise outcome.error
            report(count)


def _render_file(videos: pathlib.Path, clip: DemoClip, beat: Callable, size: int, num_frames: int, seed: int) -> None:
    scene = demo_scene_of(clip, size, num_frames, seed)
    write_clip(videos / clip.name, demo_scene.render_scene(scene))
    beat(num_frames)


@functools.lru_cache(maxsize=NUM_GROUPS)
def _backdrop(seed: int, group: int, size: int) -> np.ndarray:
    sequence = np.random.SeedSequence(seed, spawn_key=(group,))
    backdrop = demo_scene.paint_backdrop(np.random.default_rng(sequence), size)
    backdrop.flags.writeable = False  # every clip of the group looks at this array
    return backdrop
