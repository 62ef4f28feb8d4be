"""Preparation and input at this machine's limit: videos to records, records to batches, and the records' layout."""

from __future__ import annotations

import pathlib
import tempfile

import numpy as np
from absl import flags

from benchmarks.data_input import measure_input
from benchmarks.data_layouts import measure_layouts
from benchmarks.data_prepare import LARGE, STAGES, prepare_both_sizes, records_of
from ccsn_tf.config import Config
from ccsn_tf.data.prepare.worker_pool import num_cores


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_string(
        "torch_python", "", "data: a Python that has torch, numpy and OpenCV, to compare the input with; empty: not."
    )
    flags.DEFINE_integer("data_copies", 4, "data: times that each video is prepared.", lower_bound=1)
    flags.DEFINE_integer("data_clips", 1024, "data: clips a timing of the input, at least.", lower_bound=16)
    flags.DEFINE_integer("data_rounds", 3, "data: timings of each side, in turn.", lower_bound=1)


def run(config: Config, options) -> dict:
    """Prepares the videos of --video_dir into a temporary folder, and reads batches from these records.

    Returns:
        `cores`, `rounds`, `prepare` (of `prepare_both_sizes`), `input` (of `measure_input`) and `layouts` (of
        `measure_layouts`), these two on the records of 340x256.

    Raises:
        UserError: there are no videos, or --torch_python is of no use.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepared = prepare_both_sizes(config.data, options.data_copies, min(2, options.data_rounds), folder)
        data = records_of(config.data, "{}x{}".format(*LARGE), folder)
        config = config.replace(dataset=data.dataset, record_dir=data.record_dir, **_flow(data))
        read = measure_input(config, options.torch_python, options.data_clips, options.data_rounds, folder)
        layouts = measure_layouts(config, min(options.data_clips, 256), options.data_rounds)
    return {
        "cores": num_cores(),
        "rounds": options.data_rounds,
        "flow_side": config.data.flow_side,
        "batch": config.data.batch_size,
        "flow_length": config.model.flow_length,
        "prepare": prepared,
        "input": read,
        "layouts": layouts,
    }


def _flow(data):
    return {"flow": data.flow, "dis_preset": data.dis_preset, "dis_finest_scale": data.dis_finest_scale}


def table(report: dict) -> str:
    """The report as Markdown."""
    return "\n".join([*_prepare_table(report), "", *_input_table(report), "", *_layout_table(report)])


def _prepare_table(report):
    stages = " | ".join(STAGES)
    lines = [
        f"Preparation, both modalities, every frame, --flow_side={report['flow_side']}: the whole on "
        f"{report['cores']} cores; stages in ms of CPU time a frame, one thread.",
        "",
        f"| frames | flow | frames/s | cores busy | kB a frame | {stages} | frames/s of one thread |",
        "|---" * (6 + len(STAGES)) + "|",
    ]
    for size, rows in report["prepare"].items():
        for flow, row in rows.items():
            whole, times = row["whole"], row["stages"]
            cells = [f"{whole['frames_per_second']:.0f}", f"{100 * whole['busy']:.0f} %"]
            cells += [f"{whole['bytes_per_frame'] / 1e3:.1f}", *(f"{times[stage]:.2f}" for stage in STAGES)]
            lines.append(f"| {size} | {flow} | {' | '.join(cells)} | {1e3 / sum(times.values()):.0f} |")
    return lines


def _input_table(report):
    cases, versions = report["input"]["cases"], report["input"]["versions"]
    other = f"PyTorch {versions['torch']}" if versions else "PyTorch: skipped, since --torch_python is not given"
    lines = [
        f"Input, L = {report['flow_length']}, batches of {report['batch']}: clips/s, median of {report['rounds']} "
        f"rounds in turn (least to most), beside a DataLoader of two workers ({other}); the ratio is the median of the "
        "rounds'. Stages in ms of CPU time a clip, one thread.",
        "",
        "| input | ours | DataLoader | ratio | read | decode | crop and scale | batch |",
        "|---" * 8 + "|",
    ]
    for name, row in cases.items():
        ours, torch = np.array(row["ours"]), np.array(row["torch"])
        ratio = f"{np.median(ours / torch):.2f}" if versions else "skipped"
        times = " | ".join(f"{value:.2f}" for value in row["stages"].values())
        lines.append(f"| {name} | {_spread(ours)} | {_spread(torch) if versions else 'skipped'} | {ratio} | {times} |")
    return lines


def _spread(values):
    return f"{np.median(values):.0f} ({values.min():.0f} to {values.max():.0f})"


def _layout_table(report):
    layouts = report["layouts"]
    rates = {"table": "whole clips, JPEGs by the table", "whole": "whole clips, record read whole"}
    lines = [
        "Layouts: read and decode on one thread; what a frame of video takes on disk.",
        "",
        "| records of | kB read a clip | clips/s | kB a frame |",
        "|---|---|---|---|",
    ]
    sizes = {name: f"{size / 1e3:.1f}" for name, size in layouts["bytes_per_frame"].items()}
    for name, text in rates.items():
        row = layouts[name]
        lines.append(f"| {text} | {row['bytes'] / 1e3:.0f} | {row['clips_per_second']:.0f} | {sizes['whole clips']} |")
    others = ("every snippet", "snippets side by side", "frames alone")
    lines += [f"| {name} | - | - | {sizes[name]} |" for name in others]
    lines += ["", "| a flow field | bytes | ms to decode |", "|---|---|---|"]
    for name, row in layouts["field"].items():
        lines.append(f"| {name} | {row['bytes']:.0f} | {row['milliseconds']:.3f} |")
    return lines
