"""What an answer costs: each way to run the model of --workdir, in time and memory; a video, from file to answer."""

import contextlib
import itertools
import json
import pathlib
import sys
import tempfile

import numpy as np
from absl import flags

from benchmarks import video_answer
from benchmarks.side import Side
from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import load_model
from ccsn_tf.models.flow.loops import xla_works
from ccsn_tf.progress import Progress
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import weights_hash
from ccsn_tf.serving.saved_model.export import export_saved_model

BATCHES = (1, 2, 4, 8, 16)
REFERENCE = "Keras, model.predict"
ENGINES = {"ONNX Runtime": "onnx", "OpenVINO": "openvino"}  # for the same files
_ROUNDS_OF_OTHERS = 4  # batches of more than one clip are timed in every fourth round
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_integer("inference_rounds", 16, "inference: turns of each side at batch 1.", lower_bound=1)
    flags.DEFINE_float("inference_turn", 0.3, "inference: length of a turn, in seconds.", lower_bound=0.0)
    flags.DEFINE_multi_string("inference_onnx", [], "inference: another ONNX file of the model; may be repeated.")
    flags.DEFINE_multi_string("inference_way", [], "inference: only ways whose names begin so; may be repeated.")
    flags.DEFINE_multi_integer("inference_batch", BATCHES, "inference: clips at once; may be repeated.", lower_bound=1)
    flags.DEFINE_bool("inference_cpu_time", False, "inference: CPU time, where programs share what cores there are.")
    flags.DEFINE_string("video", "", "inference: a video to answer, too, by --test_segments and by fewer segments.")
    flags.DEFINE_integer("tvl1_pairs", 8, "inference: pairs of it that OpenCV's TV-L1 is measured on.", lower_bound=1)


def run(config: Config, options) -> dict:
    """Runs the model of --workdir in every way there is, each in a fresh process; they take turns.

    Clips have the segments of training. The first call of each turn is not counted.

    Returns:
        `clips` (where they came from), `image_size`, `segments`, `backbone`, `cpu_time` (whether times are of the CPU),
        `backends` {name: {"not_measured": why} or {`calls` and `milliseconds` {"p50", "p95", "p99"} at batch 1,
        `clips_per_second` {batch: by the median}, `megabytes` {"1", "16": the most that the process held up to that
        batch}, `start` (seconds from the first import to the first answer), `difference` of a score to the first's}},
        `video` (of `video_answer.run`, or None).

    Raises:
        UserError: no finished run, a file of --inference_onnx of another model, or no way of --inference_way.
    """
    workdir = config.train.workdir
    run_config = Config.of_run(workdir)
    run_config = run_config.replace(workdir=workdir, test_segments=config.eval.test_segments)
    segments = run_config.model.num_segments
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        specs, classes = _specs(run_config, folder, options)
        with clips_to_try(run_config, classes, max(options.inference_batch), must_be_real=False) as clips:
            np.savez(f"{folder}/clips.npz", **clips.arrays(segments))
            source = clips.source
        sides = {}
        for name, spec in specs.items():
            told = {"clips": f"{folder}/clips.npz", "cpu_time": options.inference_cpu_time}
            arguments = json.dumps({**spec, **told})
            command = [sys.executable, "-m", "benchmarks.inference_worker", arguments]
            sides[name] = stack.enter_context(Side(name, command))
        backends = _measure(sides, options)
    return {
        "clips": source,
        "image_size": run_config.model.image_size,
        "segments": segments,
        "backbone": run_config.model.backbone,
        "cpu_time": options.inference_cpu_time,
        "backends": backends,
        "video": video_answer.run(run_config, options) if options.video else None,
    }


