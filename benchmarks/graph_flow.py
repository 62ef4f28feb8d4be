"""Flow inside the graph against OpenCV's: error on known motion, calm on real frames, time of a pair; and a picture."""

from __future__ import annotations

import functools
import time

import cv2
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.known_motion import known_motions
from benchmarks.plain_tvl1 import plain_tvl1
from ccsn_tf.config import Config
from ccsn_tf.data.flow import grey_of, make_estimator
from ccsn_tf.data.video import count_frames, iter_frames
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.flow_colour import flow_to_colour
from ccsn_tf.files import whole_file
from ccsn_tf.models.flow import LucasKanadeFlow, TVL1Flow
from ccsn_tf.models.flow.iterating import LOOPED, iterations

FIRST_TRIAL = {
    "warps": 2,
    "iterations": 8,
    "attachment": 0.15,
    "tightness": 0.3,
    "median": 0,
    "smooth": False,
    "carry": False,
}
LAYERS = {
    "TVL1Flow": {},
    "TVL1Flow, 16 iterations at the finest level": {"iterations": (16, 16, 20)},
    "TVL1Flow, 64 iterations at the finest level": {"iterations": (64, 16, 20)},
    "TVL1Flow, dual fields from zero at each level": {"carry": False},
    "TVL1Flow, two medians": {"median": 2},
    "TVL1Flow, images as they are": {"smooth": False},
    "TVL1Flow, lambda 0.3, theta 0.6, 16 iterations, dual fields from zero": {
        "iterations": (16, 16, 20),
        "attachment": 0.3,
        "tightness": 0.6,
        "carry": False,
    },
    "TVL1Flow, the first trial's settings": FIRST_TRIAL,
}
IN_OPERATIONS = {"TVL1Flow in plain operations, as in a SavedModel": {}}
PLAIN = "the first trial's settings in plain code"
OPENCV = {
    "OpenCV's TV-L1": {"flow": "tvl1"},
    "DIS medium, finest scale 0": {"dis_preset": "medium"},
    "DIS fast, finest scale 0": {"dis_preset": "fast"},
    "Farneback": {"flow": "farneback"},
}
CONVERGED = "OpenCV's TV-L1"  # which runs until little changes: what calm is to be compared with
REST = 0.08  # px, half of a step of records (--flow_bound=20): what they hold as no motion
SNIPPETS, LENGTH = 3, 5  # of a batch


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_multi_string("motion_video", [], "graph_flow: a video whose frames are moved and timed; repeat it.")
    flags.DEFINE_integer("motion_rounds", 5, "graph_flow: timings of each side, in turn; the best counts.", 1)
    flags.DEFINE_float(
        "motion_at",
        0.5,
        "graph_flow: where in a video the frame is that is moved, 0 to 1.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_string("motion_picture", "", "graph_flow: PNG of flows in colour, of the first three videos.")


def run(config: Config, options) -> dict:
    """Measures every estimator on frames of the videos, at --image_size.

    Returns:
        `image_size`; `videos`; `errors` {estimator: {motion: mean endpoint error, px}}; of the videos' own motion,
        `rest` {estimator: share of components below 0.08 px} and `distance` {estimator: mean absolute difference of a
        component to that of OpenCV's TV-L1, px; empty without it}; `milliseconds` {estimator: wall time of a pair, the
        best of the rounds}.

    Raises:
        UserError: no video, or one that cannot be read.
    """
    if len(options.motion_video) < 2:
        raise UserError("--motion_video is given less than twice: name videos, of which two at a time are combined.")
    size = config.model.image_size
    snippets = [_snippet(path, size, options.motion_at) for path in options.motion_video]
    if options.motion_picture:
        _draw(snippets[:3], config, options.motion_picture)
    estimators = _estimators(config)
    moved = [_snippet(path, 0, options.motion_at)[0] for path in options.motion_video]
    motions = known_motions(moved, size)
    errors = {name: _errors(estimate, motions) for name, estimate in estimators.items()}
    batches = [
        np.stack([snippets[(begin + number) % len(snippets)] for number in range(SNIPPETS)])
        for begin in range(0, len(snippets), SNIPPETS)
    ]
    fields = {
        name: np.concatenate([np.asarray(estimate(batch)) for batch in batches])[: len(snippets)]
        for name, estimate in estimators.items()
    }
    converged = fields.get(CONVERGED)
    return {
        "image_size": size,
        "videos": len(snippets),
        "errors": errors,
        "rest": {name: float(np.mean(np.abs(field) < REST)) for name, field in fields.items()},
        "distance": {
            name: float(np.mean(np.abs(field - converged))) for name, field in fields.items() if converged is not None
        },
        "milliseconds": _times(estimators, batches[0], options.motion_rounds),
    }


def table(report: dict) -> str:
    """The report as Markdown."""
    motions = list(next(iter(report["errors"].values())))
    times, size = report["milliseconds"], report["image_size"]
    lines = [
        f"Frames of {report['videos']} videos at {size} px. Mean endpoint error in px of frames that are moved; of the "
        f"videos' own motion, the share of components below {REST} px; wall time of a pair, in batches of {SNIPPETS} "
        f"snippets of {LENGTH}, the best of the rounds, and the ratio to plain code.",
        "",
        f"| estimator | {' | '.join(motions)} | mean | at rest, % | from OpenCV's TV-L1, px | ms a pair | ratio |",
        "|---" * (len(motions) + 6) + "|",
    ]
    for name, row in report["errors"].items():
        cells = " | ".join(f"{row[motion]:.2f}" for motion in motions)
        mean, ratio = np.mean(list(row.values())), times[name] / times[PLAIN]
        distance = f"{report['distance'][name]:.3f}" if report["distance"] else "not measured"
        rest = 100 * report["rest"][name]
        lines.append(f"| {name} | {cells} | {mean:.3f} | {rest:.1f} | {distance} | {times[name]:.2f} | {ratio:.2f} |")
    return "\n".join(lines)


def _estimators(config):
    """{name: function of grey snippets, uint8 (N, T, S, S), to fields (N, S, S, 2 (T - 1))}."""
    layers = {name: TVL1Flow(**settings) for name, settings in LAYERS.items()}
    layers["LucasKanadeFlow"] = LucasKanadeFlow()
    found = {name: tf.function(layer) for name, layer in layers.items()}
    for name, settings in IN_OPERATIONS.items():
        found[name] = functools.partial(_without_xla, tf.function(TVL1Flow(**settings)))
    found[PLAIN] = tf.function(_plain)
    for name, changes in OPENCV.items():
        estimator = make_estimator(config.replace(**{"flow": "dis", "dis_finest_scale": 0, **changes}).data)
        found[name] = functools.partial(_one_by_one, estimator)
    return found


def _without_xla(function, snippets):
    with iterations(LOOPED):
        return function(snippets)


def _plain(snippets):
    count, frames, height, width = snippets.shape
    first, second = (tf.reshape(part, (-1, height, width)) for part in (snippets[:, :-1], snippets[:, 1:]))
    fields = tf.reshape(plain_tvl1(first, second), (count, frames - 1, height, width, 2))
    return tf.reshape(tf.transpose(fields, (0, 2, 3, 1, 4)), (count, height, width, -1))


def _one_by_one(estimator, snippets):
    fields = [[estimator(*frames[place : place + 2]) for place in range(len(frames) - 1)] for frames in snippets]
    return np.stack([np.concatenate(row, axis=-1) for row in fields])


def _errors(estimate, motions):
    found = {}
    for motion, pairs in motions.items():
        fields = np.asarray(estimate(np.stack([[pair.first, pair.second] for pair in pairs])))
        found[motion] = float(np.mean([pair.error(field) for pair, field in zip(pairs, fields, strict=True)]))
    return found


def _times(estimators, batch, rounds):
    best = dict.fromkeys(estimators, np.inf)
    for _ in range(rounds):
        for name, estimate in estimators.items():
            estimate(batch)  # untimed: threads and caches are still those of the estimator before
            start = time.perf_counter()
            np.asarray(estimate(batch))
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: 1e3 * seconds / (SNIPPETS * LENGTH) for name, seconds in best.items()}


