"""What an answer costs: each way to run the model of --workdir, in time and memory; a video, from file to answer."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from absl import flags

from benchmarks import video_answer
from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import load_model
from ccsn_tf.models.flow.iterating import xla_works
from ccsn_tf.progress import Progress
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import weights_hash
from ccsn_tf.serving.packages import optional
from ccsn_tf.serving.saved_model.export import export_saved_model

BATCHES = (1, 2, 4, 8, 16)
REFERENCE = "Keras, model.predict"
_ROUNDS_OF_OTHERS = 4  # the share of the rounds in which batches of more than one clip are timed, too: a quarter
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

# What ONNX Runtime can be told, where it matters: --inference_options measures each.
_RUNTIME_OPTIONS = {
    "1 thread": {"threads": 1},
    "independent nodes at once": {"streams": 2, "threads": 1},
    "no layout of its own": {"optimize": "extended"},
    "threads that wait without spinning": {"entries": {"session.intra_op.allow_spinning": "0"}},
}


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_integer("inference_rounds", 16, "inference: turns of each side at batch 1.", lower_bound=1)
    flags.DEFINE_float("inference_turn", 0.3, "inference: length of a turn, in seconds.", lower_bound=0.0)
    flags.DEFINE_multi_string("inference_onnx", [], "inference: another ONNX file of the model; may be repeated.")
    flags.DEFINE_bool("inference_options", False, "inference: measure ONNX Runtime's options, too.")
    flags.DEFINE_string("video", "", "inference: a video to answer, too, by --test_segments and by fewer segments.")
    flags.DEFINE_integer("video_frames", 125, "inference: so many frames of it, from its first.", lower_bound=1)
    flags.DEFINE_integer("tvl1_pairs", 8, "inference: pairs of it that TV-L1 is measured on.", lower_bound=1)


def run(config: Config, options) -> dict:
    """Runs the model of --workdir in every way there is, each in a fresh process; they take turns.

    Clips have the segments of training. Calls of a turn follow one another; the first of each is not counted.

    Returns:
        `clips` (where they came from), `image_size`, `segments`, `backbone`, `backends` {name: {"not_measured": why} or
        {`calls` and `milliseconds` {"p50", "p95", "p99"} at batch 1, `clips_a_second` {batch: by the median},
        `megabytes` of the process at most: {"1": up to batch 1, "<largest>": to the end}, `start` (seconds from the
        first import to the first answer, one clip), `difference` of a score to the reference's}}, `video` (see
        `video_answer.run`, None: not asked for).

    Raises:
        UserError: no finished run, or a file of --inference_onnx of another model.
    """
    workdir = config.train.workdir
    run_config = Config.from_json(pathlib.Path(workdir, "config.json"))
    run_config = run_config.replace(workdir=workdir, test_segments=config.eval.test_segments)
    segments = run_config.model.num_segments
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        specs, classes = _specs(run_config, folder, options)
        with clips_to_try(run_config, classes, max(BATCHES), must_be_real=False) as clips:
            np.savez(f"{folder}/clips.npz", **clips.arrays(segments))
            source = clips.source
        common = {"clips": f"{folder}/clips.npz", "segments": segments, "largest_batch": max(BATCHES)}
        sides = {name: stack.enter_context(_Side(name, {**spec, **common})) for name, spec in specs.items()}
        backends = _measure(sides, options)
    return {
        "clips": source,
        "image_size": run_config.model.image_size,
        "segments": segments,
        "backbone": run_config.model.backbone,
        "backends": backends,
        "video": video_answer.run(run_config, options) if options.video else None,
    }


def table(report: dict) -> str:
    """The report as Markdown."""
    lines = [
        f"{report['backbone']} at {report['image_size']} px, {report['segments']} segments a clip ({report['clips']}).",
        "",
    ]
    rows = {name: row for name, row in report["backends"].items() if "not_measured" not in row}
    batches = list(rows[REFERENCE]["clips_a_second"])
    columns = ["run by", *(f"{name}, ms" for name in _QUANTILES), "x predict"]
    columns += [f"clips/s at {batch}" for batch in batches] + [f"x predict at {batches[-1]}", "MB", "difference"]
    lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    reference = rows[REFERENCE]
    for name, row in rows.items():
        times = [f"{row['milliseconds'][quantile]:.1f}" for quantile in _QUANTILES]
        rates = [f"{rate:.1f}" for rate in row["clips_a_second"].values()]
        ratios = [row["clips_a_second"][at] / reference["clips_a_second"][at] for at in (batches[0], batches[-1])]
        memory = " → ".join(f"{megabytes:.0f}" for megabytes in row["megabytes"].values())
        cells = [name, *times, f"{ratios[0]:.2f}", *rates, f"{ratios[1]:.2f}", memory, f"{row['difference']:.0e}"]
        lines.append(f"| {' | '.join(cells)} |")
    calls = [row["calls"] for row in rows.values()]
    lines += [
        "",
        f"A clip at a time (p50, p95, p99 of {min(calls)} to {max(calls)} calls a row), then clips a second by batch "
        "size, by the median. MB: the most that a fresh process held, after a clip and in all. Difference: the largest "
        "of a score to `predict`'s.",
        "",
        "Start, from the first import to the first answer, seconds: "
        + ", ".join(f"{name} {row['start']:.1f}" for name, row in rows.items())
        + ".",
    ]
    for name, row in report["backends"].items():
        if "not_measured" in row:
            lines += ["", f"{name}: not measured: {row['not_measured']}"]
    if report["video"]:
        lines += ["", video_answer.table(report["video"])]
    return "\n".join(lines)


def _specs(config, folder, options):
    """{name: what its process is told}, and the model's classes."""
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        optional(package, "onnx")
    from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx
    from ccsn_tf.serving.onnx.file import read_onnx

    keras = str(pathlib.Path(config.train.workdir, "model.keras"))
    model = load_model(keras)
    others = {path: read_onnx(path)[2] for path in options.inference_onnx}
    for path, metadata in others.items():
        if metadata["weights_sha256"] != weights_hash(model):
            raise UserError(f"--inference_onnx={path} is of another model than --workdir: export it again.")
    by_xla = {"SavedModel": False}
    if config.model.flow_source == "graph" and xla_works():
        by_xla["SavedModel, XLA"] = True
    exported = {
        name: export_saved_model(config, f"{folder}/{name}", check=False, warmup=False, xla=xla)
        for name, xla in by_xla.items()
    }
    path = f"{folder}/model.onnx"
    export_onnx(config, OnnxSettings(path))
    specs = {
        REFERENCE: {"load": "predict", "path": keras},
        "Keras, model(...)": {"load": "call", "path": keras},
        "Keras, tf.function": {"load": "function", "path": keras},
        **{name: {"load": "saved_model", "path": str(export.path)} for name, export in exported.items()},
        "ONNX Runtime": {"load": "onnx", "path": path},
        "OpenVINO": {"load": "openvino", "path": path},
        "TensorRT": {"load": "tensorrt", "path": path},
    }
    for other, metadata in others.items():
        for name in ("ONNX Runtime", "OpenVINO"):
            specs[f"{name}, {metadata['precision']}"] = {**specs[name], "path": other}
    if options.inference_options:
        for words, settings in _RUNTIME_OPTIONS.items():
            specs[f"ONNX Runtime, {words}"] = {**specs["ONNX Runtime"], **settings}
    return specs, tuple(model.classes)


class _Side:
    """A process that runs the model in one way (see inference_worker); a context manager.

    `unavailable` says why it cannot; "": it can. `start`: see `run`.
    """

    def __init__(self, name, spec):
        self._name = name
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed on exit)
        command = [sys.executable, "-m", "benchmarks.inference_worker", json.dumps(spec)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log, text=True)
        self.unavailable, self.start = "", None

    def __enter__(self):
        try:
            answer = self._answer()
            self.unavailable, self.start = answer.get("unavailable", ""), answer.get("start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def ask(self, **question):
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            reason = (self._log.read().strip().splitlines() or ["it gives no reason"])[-1]
            raise UserError(f"{self._name} failed: {reason}")
        return json.loads(line)


def _measure(sides, options):
    there = {name: side for name, side in sides.items() if not side.unavailable}
    memory = {name: {"1": side.ask(memory=True)["memory"]} for name, side in there.items()}
    scores = {name: np.array(side.ask(scores=max(BATCHES))["scores"]) for name, side in there.items()}
    times = {name: {batch: [] for batch in BATCHES} for name in there}
    progress = Progress("inference", "rounds")
    for number in range(options.inference_rounds):
        for batch in BATCHES if number % _ROUNDS_OF_OTHERS == 0 else BATCHES[:1]:
            for name, side in there.items():
                times[name][batch] += side.ask(batch=batch, seconds=options.inference_turn)["times"]
        progress(number + 1, options.inference_rounds)
    backends = {}
    for name, side in sides.items():
        if side.unavailable:
            backends[name] = {"not_measured": side.unavailable}
            continue
        memory[name][str(max(BATCHES))] = side.ask(memory=True)["memory"]
        single = 1000 * np.array(times[name][BATCHES[0]])
        backends[name] = {
            "calls": len(single),
            "milliseconds": {word: float(np.quantile(single, share)) for word, share in _QUANTILES.items()},
            "clips_a_second": {str(batch): batch / float(np.median(times[name][batch])) for batch in BATCHES},
            "megabytes": {batch: held / 1e6 for batch, held in memory[name].items()},
            "start": side.start,
            "difference": float(np.abs(scores[name] - scores[REFERENCE]).max()),
        }
    return backends
