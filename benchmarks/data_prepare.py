"""Videos to records: frames a second of the whole on every core, and of each stage on one thread."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import resource
import time
from collections.abc import Iterator, Sequence

import av
import cv2

from ccsn_tf.config import DataConfig
from ccsn_tf.data.flow import flow_fields, make_estimator, quantise
from ccsn_tf.data.prepare.encode import EncodedClip, encode_field, encode_frame
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.prepare.worker_pool import num_cores
from ccsn_tf.data.records.examples import serialise
from ccsn_tf.data.records.tfrecord import framed
from ccsn_tf.data.video import decode_whole, iter_frames
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file

LARGE = (340, 256)  # width and height of UCF101's frames in the usual preparation
FLOWS = {
    "DIS medium, finest scale 0": {"flow": "dis", "dis_preset": "medium", "dis_finest_scale": 0},
    "DIS fast, finest scale 1": {"flow": "dis", "dis_preset": "fast", "dis_finest_scale": 1},
}
STAGES = ("decode", "convert", "flow", "encode", "write")
_QUANTISER, _FRAMES_A_KEY = 2, 12  # MPEG-4's best quality, and UCF101's distance between key frames


def find_videos(video_dir: str) -> list[pathlib.Path]:
    """The AVI files below a folder's folders.

    Raises:
        UserError: there are none.
    """
    paths = sorted(pathlib.Path(video_dir).glob("*/*.avi"))
    if not video_dir or not paths:
        raise UserError(f"--video_dir={video_dir} has no <class>/<video>.avi: name a folder of UCF101's videos.")
    return paths


def make_set(paths: Sequence[pathlib.Path], copies: int, folder: pathlib.Path, size=None) -> list[pathlib.Path]:
    """Writes a video folder, `<class>/<number>.avi`: `copies` links to each video, or to a new one of another size."""
    made = []
    for number, path in enumerate(paths):
        source = path.resolve()
        if size:
            source = folder / "resized" / f"{number}.avi"
            resize_video(path, source, size)
        label = folder / "videos" / path.parent.name
        label.mkdir(parents=True, exist_ok=True)
        for copy in range(copies):
            made.append(label / f"{number}-{copy}.avi")
            made[-1].symlink_to(source)
    return made


def resize_video(path: pathlib.Path, target: pathlib.Path, size: tuple[int, int]) -> None:
    """Writes a video anew with frames of `size` (width, height), MPEG-4 in AVI as UCF101's, of the best quality."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as beside, av.open(str(beside), "w", format="avi") as file:
        stream = file.add_stream("mpeg4", rate=25, options={"qmin": str(_QUANTISER), "qmax": str(_QUANTISER)})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = _FRAMES_A_KEY
        for frame in iter_frames(str(path), 2**15):
            resized = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(resized, format="rgb24")))
        file.mux(stream.encode())


def measure_prepare(data: DataConfig) -> dict:
    """Prepares `data.video_dir` into `data.record_dir` with a worker a core, from the start of the workers to the end.

    Returns:
        `frames`, `seconds`, `frames_per_second`, `busy` (CPU time of this process and the workers, as a share of what
        the cores have), `bytes_per_frame` (frame and field).
    """
    begun, used = time.perf_counter(), _cpu_seconds()
    counts = prepare(data, min_fields=1).counts()
    seconds, used = time.perf_counter() - begun, _cpu_seconds() - used
    return {
        "frames": counts["num_frames"],
        "seconds": seconds,
        "frames_per_second": counts["num_frames"] / seconds,
        "busy": used / (num_cores() * seconds),
        "bytes_per_frame": counts["num_bytes"] / counts["num_frames"],
    }


def measure_stages(paths: Sequence[pathlib.Path], data: DataConfig, folder: pathlib.Path, rounds: int) -> dict:
    """{stage: milliseconds a frame}: CPU time of one thread, the best of some rounds."""
    best = dict.fromkeys(STAGES, float("inf"))
    for _ in range(rounds):
        with one_thread():
            clips = [_stages_of(str(path), data, folder / "record") for path in paths]
        frames = sum(count for count, _ in clips)
        for stage in STAGES:
            best[stage] = min(best[stage], 1e3 * sum(times[stage] for _, times in clips) / frames)
    return best


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Holds OpenCV to the calling thread meanwhile."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _stages_of(path, data, target):
    """The number of a clip's frames, and the seconds of each stage."""
    clock = _Clock()
    count = decode_whole(path).frames
    decode = clock.lap()
    frames = list(iter_frames(path, data.short_side))
    both = clock.lap()
    fields = list(flow_fields(frames, make_estimator(data)))
    flow = clock.lap()
    stored = [quantise(field, data.flow_bound) for field in fields]
    flow_jpegs = [encode_field(field, data.jpeg_quality) for field in stored]
    jpegs = [encode_frame(frame, data.jpeg_quality) for frame in frames]
    encode = clock.lap()
    target.write_bytes(framed(serialise(path, EncodedClip(jpegs, flow_jpegs, *frames[0].shape[:2]))))
    write = clock.lap()
    return count, dict(zip(STAGES, (decode, both - decode, flow, encode, write), strict=True))


class _Clock:
    def __init__(self):
        self._last = time.process_time()

    def lap(self) -> float:
        """Seconds of CPU time since the last lap."""
        now = time.process_time()
        passed, self._last = now - self._last, now
        return passed


def _cpu_seconds():
    """Of this process and of those children that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def prepare_both_sizes(data: DataConfig, copies: int, rounds: int, folder: pathlib.Path) -> dict:
    """Measures every flow of `FLOWS` on the videos of `data.video_dir` as they are and at 340x256.

    Returns:
        {size: {flow: {"whole": of `measure_prepare`, "stages": of `measure_stages`}}}. Records of the last flow stay
        in `folder`/<size>/records-<number of the flow>.
    """
    paths, report = find_videos(data.video_dir), {}
    for name, size in (("as they are", None), ("{}x{}".format(*LARGE), LARGE)):
        place = folder / name
        made = make_set(paths, copies, place, size)
        report[name] = {}
        for number, (flow, changes) in enumerate(FLOWS.items()):
            settings = {"dataset": "folder", "video_dir": str(place / "videos"), "workers": 0, **changes}
            config = dataclasses.replace(data, record_dir=str(place / f"records-{number}"), **settings)
            whole = measure_prepare(config)
            report[name][flow] = {"whole": whole, "stages": measure_stages(made[::copies], config, place, rounds)}
    return report


def records_of(data: DataConfig, size: str, folder: pathlib.Path) -> DataConfig:
    """The settings of the records that `prepare_both_sizes` left, of the last flow."""
    place, changes = folder / size, list(FLOWS.values())[-1]
    settings = {"dataset": "folder", "record_dir": str(place / f"records-{len(FLOWS) - 1}"), **changes}
    return dataclasses.replace(data, **settings)