def table(report: dict) -> str:
    """The report as Markdown."""
    rows = {name: row for name, row in report["backends"].items() if "not_measured" not in row}
    first = next(iter(rows.values()))
    batches = list(first["clips_per_second"])
    columns = ["run by", *(f"{name}, ms" for name in _QUANTILES), "x the first"]
    columns += [f"clips/s at {batch}" for batch in batches] + ["MB", "start, s", "difference"]
    clock = "Times are of the CPU." if report["cpu_time"] else ""
    lines = [
        f"{report['backbone']} at {report['image_size']} px, {report['segments']} segments per clip "
        f"({report['clips']}). The smallest batch, then clips per second by batch size (median). MB: the most that a "
        f"fresh process held, after one clip and in all. Difference: the largest of a score to the first's. {clock}",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    reference = first["milliseconds"]["p50"]
    for name, row in rows.items():
        cells = [name, *(f"{row['milliseconds'][quantile]:.1f}" for quantile in _QUANTILES)]
        cells += [f"{reference / row['milliseconds']['p50']:.2f}"]
        cells += [f"{rate:.1f}" for rate in row["clips_per_second"].values()]
        cells += [" → ".join(f"{held:.0f}" for held in row["megabytes"].values())]
        cells += [f"{row['start']:.1f}", f"{row['difference']:.0e}"]
        lines.append(f"| {' | '.join(cells)} |")
    for name, row in report["backends"].items():
        if "not_measured" in row:
            lines += ["", f"{name}: not measured: {row['not_measured']}"]
    if report["video"]:
        lines += ["", video_answer.table(report["video"])]
    return "\n".join(lines)


def _specs(config, folder, options):
    """{name: what its process is told}, and the model's classes."""
    from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx
    from ccsn_tf.serving.onnx.session import read_onnx

    keras = str(pathlib.Path(config.train.workdir, "model.keras"))
    model = load_model(keras)
    others = {path: read_onnx(path)[2] for path in options.inference_onnx}
    for path, metadata in others.items():
        if metadata["weights_sha256"] != weights_hash(model):
            raise UserError(f"--inference_onnx={path} is of another model than --workdir: export it again.")
    wanted, saved = tuple(options.inference_way or [""]), {"SavedModel": False}
    if config.model.flow_source == "graph" and xla_works():
        saved["SavedModel, XLA"] = True
    for name in [name for name in saved if name.startswith(wanted)]:
        export = export_saved_model(config, f"{folder}/{name}", check=False, warmup=False, xla=saved[name])
        saved[name] = str(export.path)
    files = {"": "", **{_in_words(metadata["precision"]): path for path, metadata in others.items()}}
    if not files[""] and any(name.startswith(wanted) for name in ENGINES):
        files[""] = str(export_onnx(config, OnnxSettings(f"{folder}/model.onnx")).path)
    of_engines = itertools.product(ENGINES.items(), files.items())
    specs = {
        REFERENCE: {"load": "predict", "path": keras},
        "Keras, model(...)": {"load": "call", "path": keras},
        "Keras, tf.function": {"load": "function", "path": keras},
        **{name: {"load": "saved_model", "path": path} for name, path in saved.items()},
        **{name + words: {"load": load, "path": path} for (name, load), (words, path) in of_engines},
    }
    chosen = {name: spec for name, spec in specs.items() if name.startswith(wanted)}
    if not chosen:
        raise UserError(f"--inference_way={wanted[0]} begins none of {', '.join(specs)}: name one.")
    return chosen, tuple(model.classes)


def _in_words(precision):
    return "" if precision == "fp32" else f", {precision}"


def _measure(sides, options):
    batches = sorted(options.inference_batch)
    there = {name: side for name, side in sides.items() if "unavailable" not in side.first}
    memory = {name: {"1": side.ask(memory=True)["memory"]} for name, side in there.items()}
    scores = {name: np.array(side.ask(scores=max(batches))["scores"]) for name, side in there.items()}
    reference = next(iter(scores.values()))
    times = {name: {batch: [] for batch in batches} for name in there}
    progress = Progress("inference", "rounds")
    for number in range(options.inference_rounds):
        for batch in batches if number % _ROUNDS_OF_OTHERS == 0 else batches[:1]:
            for name, side in there.items():
                times[name][batch] += side.ask(batch=batch, seconds=options.inference_turn)["times"]
        progress(number + 1, options.inference_rounds)
    backends = {name: {"not_measured": side.first.get("unavailable")} for name, side in sides.items()}
    for name, side in there.items():
        memory[name][str(max(batches))] = side.ask(memory=True)["memory"]
        single = 1000 * np.array(times[name][batches[0]])
        backends[name] = {
            "calls": len(single),
            "milliseconds": {word: float(np.quantile(single, share)) for word, share in _QUANTILES.items()},
            "clips_per_second": {str(batch): batch / float(np.median(times[name][batch])) for batch in batches},
            "megabytes": {batch: held / 1e6 for batch, held in memory[name].items()},
            "start": side.first["start"],
            "difference": float(np.abs(scores[name] - reference).max()),
        }
    return backends
