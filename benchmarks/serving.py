"""What serving a model costs: bytes of a request, time by batch size, and what folding the normalisations saves."""

from __future__ import annotations

import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import flags

from ccsn_tf.config import Config
from ccsn_tf.serving.client.config import JPEG_SIGNATURES
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.saved_model.export import export_saved_model

BATCHES = (1, 2, 4, 8)


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_integer("serving_rounds", 5, "serving: timings of each side, in turn; the best counts.", lower_bound=1)


def run(config: Config, options) -> dict:
    """Exports the model of --workdir twice and runs both on clips of its records, --test_segments segments each.

    Returns:
        `clips` (where they came from), `image_size`, `segments`, `bytes` {"arrays" | "jpegs": of a request of one
        clip}, `milliseconds` {"not folded" | "folded" | "jpegs": {batch size: best time}}, the first two of arrays.
    """
    run_config = Config.from_json(pathlib.Path(config.train.workdir, "config.json")).replace(
        workdir=config.train.workdir, test_segments=config.eval.test_segments
    )
    with tempfile.TemporaryDirectory() as folder:
        plain = export_saved_model(run_config, f"{folder}/plain", fold=False, check=False, warmup=False)
        folded = export_saved_model(run_config, f"{folder}/folded", check=False, warmup=False)
        models = {"not folded": tf.saved_model.load(str(plain.path)), "folded": tf.saved_model.load(str(folded.path))}
    with clips_to_try(run_config, tuple(folded.metadata["classes"]), max(BATCHES), must_be_real=False) as clips:
        segments = config.eval.test_segments
        inputs = {"arrays": clips.arrays(segments), "jpegs": clips.jpegs(segments)}
        source = clips.source
    calls = {name: (model.signatures["serving_default"], inputs["arrays"]) for name, model in models.items()}
    calls["jpegs"] = models["folded"].signatures[JPEG_SIGNATURES[run_config.model.flow_source]], inputs["jpegs"]
    best = {name: dict.fromkeys(map(str, BATCHES), np.inf) for name in calls}
    for _ in range(options.serving_rounds + 1):  # the first round of a size prepares it, and is the slowest
        for batch in BATCHES:
            for name, (function, values) in calls.items():
                best[name][str(batch)] = min(best[name][str(batch)], _milliseconds(function, values, batch))
    return {
        "clips": source,
        "image_size": run_config.model.image_size,
        "segments": segments,
        "bytes": {name: _request_bytes(values) for name, values in inputs.items()},
        "milliseconds": best,
    }


def table(report: dict) -> str:
    """The report as Markdown."""
    sizes = {name: f"{size / 1e6:.2f} MB" for name, size in report["bytes"].items()}
    lines = [
        f"{report['segments']} segments at {report['image_size']} px. Bytes of a clip: {sizes['arrays']} as "
        f"arrays, {sizes['jpegs']} as JPEGs ({report['clips']}).",
        "",
        "| clips a batch | as trained | folded | ratio | JPEGs, folded | clips/s |",
        "|---|---|---|---|---|---|",
    ]
    times = report["milliseconds"]
    for batch, folded in times["folded"].items():
        plain, jpeg = times["not folded"][batch], times["jpegs"][batch]
        rate = 1000 * int(batch) / jpeg
        lines.append(
            f"| {batch} | {plain:.0f} ms | {folded:.0f} ms | {plain / folded:.2f} | {jpeg:.0f} ms | {rate:.1f} |"
        )
    return "\n".join(lines)


def _milliseconds(function, values, batch):
    inputs = {name: tf.constant(value[:batch]) for name, value in values.items()}
    begun = time.perf_counter()
    function(**inputs)["scores"].numpy()
    return 1000 * (time.perf_counter() - begun)


def _request_bytes(values):
    return sum(tf.make_tensor_proto(value[:1]).ByteSize() for value in values.values())
