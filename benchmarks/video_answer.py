"""From a video file to its best classes, by stage: flow beforehand, flow in the network, and TV-L1 of all frames."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
import time
from collections.abc import Callable

import av
import keras
import numpy as np
import tensorflow as tf

from ccsn_tf.config import Config
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.flow import grey_of, make_estimator
from ccsn_tf.data.frames import count_frames, iter_frames
from ccsn_tf.data.inputs import input_form
from ccsn_tf.data.snippets import video_snippets
from ccsn_tf.data.stopwatch import Stopwatch
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import predict_video
from ccsn_tf.evaluation.protocol import make_forward
from ccsn_tf.models.build import build_model, load_model

STAGES = ("decode", "flow", "crop and scale", "network")
TVL1 = {"flow": "tvl1", "flow_side": 0}
_ROUNDS = 7


@dataclasses.dataclass(frozen=True)
class Side:
    """A way to an answer: its name, its settings, the network, and what of the network is flow, where it has that."""

    name: str
    config: Config
    forward: Callable
    flow: Callable | None = None


def run(config: Config, options) -> dict:
    """Answers the first --video_frames frames of --video, in this process, after a first answer that is not counted.

    Returns:
        `video` (file name), `frames`, `width`, `height`; `sides` {name: {`segments`, `pairs` of frames that have flow,
        `milliseconds` {stage: median}}}; `whole` {name: median of `predict_video`, in milliseconds};
        `tvl1` {`pairs`: measured ones, `milliseconds`: of a pair}: the time of all pairs is that times their number.

    Raises:
        UserError: the video cannot be used, or is shorter.
    """
    model = load_model(str(pathlib.Path(config.train.workdir, "model.keras")))
    sides = [
        dataclasses.replace(side, name=f"{side.name}, {number} segments", config=asked)
        for side in _sides(model, config)
        for number in sorted({config.model.num_segments, config.eval.test_segments})
        for asked in [side.config.replace(test_segments=number)]
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, os.path.basename(options.video))
        cut(options.video, path, options.video_frames)
        frames = list(iter_frames(path, config.data.short_side))
        rounds, wholes = {side.name: [] for side in sides}, {side.name: [] for side in sides}
        for turn in range(_ROUNDS + 1):
            for side in sides:
                times = answer_by_stage(path, side)
                begun = time.perf_counter()
                predict_video(path, side.forward, side.config)
                if turn:
                    wholes[side.name].append(1000 * (time.perf_counter() - begun))
                    rounds[side.name].append(times)
        of_all = _beforehand(path, sides[0].config, len(frames))
        tvl1 = _tvl1_pair(frames, config, options.tvl1_pairs)
    report = {}
    for side in sides:
        milliseconds = {stage: float(np.median([times[stage] for times in rounds[side.name]])) for stage in STAGES}
        segments, pairs = side.config.eval.test_segments, rounds[side.name][0]["pairs"]
        report[side.name] = {"segments": segments, "pairs": pairs, "milliseconds": milliseconds}
    stored = [side for side in sides if side.flow is None][-1]
    most, words, last = report[stored.name], _flow_in_words(stored.config), len(frames) - 1
    flow_of_all = {
        words: (last // stored.config.data.flow_stride, of_all["flow"]),
        "TV-L1": (last, tvl1["milliseconds"] * last),
    }
    for name, (pairs, milliseconds) in flow_of_all.items():
        report[f"{name} of all frames"] = {
            "segments": most["segments"],
            "pairs": pairs,
            "milliseconds": {**most["milliseconds"], "decode": of_all["decode"], "flow": milliseconds},
        }
    return {
        "video": os.path.basename(options.video),
        "frames": len(frames),
        "width": frames[0].shape[1],
        "height": frames[0].shape[0],
        "sides": report,
        "whole": {name: float(np.median(times)) for name, times in wholes.items()},
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
        "pair), the rest computed from them. Flow of all frames is what records hold; crop, scale and network of these "
        "rows are those of the most segments with flow beforehand.",
    ]
    return "\n".join(lines)


def answer_by_stage(path: str, side: Side) -> dict:
    """What `predict_video` does with the centre crop: {stage: milliseconds, "pairs": of frames that have flow}.

    Flow in the network is what the network takes to its flow, when it is run so far and no further.
    """
    watch, form, config = Stopwatch(), input_form(side.config.model), side.config
    snippets = form.of_video(path, config, config.eval.test_segments, watch)
    with watch.stage("crop and scale"):
        ((box, mirrored),) = view_boxes(*form.size(snippets), 1)
        views = form.empty((1, config.eval.test_segments))
        form.write(snippets, box, mirrored, {name: part[0] for name, part in views.items()})
    with watch.stage("network"):
        side.forward(views)["logits"].numpy()
    times = {stage: 1000 * seconds for stage, seconds in watch.seconds.items()}
    if side.flow is None:
        pairs = len({id(field) for snippet in snippets[1] for field in snippet})  # those that overlap share fields
        return {**times, "pairs": pairs}
    begun = time.perf_counter()
    side.flow(views).numpy()
    flow = 1000 * (time.perf_counter() - begun)
    pairs = config.eval.test_segments * config.model.flow_length
    return {**times, "flow": flow, "network": times["network"] - flow, "pairs": pairs}


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


def _sides(model, config):
    """The model, and one like it whose flow comes from elsewhere; the time does not depend on weights."""
    if config.model.flow_source == "graph":
        algorithm = config.data.flow if config.data.flow not in ("none", "stored") else "dis"
        stored = config.replace(flow_source="stored", learnable_flow=False, flow=algorithm)
        networks = _like(model, stored), model
        graph = config
    else:
        if config.model.frames_per_segment > 1:  # such a network computes no flow
            return [Side(_flow_in_words(config), config, make_forward(model))]
        stored, graph = config, config.replace(flow_source="graph", flow_stride=1)
        networks = model, _like(model, graph)
    form = networks[1].get_layer("quantized_flow").output
    flow = tf.function(keras.Model(networks[1].inputs, form))
    return [
        Side(_flow_in_words(stored), stored, make_forward(networks[0])),
        Side("TV-L1 in the network", graph, make_forward(networks[1]), lambda views: flow(views["frames"])),
    ]


def _like(model, config):
    return build_model(config.replace(pretrained="none").model, model.classes, data=config.data)


def _beforehand(path, config, num_frames):
    """Milliseconds of "decode" and "flow" of all frames, as prepared records would have them."""
    watch = Stopwatch()
    every = (num_frames - 1) // config.data.flow_stride - config.model.flow_length + 1  # a snippet at each position
    video_snippets(path, config, every, watch)
    return {stage: 1000 * seconds for stage, seconds in watch.seconds.items()}


def _tvl1_pair(frames, config, count):
    """The mean time of pairs that are evenly spaced over the video, in its own size."""
    greys = [grey_of(frame) for frame in frames]
    firsts = np.unique(np.linspace(0, len(greys) - 2, count).round().astype(int)).tolist()
    estimate = make_estimator(dataclasses.replace(config.data, **TVL1))
    begun = time.perf_counter()
    for first in firsts:
        estimate(greys[first], greys[first + 1])
    return {"pairs": len(firsts), "milliseconds": 1000 * (time.perf_counter() - begun) / len(firsts)}


def _flow_in_words(config):
    if config.data.flow != "dis":
        return config.data.flow
    side = f" at {config.data.flow_side} px" if config.data.flow_side else ""
    return f"DIS {config.data.dis_preset}, finest scale {config.data.dis_finest_scale}{side}"
