"""Optical flow by setting: error on frames moved by known amounts, calm on real frames, and time per pair."""

import functools
import time

import cv2
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.known_motion import known_motions
from ccsn_tf.config import Config
from ccsn_tf.data.flow import grey_of, make_estimator
from ccsn_tf.data.frames import count_frames, iter_frames
from ccsn_tf.errors import UserError
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.flow.loops import LOOPED, iterations

LAYERS = {
    "TVL1Flow": {},
    "TVL1Flow, 16 iterations at the finest level": {"iterations": (16, 16, 20)},
    "TVL1Flow, 64 iterations at the finest level": {"iterations": (64, 16, 20)},
    "TVL1Flow, dual fields from zero at each level": {"carry": False},
    "TVL1Flow, two medians": {"median": 2},
    "TVL1Flow, images as they are": {"smooth": False},
}
IN_OPERATIONS = "TVL1Flow in plain operations, as in a SavedModel"
OPENCV = {
    "OpenCV's TV-L1": {"flow": "tvl1"},
    "DIS medium, finest scale 0": {"dis_preset": "medium", "dis_finest_scale": 0},
    "DIS fast, finest scale 0": {"dis_preset": "fast", "dis_finest_scale": 0},
    "DIS fast, finest scale 1": {"dis_preset": "fast", "dis_finest_scale": 1},
    "Farneback": {"flow": "farneback"},
}
CONVERGED = "OpenCV's TV-L1"  # runs until little changes, so the others are compared with it
REST = 0.08  # px, half a step of records (--flow_bound=20): stored as no motion
SNIPPETS, LENGTH = 3, 5  # of a batch


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_multi_string("motion_video", [], "flow: a video whose frames are moved and timed; repeat it.")
    flags.DEFINE_integer("motion_rounds", 5, "flow: timings of each side, in turn; the best counts.", lower_bound=1)
    flags.DEFINE_float(
        "motion_at", 0.5, "flow: where in a video the moved frame is, 0 to 1.", lower_bound=0, upper_bound=1
    )


def run(config: Config, options) -> dict:
    """Measures every estimator on frames of the videos, at --image_size.

    Returns:
        `image_size`; `videos`; `errors` {estimator: {motion: mean endpoint error, px}}; of the videos' own motion,
        `rest` {estimator: share of components below 0.08 px} and `distance` {estimator: mean absolute difference of a
        component to that of OpenCV's TV-L1, px}; `milliseconds` {estimator: wall time per pair, the best round}.

    Raises:
        UserError: fewer than two videos, or one that cannot be read.
    """
    if len(options.motion_video) < 2:
        raise UserError("--motion_video is given less than twice: name videos, of which two at a time are combined.")
    size, estimators = config.model.image_size, _estimators(config)
    snippets = [_snippet(path, size, options.motion_at) for path in options.motion_video]
    motions = known_motions([_snippet(path, 0, options.motion_at)[0] for path in options.motion_video], size)
    batches = [
        np.stack([snippets[(begin + number) % len(snippets)] for number in range(SNIPPETS)])
        for begin in range(0, len(snippets), SNIPPETS)
    ]
    fields = {
        name: np.concatenate([np.asarray(estimate(batch)) for batch in batches])[: len(snippets)]
        for name, estimate in estimators.items()
    }
    return {
        "image_size": size,
        "videos": len(snippets),
        "errors": {name: _errors(estimate, motions) for name, estimate in estimators.items()},
        "rest": {name: float(np.mean(np.abs(field) < REST)) for name, field in fields.items()},
        "distance": {name: float(np.mean(np.abs(field - fields[CONVERGED]))) for name, field in fields.items()},
        "milliseconds": _times(estimators, batches[0], options.motion_rounds),
    }


def table(report: dict) -> str:
    """The report as Markdown."""
    motions, times = list(next(iter(report["errors"].values()))), report["milliseconds"]
    lines = [
        f"Frames of {report['videos']} videos at {report['image_size']} px. Mean endpoint error in px of frames that "
        f"are moved; of the videos' own motion, the share of components below {REST} px; wall time per pair, in "
        f"batches of {SNIPPETS} snippets of {LENGTH}, the best round.",
        "",
        f"| estimator | {' | '.join(motions)} | mean | at rest, % | from OpenCV's TV-L1, px | ms per pair |",
        "|---" * (len(motions) + 5) + "|",
    ]
    for name, row in report["errors"].items():
        cells = [f"{row[motion]:.2f}" for motion in motions] + [f"{np.mean(list(row.values())):.3f}"]
        cells += [f"{100 * report['rest'][name]:.1f}", f"{report['distance'][name]:.3f}", f"{times[name]:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _estimators(config):
    """{name: function of grey snippets, uint8 (N, T, S, S), to fields (N, S, S, 2 (T - 1))}."""
    found = {name: tf.function(TVL1Flow(**settings)) for name, settings in LAYERS.items()}
    found[IN_OPERATIONS] = functools.partial(_without_xla, tf.function(TVL1Flow(**next(iter(LAYERS.values())))))
    for name, changes in OPENCV.items():
        estimator = make_estimator(config.replace(**{"flow": "dis", **changes}).data)
        found[name] = functools.partial(_one_by_one, estimator)
    return found


def _without_xla(function, snippets):
    with iterations(LOOPED):
        return function(snippets)


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
