"""A stream watched: how much faster than real time, how late answers are, and what windows cost from scratch."""

import contextlib
import os
import pathlib
import tempfile
import threading
import time

import av
import cv2
import numpy as np
from absl import flags

from ccsn_tf.config import Config
from ccsn_tf.evaluation.predict import make_forward, predict_video
from ccsn_tf.models.build import build_model
from ccsn_tf.progress import Progress
from ccsn_tf.streaming.source import Frame, open_source
from ccsn_tf.streaming.stream_model import TrainedModel
from ccsn_tf.streaming.watch import WatchSettings, watch

RATE, HEIGHT, WIDTH = 25, 240, 320
BACKBONE, IMAGE_SIZE, CLASSES = "efficientnet_lite0", 112, 101
_WINDOWS = 2  # from scratch, a turn
FLOWS = {"TV-L1 in the network": {"flow_source": "graph", "flow": "none"}, "DIS": {"flow_source": "stored"}}


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_float("watch_seconds", 20.0, "watch: length of the video.", lower_bound=4.0)
    flags.DEFINE_float("watch_live_seconds", 30.0, "watch: length of the live stream.", lower_bound=4.0)
    flags.DEFINE_integer(
        "watch_turns", 4, "watch: turns of each side, of which the first is not counted.", lower_bound=2
    )
    flags.DEFINE_multi_enum("watch_flow", list(FLOWS), list(FLOWS), "watch: which flow; may be repeated.")


def run(config: Config, options) -> dict:
    """Watches a rendered video as a file and as a live stream, random weights, windows of 2 s every 0.5 s.

    A window from scratch: `predict_video` of a file of 2 s, with as many snippets as a window has when it is streamed.
    Both take turns.

    Returns:
        `test_segments`, `load` (processes that ran or waited, the last minute's mean, before and after), `flows` {name:
        {`real_time` (seconds of video a second), `cpu` (seconds of it for one of video), `snippets_a_window`,
        `seconds_a_window` (streamed), `from_scratch`, `ratio`, `cpu_ratio`; of the live stream `delays` {"p50", "p95"}
        in seconds, `dropped` and `snippets`, `megabytes` at the first and last window}}.
    """
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        video = _render(pathlib.Path(folder, "a.mp4"), options.watch_seconds)
        found = {name: _measure(config.replace(**FLOWS[name]), video, options) for name in options.watch_flow}
    return {"test_segments": config.eval.test_segments, "load": [*load, os.getloadavg()[0]], "flows": found}


def table(report: dict) -> str:
    """The report as Markdown."""
    lines = [
        f"{BACKBONE} at {IMAGE_SIZE} px, {WIDTH}x{HEIGHT} at {RATE} frames/s, windows of 2 s every 0.5 s for "
        f"--test_segments={report['test_segments']}. Load {report['load'][0]:.1f} before, {report['load'][1]:.1f} "
        "after.",
        "",
        "| flow | x real time, from a file | CPU s per s | snippets per window | ms per window | from scratch | "
        "ratio | of CPU time | delay live, p50, s | p95, s | snippets dropped | MB, first and last window |",
        "|---" * 12 + "|",
    ]
    for name, row in report["flows"].items():
        cells = [
            name,
            f"{row['real_time']:.2f}",
            f"{row['cpu']:.2f}",
            str(row["snippets_a_window"]),
            f"{1000 * row['seconds_a_window']:.0f}",
            f"{1000 * row['from_scratch']:.0f}",
            f"{row['ratio']:.1f}",
            f"{row['cpu_ratio']:.1f}",
            *(f"{row['delays'][quantile]:.2f}" for quantile in ("p50", "p95")),
            f"{row['dropped']} of {row['dropped'] + row['snippets']}",
            " → ".join(f"{held:.0f}" for held in row["megabytes"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _measure(config, video, options):
    config = config.replace(backbone=BACKBONE, image_size=IMAGE_SIZE)
    network = build_model(config.model, [str(number) for number in range(CLASSES)], data=config.data)
    model, forward, settings = TrainedModel(network, config), make_forward(network), WatchSettings()
    counts, streamed, scratch = [], [], []

    def watched(source, show):
        return watch(model, source, settings, threading.Event(), lambda answer, top: show(answer))

    progress = Progress("watch", "turns")
    for turn in range(options.watch_turns):
        with _timed(streamed):
            found = watched(open_source(video["whole"]), lambda answer: counts.append(answer.snippets))
        same = config.replace(test_segments=int(np.median(counts)), test_crops=1)
        for _ in range(_WINDOWS):
            with _timed(scratch):
                predict_video(video["window"], forward, same)
        progress(turn + 1, options.watch_turns)
    # Medians of (seconds, seconds of CPU), without the first of each, which compiles.
    seconds = np.median(streamed[1:], axis=0), np.median(scratch[1:], axis=0)
    lasts, memory = found.counts["frames"] / RATE, []
    windows = lasts / settings.every  # of a stream so long that its first one, which comes late, does not count
    seen = watched(_Camera(video["whole"], options.watch_live_seconds), lambda answer: memory.append(_megabytes()))
    return {
        "real_time": lasts / seconds[0][0],
        "cpu": seconds[0][1] / lasts,
        "snippets_a_window": int(np.median(counts)),
        "seconds_a_window": seconds[0][0] / windows,
        "from_scratch": seconds[1][0],
        "ratio": seconds[1][0] / seconds[0][0] * windows,
        "cpu_ratio": seconds[1][1] / seconds[0][1] * windows,
        "delays": {"p50": float(np.quantile(seen.delays, 0.5)), "p95": float(np.quantile(seen.delays, 0.95))},
        "dropped": seen.counts["dropped"],
        "snippets": seen.counts["snippets"],
        "megabytes": [memory[0], memory[-1]],
    }


@contextlib.contextmanager
def _timed(found):
    """Appends (seconds, seconds of CPU) of the block."""
    begun = np.array([time.perf_counter(), time.process_time()])
    yield
    found.append(np.array([time.perf_counter(), time.process_time()]) - begun)


class _Camera:
    """A live source: the frames of a video in real time, over and over."""

    name, live, seconds, late, damaged, reconnections = "camera", True, None, 0, 0, 0

    def __init__(self, path, seconds):
        self._path, self._until = path, seconds

    def frames(self, short_side, stopped, say):
        begun, number = time.monotonic(), 0
        while True:
            for frame in open_source(self._path).frames(short_side, stopped, say):
                seconds = number / RATE
                if seconds > self._until:
                    return
                time.sleep(max(0.0, begun + seconds - time.monotonic()))
                yield Frame(seconds, frame.image, time.monotonic())
                number += 1


def _render(path, seconds):
    """A texture that drifts and turns; the whole video, and one of its first window alone, 2 seconds."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.random((2 * HEIGHT, 2 * WIDTH, 3)).astype(np.float32), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    made = {"whole": (path, round(seconds * RATE)), "window": (path.with_name("window.mp4"), 2 * RATE + 1)}
    for place, count in made.values():
        with av.open(str(place), "w") as container:
            stream = container.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for number in range(count):
                turn = cv2.getRotationMatrix2D((WIDTH, HEIGHT), 20 * np.sin(number / 40), 1.0)
                turn[:, 2] -= (WIDTH / 2 + 60 * np.sin(number / 15), HEIGHT / 2)
                image = cv2.warpAffine(texture, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            container.mux(stream.encode())
    return {name: str(place) for name, (place, _) in made.items()}


def _megabytes():
    """What this process holds now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
