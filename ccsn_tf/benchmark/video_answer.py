"""From a video file to its best classes, by stage, and against TV-L1 flow of all its frames in their own size."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
import time

import av
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.flow import grey_of, make_estimator
from ccsn_tf.data.frames import count_frames, iter_frames
from ccsn_tf.data.snippets import video_snippets
from ccsn_tf.data.stopwatch import Stopwatch
from ccsn_tf.data.transform import network_input
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import predict_video
from ccsn_tf.evaluation.protocol import make_forward
from ccsn_tf.models.build import load_model

STAGES = ("decode", "flow", "crop and scale", "network")
TVL1 = {"flow": "tvl1", "flow_side": 0}
_ROUNDS = 7


def run(config: Config, options) -> dict:
    """Answers the first --video_frames frames of --video, in this process, after a first answer that is not counted.

    Returns:
        `video` (file name), `frames`, `width`, `height`; `sides` {name: {`segments`, `pairs` of frames that have flow,
        `milliseconds` {stage: median}}}; `whole` {name: median of `predict_video`, in milliseconds};
        `tvl1` {`pairs`: measured ones, `milliseconds`: of a pair}: the time of all pairs is that times their number.

    Raises:
        UserError: the video cannot be used, or is shorter.
    """
    forward = make_forward(load_model(str(pathlib.Path(config.train.workdir, "model.keras"))))
    numbers = sorted({config.model.num_segments, config.eval.test_segments})
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, os.path.basename(options.video))
        cut(options.video, path, options.video_frames)
        height, width = next(iter_frames(path, config.data.short_side)).shape[:2]
        rounds, wholes = {number: [] for number in numbers}, {number: [] for number in numbers}
        for turn in range(_ROUNDS + 1):
            for number in numbers:
                asked = config.replace(test_segments=number)
                times = answer_by_stage(path, forward, asked)
                begun = time.perf_counter()
                predict_video(path, forward, asked)
                if turn:
                    wholes[number].append(1000 * (time.perf_counter() - begun))
                    rounds[number].append(times)
        tvl1 = _tvl1_pair(path, config, options.tvl1_pairs)
        last = len(list(iter_frames(path, config.data.short_side))) - 1
    sides, whole = {}, {}
    for number in numbers:
        name = f"{_flow_in_words(config)}, {number} segments"
        milliseconds = {stage: float(np.median([times[stage] for times in rounds[number]])) for stage in STAGES}
        sides[name] = {"segments": number, "pairs": rounds[number][0]["pairs"], "milliseconds": milliseconds}
        whole[name] = float(np.median(wholes[number]))
    most = sides[f"{_flow_in_words(config)}, {numbers[-1]} segments"]["milliseconds"]
    sides["TV-L1 of all frames"] = {
        "segments": numbers[-1],
        "pairs": last,
        "milliseconds": {**most, "flow": tvl1["milliseconds"] * last},
    }
    return {
        "video": os.path.basename(options.video),
        "frames": last + 1,
        "width": width,
        "height": height,
        "sides": sides,
        "whole": whole,
        "tvl1": tvl1,
    }


def table(report: dict) -> str:
    """The report as Markdown."""
    size = f"{report['frames']} frames of {report['width']}x{report['height']}"
    lines = [
        f"{report['video']}, {size}, to its scores, after start-up; milliseconds.",
        "",
        f"| flow | pairs | {' | '.join(STAGES)} | in all | predict_video | against the last row |",
        "|---" * (len(STAGES) + 5) + "|",
    ]
    totals = {name: sum(side["milliseconds"].values()) for name, side in report["sides"].items()}
    for name, side in report["sides"].items():
        stages = [f"{side['milliseconds'][stage]:.0f}" for stage in STAGES]
        whole = f"{report['whole'][name]:.0f}" if name in report["whole"] else ""
        times = f"{list(totals.values())[-1] / totals[name]:.0f}"
        lines.append(f"| {' | '.join([name, str(side['pairs']), *stages, f'{totals[name]:.0f}', whole, times])} |")
    tvl1 = report["tvl1"]
    lines += [
        "",
        f"TV-L1: {tvl1['pairs']} of {report['frames'] - 1} pairs measured in this run ({tvl1['milliseconds']:.0f} ms a "
        "pair), the rest computed from them; its other stages are those of the row above.",
    ]
    return "\n".join(lines)


def answer_by_stage(path: str, forward, config: Config) -> dict:
    """What `predict_video` does with the centre crop: {stage: milliseconds, "pairs": of frames that have flow}."""
    watch = Stopwatch()
    frames, fields = video_snippets(path, config, config.eval.test_segments, watch)
    with watch.stage("crop and scale"):
        ((box, mirrored),) = view_boxes(*frames[0].shape[:2], 1)
        rgb, flow = network_input(frames, fields, box, mirrored, config.model.image_size)
    with watch.stage("network"):
        forward({"rgb": rgb[None], "flow": flow[None]})["logits"].numpy()
    pairs = len({id(field) for snippet in fields for field in snippet})  # snippets that overlap share fields
    return {**{stage: 1000 * seconds for stage, seconds in watch.seconds.items()}, "pairs": pairs}


def cut(source: str, target: str, num_frames: int) -> None:
    """Writes the first frames of a video as they are encoded, or all where it has fewer.

    Raises:
        VideoError: it cannot be used.
        UserError: it has fewer.
    """
    there = count_frames(source)
    if there < num_frames:
        raise UserError(f"{source} has {there} frames: lower --video_frames={num_frames}, or name a longer --video.")
    with av.open(source) as file, av.open(target, "w") as part:
        stream = file.streams.video[0]
        copy = part.add_stream_from_template(stream)
        for number, packet in enumerate(file.demux(stream)):
            if number == num_frames or packet.dts is None:
                return
            packet.stream = copy
            part.mux(packet)


def _tvl1_pair(path, config, count):
    """The mean time of pairs that are evenly spaced over the video, in its own size."""
    frames = [grey_of(frame) for frame in iter_frames(path, config.data.short_side)]
    firsts = np.unique(np.linspace(0, len(frames) - 2, count).round().astype(int)).tolist()
    estimate = make_estimator(dataclasses.replace(config.data, **TVL1))
    begun = time.perf_counter()
    for first in firsts:
        estimate(frames[first], frames[first + 1])
    return {"pairs": len(firsts), "milliseconds": 1000 * (time.perf_counter() - begun) / len(firsts)}


def _flow_in_words(config):
    if config.data.flow != "dis":
        return config.data.flow
    side = f" at {config.data.flow_side} px" if config.data.flow_side else ""
    return f"DIS {config.data.dis_preset}, finest scale {config.data.dis_finest_scale}{side}"
