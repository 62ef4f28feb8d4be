"""From a work directory to an ONNX file that has proved itself."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import onnx

from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.records.selection import of_records
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file
from ccsn_tf.models.build import load_model
from ccsn_tf.serving import optional
from ccsn_tf.serving.agreement import EvaluationClips, as_exported, compare_on_clips, compare_scores
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import make_metadata
from ccsn_tf.serving.onnx.convert import check, to_onnx
from ccsn_tf.serving.onnx.graph import flow_precisions, precision_of, product_precisions
from ccsn_tf.serving.onnx.half import to_half
from ccsn_tf.serving.onnx.int8 import deep_convolutions, to_int8
from ccsn_tf.serving.onnx.session import OnnxModel, set_metadata
from ccsn_tf.serving.saved_model.verify import BATCHES
from ccsn_tf.serving.sums import write_sums

# Largest difference to Keras, in any output, of a float32 export.
LIMIT = 1e-4

# The same where flow is computed inside: it is rounded to 8 bits, and what differs by a float's last bit can be rounded
# to the next step.
FLOW_LIMIT = 1e-3

# Share of the test clips that must keep their best class.
MIN_AGREEMENT = {"fp16": 0.995, "int8": 0.98}

_CALIBRATION_BATCH = 2

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class OnnxSettings:
    """What is written, and how it is tried.

    Args:
        output: the file; empty: model.onnx, or model.<precision>.onnx, in the work directory.
        precision: "fp32", "fp16" or "int8".
        evaluate: measure the agreement with the trained model on all test clips; float32 is compared on a few only.
        segments: of a clip then, and in calibration; 0: as many as in training.
        min_agreement: the lowest share that is accepted; 0: `MIN_AGREEMENT`.
        calibration_clips: training clips that the ranges for int8 are found on.
        float_convolutions: so many convolutions from the input on stay float32 in int8.
        must_be_real: refuse to be tried on rendered clips where the run's records are absent.
    """

    output: str = ""
    precision: str = "fp32"
    evaluate: bool = True
    segments: int = 0
    min_agreement: float = 0.0
    calibration_clips: int = 32
    float_convolutions: int = 2
    must_be_real: bool = False


@dataclasses.dataclass(frozen=True)
class OnnxFile:
    """A finished export: the file and its report, which is also in the file, in its metadata under "onnx"."""

    path: pathlib.Path
    report: dict


def export_onnx(
    config: Config,
    settings: OnnxSettings,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
) -> OnnxFile:
    """Writes the model in `config.train.workdir` as an ONNX file.

    The file appears when it is whole and checked. The scores of the trained model are kept beside it
    (`reference_scores.npz`), so that an export that was killed, or another precision, need not compute them again.

    Args:
        config: of the run.
        settings: of the export.
        progress: makes the function that a piece of work, whose name it is given, reports to.

    Raises:
        UserError: no finished run, a network that cannot be converted, records that are needed and absent, or a result
            that does not agree with the trained model, of which nothing is left then.
    """
    workdir, precision = pathlib.Path(config.train.workdir), settings.precision
    path = _target(settings.output, workdir, precision)
    evaluate = settings.evaluate and precision != "fp32"
    if evaluate or precision == "int8":
        of_records(config)  # what is absent should be said before the work, not after it
    model = load_model(str(workdir / "model.keras"))
    segments = settings.segments or config.model.num_segments
    graph = to_onnx(model)
    if precision == "int8":
        graph = _calibrated(graph, config, model, settings, segments, progress("calibrate"))
    elif precision == "fp16":
        graph = to_half(graph)
    check(graph)
    if precision_of(graph) != precision:
        raise UserError(f"--precision={precision} was asked for, but no convolution of this network could be made so.")
    flow = collections.Counter(flow_precisions(graph).values())
    if set(flow) - {"fp32"}:
        raise UserError(f"--precision={precision} reached the flow that the network computes: use fp32.")
    metadata = {**make_metadata(model, config, None), "precision": precision}
    set_metadata(graph, metadata)
    exported = OnnxModel(graph.SerializeToString())
    report = {
        "precision": precision,
        "opset": graph.opset_import[0].version,
        "products": dict(collections.Counter(product_precisions(graph).values())),
        "flow": dict(flow),
        "nodes": len(graph.graph.node),
        "onnxruntime": optional("onnxruntime", "onnx").__version__,
    }
    counts = (config.model.num_segments, config.model.num_segments + 2)
    with clips_to_try(config, tuple(model.classes), max(BATCHES), settings.must_be_real) as clips:
        limit = (FLOW_LIMIT if flow else LIMIT) if precision == "fp32" else None
        report["comparison"] = compare_on_clips(exported, as_exported(model), clips, BATCHES, counts, limit)
    if evaluate:
        clips = EvaluationClips(config, tuple(model.classes), segments)
        reference = clips.reference(model, path.with_name("reference_scores.npz"), progress("score with Keras"))
        changed = compare_scores(reference, clips.scores(exported, progress(f"score in {precision}")))
        report["agreement"] = {"segments": segments, **changed}
        _accept(report["agreement"], precision, settings.min_agreement or MIN_AGREEMENT[precision])
    set_metadata(graph, {**metadata, "onnx": report})
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)  # of what is replaced
    with whole_file(path) as beside:
        onnx.save(graph, beside)
    write_sums(path)
    return OnnxFile(path, report)


def _target(output, workdir, precision):
    path = pathlib.Path(output or workdir / ("model.onnx" if precision == "fp32" else f"model.{precision}.onnx"))
    if path.is_dir():
        raise UserError(f"--output={path} is a folder: name a file, such as {path / 'model.onnx'}.")
    return path


def _calibrated(graph, config, model, settings, segments, progress):
    """The graph in int8, its ranges found on training clips."""
    config, manifest = of_records(config)
    data = dataclasses.replace(config.data, classes=tuple(model.classes))
    classes, clips = manifest.select(data, "train")
    order = np.random.default_rng(config.train.seed).permutation(len(clips))
    chosen = [clips[index] for index in order[: settings.calibration_clips]]
    views = evaluation_views(chosen, classes, data.record_dir, config.model, segments, 1)

    def batches():
        for done, batch in enumerate(views.batch(_CALIBRATION_BATCH), start=1):
            yield {name: values[:, 0].numpy() for name, values in batch.items() if name != "label"}
            progress(min(len(chosen), done * _CALIBRATION_BATCH), len(chosen))

    convolutions = deep_convolutions(graph, settings.float_convolutions)
    if not convolutions:
        raise UserError(f"--float_convolutions={settings.float_convolutions} leaves no convolution for int8: lower it.")
    return to_int8(graph, convolutions, batches())


def _accept(agreement, precision, least):
    found = agreement["fused"]["agreement"]
    if found < least:
        raise UserError(
            f"In {precision} {100 * found:.2f} % of the test clips keep their best class, fewer than "
            f"{100 * least:.2f} %: use another --precision (for int8 also more --calibration_clips or "
            "--float_convolutions), or lower --min_agreement."
        )
