"""From a video file to its best classes: flow beforehand, flow in the network, and OpenCV's TV-L1 of all frames."""

import dataclasses
import os
import pathlib
import time

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.flow import grey_of, make_estimator
from ccsn_tf.data.video import iter_frames
from ccsn_tf.evaluation.predict import make_forward, predict_video
from ccsn_tf.models.build import build_model, load_model

_ROUNDS = 7


def run(config: Config, options) -> dict:
    """Answers --video in this process, after a first answer that is not counted.

    The model of --workdir, and one like it whose flow comes from elsewhere (time does not depend on the weights), take
    turns, each with the segments of training and with --test_segments.

    Returns:
        `video` (file name), `frames`, `answers` {way: median milliseconds}, `tvl1` (milliseconds per pair of OpenCV's
        TV-L1, mean of --tvl1_pairs pairs at the video's own size).

    Raises:
        UserError: the video cannot be used.
    """
    model = load_model(str(pathlib.Path(config.train.workdir, "model.keras")))
    ways = {
        f"{name}, {segments} segments": (make_forward(network), way.replace(test_segments=segments))
        for name, network, way in _both(model, config)
        for segments in sorted({config.model.num_segments, config.eval.test_segments})
    }
    frames = list(iter_frames(options.video, config.data.short_side))
    times = {name: [] for name in ways}
    for _ in range(_ROUNDS + 1):
        for name, (forward, way) in ways.items():
            begun = time.perf_counter()
            predict_video(options.video, forward, way)
            times[name].append(1000 * (time.perf_counter() - begun))
    return {
        "video": os.path.basename(options.video),
        "frames": len(frames),
        "answers": {name: float(np.median(each[1:])) for name, each in times.items()},
        "tvl1": _tvl1_pair(frames, config, options.tvl1_pairs),
    }


def table(report: dict) -> str:
    """The report as Markdown."""
    pairs = report["frames"] - 1
    lines = [
        f"{report['video']}, {report['frames']} frames, from the file to its scores, after start-up.",
        "",
        "| flow | milliseconds |",
        "|---|---|",
        *(f"| {name} | {milliseconds:.0f} |" for name, milliseconds in report["answers"].items()),
        f"| OpenCV's TV-L1 of all frames, flow alone (computed from {report['tvl1']:.0f} ms per pair) | "
        f"{pairs * report['tvl1']:.0f} |",
    ]
    return "\n".join(lines)


def _both(model, config):
    """(name, network, config) of the model, and of one like it with the other source of flow."""
    if config.model.flow_source == "graph":
        algorithm = config.data.flow if config.data.flow not in ("none", "stored") else "dis"
        stored, graph = config.replace(flow_source="stored", flow=algorithm), config
    else:
        stored, graph = config, config.replace(flow_source="graph", flow_stride=1)
    networks = {
        way: model if way is config else build_model(way.replace(pretrained="none").model, model.classes, data=way.data)
        for way in (stored, graph)
    }
    return [
        (f"{stored.data.flow} beforehand", networks[stored], stored),
        ("TV-L1 in the network", networks[graph], graph),
    ]


def _tvl1_pair(frames, config, count):
    greys = [grey_of(frame) for frame in frames]
    firsts = np.unique(np.linspace(0, len(greys) - 2, count).round().astype(int)).tolist()
    estimate = make_estimator(dataclasses.replace(config.data, flow="tvl1", flow_side=0))
    begun = time.perf_counter()
    for first in firsts:
        estimate(greys[first], greys[first + 1])
    return 1000 * (time.perf_counter() - begun) / len(firsts)
