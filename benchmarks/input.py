"""Records to batches: clips per second of the training input, by number of segments and image size."""

from __future__ import annotations

import time

import numpy as np
from absl import flags

from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import training_batches
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.records.manifest import Manifest

SEGMENTS, SIZES = (3, 8), (112, 224)


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_integer("input_clips", 1024, "input: clips per timing, at least.", lower_bound=16)
    flags.DEFINE_integer("input_rounds", 3, "input: timings of each case, in turn.", lower_bound=1)


def run(config: Config, options) -> dict:
    """Reads the training clips of --record_dir in the batches that train.py would, for every K and size.

    Returns:
        `flow_length`, `batch`, `cases` {name: clips per second of each round}, and `cpu` {name: ms of CPU time per
        clip of each round}, which other programs disturb less.

    Raises:
        UserError: no records.
    """
    classes, clips = Manifest.read(config.data.record_dir).select(config.data, "train")
    cases = {
        f"K = {segments}, {size} px": config.replace(num_segments=segments, image_size=size)
        for segments in SEGMENTS
        for size in SIZES
    }
    plans = {name: _plan(clips, classes, case, options.input_clips) for name, case in cases.items()}
    rates, cpu = ({name: [] for name in cases} for _ in range(2))
    for _ in range(options.input_rounds):
        for name, case in cases.items():
            begun, used, count = time.perf_counter(), time.process_time(), 0
            for _, labels in training_batches(plans[name], case.model):
                count += len(labels)
            rates[name].append(count / (time.perf_counter() - begun))
            cpu[name].append(1e3 * (time.process_time() - used) / count)
    return {"flow_length": config.model.flow_length, "batch": config.data.batch_size, "cases": rates, "cpu": cpu}


def table(report: dict) -> str:
    """The report as Markdown."""
    lines = [
        f"L = {report['flow_length']}, batches of {report['batch']}; medians of the rounds (least to most).",
        "",
        "| input | clips/s | CPU time per clip, ms |",
        "|---|---|---|",
    ]
    for name, rates in report["cases"].items():
        used = report["cpu"][name]
        clips = f"{np.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
        lines.append(f"| {name} | {clips} | {np.median(used):.1f} ({min(used):.1f} to {max(used):.1f}) |")
    return "\n".join(lines)


def _plan(clips, classes, config, num_clips):
    """Epochs, one after the other, until there are `num_clips` clips."""
    plans, count = [], 0
    while count < num_clips:
        plans.append(training_plan(clips, classes, config.data, config.model, config.train.seed, len(plans)))
        count += plans[-1]["label"].size
    return {name: np.concatenate([each[name] for each in plans]) for name in plans[0]}