def _snippet(path, size, place):
    """Grey frames, uint8 (L + 1, size, size), that lead to `place` of a video: middle squares; size 0: as they are."""
    count = count_frames(path)
    start = max(0, min(int(place * count), count - 1) - LENGTH)
    frames = [grey_of(frame) for frame in iter_frames(path, 256, list(range(start, start + LENGTH + 1)))]
    if not size:
        return frames
    height, width = frames[0].shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    squares = [frame[top : top + side, left : left + side] for frame in frames]
    return np.stack([cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA) for square in squares])


def _draw(snippets, config, path):
    """A row a video: frame, DIS medium at finest scale 0, TVL1Flow; colours of a row are of one scale."""
    dis = make_estimator(config.replace(flow="dis", dis_preset="medium", dis_finest_scale=0).data)
    rows = []
    for frames in snippets:
        fields = [dis(*frames[:2]), TVL1Flow()(frames[None, :2])[0].numpy()]
        strongest = float(np.percentile(np.hypot(*np.moveaxis(np.stack(fields), -1, 0)), 99))
        tiles = [np.repeat(frames[0][..., None], 3, axis=-1), *[flow_to_colour(f, strongest) for f in fields]]
        rows.append(
            np.concatenate(
                [cv2.resize(tile, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) for tile in tiles], axis=1
            )
        )
    with whole_file(path) as beside, beside.open("wb") as file:
        file.write(cv2.imencode(".png", np.concatenate(rows)[..., ::-1])[1].tobytes())
