"""The demo set "whose motion is it" as video files in UCF101's layout; what it shows is in `scene`.

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

from ccsn_tf.data.demo import scene
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file, write_text
from ccsn_tf.worker_pool import WorkerLostError, WorkerPool

CLASSES = tuple(f"MarkedMoves{direction}" for direction in scene.DIRECTIONS)
"""Class names by label (0-based); UCF101's lists count from 1."""

NUM_GROUPS = 25
NUM_TEST_GROUPS = 5
"""As in UCF101 the first groups are for testing, the others for training. Clips of a group share their backdrop."""

RATE = 25  # frames a second
_MARKER = "demo.json"
_VERSION = 1  # raise it when a change of the rendering changes the files


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
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Renders the set below `root`, or what is missing of it: the same arguments give the same bytes.

    Writes `videos/<Class>/v_<Class>_gNN_cMM.avi`, `demo.json` with the arguments and, when all videos are there,
    `ucfTrainTestlist/{classInd,trainlist01,testlist01}.txt`.

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
    train = _clips("`num_train` (--demo_train_clips)", num_train, range(NUM_TEST_GROUPS + 1, NUM_GROUPS + 1))
    test = _clips("`num_test` (--demo_test_clips)", num_test, range(1, NUM_TEST_GROUPS + 1))
    if size % 2 or size < scene.MIN_SIZE:
        raise UserError(f"`size` (--demo_size) must be even and at least {scene.MIN_SIZE}. Received: {size}.")
    arguments = {"num_train": num_train, "num_test": num_test, "size": size, "num_frames": num_frames, "seed": seed}
    _mark(root, json.dumps({"version": _VERSION, **arguments}, indent=2) + "\n")
    missing = [clip for clip in train + test if not (root / "videos" / clip.name).exists()]
    found = len(train) + len(test) - len(missing)
    progress(found)
    render = functools.partial(_render_clip, root / "videos", size=size, num_frames=num_frames, seed=seed)
    with WorkerPool(render, workers) as pool:
        for count, outcome in enumerate(pool.run([(clip,) for clip in missing]), found + 1):
            if isinstance(outcome.error, WorkerLostError):
                name = missing[outcome.index].name
                raise UserError(f"{name}: {outcome.error}; the same command goes on from there.")
            if outcome.error:
                raise outcome.error
            progress(count)
    # Only the training list gives the labels, as UCF101's does.
    for name, lines in {
        "classInd": [f"{label} {name}" for label, name in enumerate(CLASSES, 1)],
        "trainlist01": [f"{clip.name} {clip.label + 1}" for clip in train],
        "testlist01": [clip.name for clip in test],
    }.items():
        path = root / "ucfTrainTestlist" / f"{name}.txt"
        if not path.exists():
            write_text(path, "".join(f"{line}\n" for line in lines))


def _clips(argument: str, count: int, groups: range) -> list[DemoClip]:
    """The clips of a side, a quarter a class and spread evenly over the groups, in the order of the lists."""
    classes, most = len(CLASSES), len(CLASSES) * len(groups) * 99  # file names have two digits for the number
    if count % classes or not classes <= count <= most:
        raise UserError(f"{argument} must be a multiple of {classes}, from {classes} to {most}. Received: {count}.")
    return sorted(
        DemoClip(label, groups[k % len(groups)], k // len(groups) + 1)
        for label in range(classes)
        for k in range(count // classes)
    )


def _mark(root: pathlib.Path, text: str) -> None:
    """Writes the marker, unless it is there; raises `UserError` where the folder holds anything else."""
    marker, remedy = root / _MARKER, "delete the folder or choose another one"
    if not marker.exists():
        if root.exists() and (not root.is_dir() or any(not path.name.startswith(".") for path in root.iterdir())):
            raise UserError(f"{root} is not empty and holds no demo set: {remedy}.")
        write_text(marker, text)
    elif marker.read_text(encoding="utf-8") != text:
        raise UserError(f"{root} holds a demo set rendered with other arguments, which are in {_MARKER}: {remedy}.")


def scene_of(clip: DemoClip, size: int, num_frames: int, seed: int) -> scene.Scene:
    """The scene, hence the ground truth, of a clip of the set. It depends on nothing but the arguments."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(clip.group, clip.label, clip.number)))
    return scene.sample_scene(
        rng, tuple(scene.DIRECTIONS)[clip.label], size, num_frames, _backdrop(seed, clip.group, size)
    )


@functools.lru_cache(maxsize=NUM_GROUPS)
def _backdrop(seed, group, size):
    return scene.paint_backdrop(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(group,))), size)


def render_long(path: str | os.PathLike, seconds: int = 30, size: int = 64, seed: int = 0) -> list[tuple[float, str]]:
    """Renders a video in which the objects turn every 2 to 5 seconds, as MP4 (H.264), which browsers play.

    The backdrop is one of the test clips'.

    Returns:
        (Second, class from there on), from 0 on.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))  # of no clip
    first = str(rng.choice(list(scene.DIRECTIONS)))
    drawn = scene.sample_scene(rng, first, size, seconds * RATE, _backdrop(seed, 1, size))
    drawn, turns = scene.let_turn(drawn, rng, 2 * RATE, 5 * RATE)
    with whole_file(path) as beside, av.open(str(beside), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"crf": "8", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = size, size, "yuv420p"
        for frame in scene.render_scene(drawn):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return [(frame / RATE, CLASSES[list(scene.DIRECTIONS).index(direction)]) for frame, direction in turns]


def _render_clip(videos, clip, beat, size, num_frames, seed):
    write_clip(videos / clip.name, scene.render_scene(scene_of(clip, size, num_frames, seed)))
    beat(num_frames)


def write_clip(path: str | os.PathLike, frames: np.ndarray) -> None:
    """Writes (T, H, W, 3) uint8 RGB frames as an MPEG-4 AVI file of 25 frames a second; H and W are even.

    The file appears under its name when it is whole. The same frames give the same bytes. Every frame is coded on its
    own: in a predicted frame the traces of the prediction would show what moved.
    """
    finest_but_one = {"qmin": "2", "qmax": "2"}  # a constant quantiser: no visible block edges
    with whole_file(path) as beside, av.open(str(beside), "w", format="avi", options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("mpeg4", rate=RATE, options=finest_but_one)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 1
        stream.codec_context.thread_count = 1  # the slices, hence the bytes, depend on the number of threads
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
