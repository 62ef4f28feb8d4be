"""Optical flow by setting: time, bytes, and how well a linear classifier tells actions by it. The default's reason."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import time

import cv2
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.probe import make_features, probe
from ccsn_tf.config import Config, ModelConfig
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.datasets import Listing, read_listing
from ccsn_tf.data.flow import grey_of, make_estimator
from ccsn_tf.data.records.manifest import stored_settings
from ccsn_tf.data.transform import network_input
from ccsn_tf.data.video import count_frames, iter_frames
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import read_snippets
from ccsn_tf.files import whole_file
from ccsn_tf.progress import Progress

FIRST_NINE = (
    "ApplyEyeMakeup",
    "ApplyLipstick",
    "Archery",
    "BabyCrawling",
    "BalanceBeam",
    "BandMarching",
    "BaseballPitch",
    "Basketball",
    "BasketballDunk",
)
SETTINGS = {
    "DIS ultrafast, as preset": {"dis_preset": "ultrafast", "dis_finest_scale": 2},
    "DIS fast, as preset": {"dis_preset": "fast", "dis_finest_scale": 2},
    "DIS medium, as preset": {"dis_preset": "medium", "dis_finest_scale": 1},
    "DIS fast, finest scale 1": {"dis_preset": "fast", "dis_finest_scale": 1},
    "DIS ultrafast, finest scale 0": {"dis_preset": "ultrafast", "dis_finest_scale": 0},
    "DIS fast, finest scale 0": {"dis_preset": "fast", "dis_finest_scale": 0},
    "DIS medium, finest scale 0": {"dis_preset": "medium", "dis_finest_scale": 0},
    "Farneback": {"flow": "farneback"},
    "TV-L1 in the graph": {"flow": "tvl1_graph"},
    "TV-L1": {"flow": "tvl1"},
}
_HOURS = ("TV-L1",)  # only when asked for by name
LARGE = (340, 256)  # width and height of UCF101's frames in the usual preparation
_PAIRS, _ROUNDS = 18, 5
_CHUNK = 32  # clips whose fields are in memory at a time


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_integer("probe_snippets", 4, "flow: snippets a clip that the classifier sees.", lower_bound=1)
    flags.DEFINE_integer("probe_groups", 0, "flow: clips of so many groups only, for a trial; 0: all.")
    flags.DEFINE_multi_string(
        "probe_setting",
        [],
        f"flow: one of {'; '.join(SETTINGS)}. May be repeated; default: all but {', '.join(_HOURS)}, for hours.",
    )


def run(config: Config, options) -> dict:
    """Measures every setting of `SETTINGS` on the clips of --video_dir, with UCF101's lists in --split_dir.

    Features are kept beside --output: the same command goes on where it was stopped.

    Returns:
        `protocol` (text), `flow_side`, `num_clips`, and `settings` {name: {`changes`; CPU time of a pair, in ms: `own`
        at the videos' size, `large` at 340x256 and `working` there with --flow_side; `bytes` of a stored field;
        `accuracy` {split: fraction}}}.

    Raises:
        UserError: no videos, no lists, an unknown setting, or a split without clips on one side.
    """
    names = options.probe_setting or [name for name in SETTINGS if name not in _HOURS]
    unknown = [name for name in names if name not in SETTINGS]
    if unknown:
        raise UserError(f"--probe_setting names {', '.join(unknown)}: choose among {'; '.join(SETTINGS)}.")
    data = dataclasses.replace(config.data, classes=config.data.classes or FIRST_NINE)
    listing = _of_groups(read_listing(data), options.probe_groups)
    _sides(listing)  # which fails early, if at all
    model = ModelConfig(backbone="efficientnet_lite0", pretrained="imagenet", connection="none")
    configs = {name: config.replace(**dataclasses.asdict(model), **SETTINGS[name]) for name in names}
    cv2.setNumThreads(1)
    rows = {name: {"changes": SETTINGS[name], **times} for name, times in _times(configs, listing).items()}
    network = make_features(model)
    for name in names:
        features, rows[name]["bytes"] = _features(name, configs[name], listing, network, options)
        rows[name]["accuracy"] = _accuracy(features, listing)
    size = f"{model.image_size} px, centre crop and its mirror image"
    return {
        "protocol": f"{options.probe_snippets} snippets of {model.flow_length} fields a clip, {size}",
        "flow_side": data.flow_side,
        "num_clips": len(listing.clips),
        "settings": rows,
    }


def table(report: dict) -> str:
    """The report as Markdown."""
    large = "x".join(map(str, LARGE))
    columns = ["flow", "ms a pair", f"at {large}", f"there with --flow_side={report['flow_side']}", "bytes a field"]
    columns += ["accuracy %, mean ± spread", "by split"]
    lines = [
        f"{report['num_clips']} clips, {report['protocol']}; CPU time of one thread.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for name, row in report["settings"].items():
        values = 100 * np.array(list(row["accuracy"].values()))
        times = " | ".join(f"{row[size]:.2f}" for size in ("own", "large", "working"))
        splits = " / ".join(f"{value:.1f}" for value in values)
        accuracy = f"{values.mean():.1f} ± {values.std():.1f} | {splits}"
        lines.append(f"| {name} | {times} | {row['bytes']:.0f} | {accuracy} |")
    return "\n".join(lines)


def _of_groups(listing: Listing, count: int) -> Listing:
    groups = sorted({clip.group for clip in listing.clips})
    kept = set(groups[:: -(-len(groups) // count)]) if count else set(groups)
    return dataclasses.replace(listing, clips=tuple(clip for clip in listing.clips if clip.group in kept))


def _times(configs, listing):
    """{name: {"own", "large", "working"}}: the best of some rounds in which the settings take turns, on one thread."""
    some = listing.clips[:: max(1, len(listing.clips) // _PAIRS)][:_PAIRS]
    pairs = [_middle_pair(clip.path, next(iter(configs.values())).data.short_side) for clip in some]
    scaled = [[cv2.resize(grey, LARGE) for grey in pair] for pair in pairs]
    best = {name: {"own": np.inf, "large": np.inf, "working": np.inf} for name in configs}
    for _ in range(_ROUNDS):
        for name, config in configs.items():
            working, full = make_estimator(config.data), make_estimator(config.replace(flow_side=0).data)
            for size, estimate, given in (("own", full, pairs), ("large", full, scaled), ("working", working, scaled)):
                estimate(*given[0])  # the first call allocates
                start = time.process_time()
                for pair in given:
                    estimate(*pair)
                best[name][size] = min(best[name][size], 1e3 * (time.process_time() - start) / len(given))
    return best


def _middle_pair(path, short_side):
    middle = count_frames(path) // 2
    return [grey_of(frame) for frame in iter_frames(path, short_side, [middle - 1, middle])]


def _features(name, config, listing, network, options):
    """Features of every clip, float32 (N, 2, D), as they are and mirrored, and the bytes of a stored field."""
    made_of = {**stored_settings(config.data), "snippets": options.probe_snippets}
    key = json.dumps([made_of, [clip.name for clip in listing.clips]])
    path = pathlib.Path(options.output).parent / f"flow-{re.sub('[^a-z0-9]+', '-', name.lower())}.npz"
    if options.output and path.is_file():
        with np.load(path) as kept:
            if str(kept["key"]) == key:
                return kept["features"], float(kept["bytes"])
    progress, features, num_bytes = Progress(name, "clips"), [], []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # the estimators leave Python's lock
        for start in range(0, len(listing.clips), _CHUNK):
            paths = [clip.path for clip in listing.clips[start : start + _CHUNK]]
            for views, size in pool.map(lambda path: _views(path, config, options.probe_snippets), paths):
                features.append(network(views).numpy().reshape(2, options.probe_snippets, -1).mean(axis=1))
                num_bytes.append(size)
            progress(len(features), len(listing.clips))
    features, num_bytes = np.stack(features), float(np.mean(num_bytes))
    if options.output:
        with whole_file(path) as beside, beside.open("wb") as file:
            np.savez(file, key=key, features=features, bytes=num_bytes)
    return features, num_bytes


def _views(path, config, num_snippets):
    """The network's flow input for a clip's snippets, then for their mirror images, and the mean bytes of a field."""
    frames, fields = read_snippets(path, config, num_snippets)
    quality, num_bytes = [cv2.IMWRITE_JPEG_QUALITY, config.data.jpeg_quality], []
    for field in fields.reshape(-1, *fields.shape[2:]):
        jpeg = cv2.imencode(".jpg", np.concatenate(field), quality)[1]
        field[:] = np.split(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), 2)
        num_bytes.append(len(jpeg))
    ((box, _),) = view_boxes(*frames.shape[1:3], 1)
    views = [network_input(frames, fields, box, mirrored, config.model.image_size)[1] for mirrored in (False, True)]
    return tf.concat(views, axis=0), np.mean(num_bytes)


def _sides(listing):
    """{split: (training, test)}, each bool (N,) over the clips."""
    names = np.array([clip.name for clip in listing.clips])
    sides = {
        number: [np.isin(names, side) for side in (split.train, split.test)] for number, split in listing.splits.items()
    }
    for number, (train, test) in sides.items():
        if not (train.any() and test.any()):
            raise UserError(f"Split {number} has no clip on one side: raise --probe_groups, or complete --video_dir.")
    return sides


def _accuracy(features, listing):
    """{split: share of its test clips that the probe names right}."""
    labels = np.array([listing.classes.index(clip.label) for clip in listing.clips])
    groups = np.array([clip.group for clip in listing.clips])
    return {number: probe(features, labels, groups, *sides) for number, sides in _sides(listing).items()}
