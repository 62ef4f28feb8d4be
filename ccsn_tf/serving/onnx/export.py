"""From a work directory to an ONNX file that has proved itself."""

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
from ccsn_tf.evaluation.predict import make_forward
from ccsn_tf.files import whole_file
from ccsn_tf.models.build import load_model
from ccsn_tf.models.snippets import snippet_parts
from ccsn_tf.serving import optional
from ccsn_tf.serving.agreement import (
    BATCHES,
    accuracy_by_segments,
    as_exported,
    compare_on_clips,
    compare_scores,
    score_test_clips,
)
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import STREAM_SIGNATURES, make_metadata
from ccsn_tf.serving.model_card import write_beside, write_sums
from ccsn_tf.serving.onnx.convert import check, stream_to_onnx, to_onnx
from ccsn_tf.serving.onnx.graph import precision_of, product_precisions
from ccsn_tf.serving.onnx.precision import deep_convolutions, to_half, to_int8
from ccsn_tf.serving.onnx.session import OnnxModel, set_metadata, stream_path

# Largest difference to Keras, in any output, of a float32 export, by the model's source of flow: flow that is computed
# is rounded to 8 bits, and what differs by a float's last bit can be rounded to the next step.
LIMITS = {"stored": 1e-4, "graph": 1e-3}

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
        min_agreement: the lowest share that is accepted; 0: `MIN_AGREEMENT`.
        calibration_clips: training clips that the ranges for int8 are found on.
        float_convolutions: so many convolutions from the input on stay float32 in int8.
        must_be_real: refuse to be tried on rendered clips where the run's records are absent.
        accuracy_clips: most test clips that accuracy is measured on (see `accuracy_by_segments`).
    """

    output: str = ""
    precision: str = "fp32"
    evaluate: bool = True
    min_agreement: float = 0.0
    calibration_clips: int = 32
    float_convolutions: int = 2
    must_be_real: bool = False
    accuracy_clips: int = 0


@dataclasses.dataclass(frozen=True)
class OnnxFile:
    """A finished export: the file and its report, which is also in the file, in its metadata under "onnx"."""

    path: pathlib.Path
    report: dict


def export_onnx(
    config: Config,
    settings: OnnxSettings,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> OnnxFile:
    """Writes the model in `config.train.workdir` as an ONNX file.

    The file appears when it is whole and checked. Beside a float32 file stand its two parts that watch a stream
    (`stream_path`), where a snippet has features of its own.

    Args:
        progress: makes the function that a piece of work, whose name it is given, reports to.
        say: receives lines for people.

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
    classes, segments = tuple(model.classes), config.model.num_segments
    graph = to_onnx(model)
    if precision == "int8":
        graph = _calibrated(graph, config, classes, settings, progress("calibrate"))
    elif precision == "fp16":
        graph = to_half(graph)
    check(graph)
    if precision_of(graph) != precision:
        raise UserError(f"--precision={precision} was asked for, but no convolution of this network could be made so.")
    accuracy = accuracy_by_segments(model, config, settings.accuracy_clips, say, progress("accuracy"))
    metadata = {**make_metadata(model, config, None, accuracy=accuracy), "precision": precision}
    set_metadata(graph, metadata)
    exported = OnnxModel(graph.SerializeToString())
    report = {
        "precision": precision,
        "opset": graph.opset_import[0].version,
        "products": dict(collections.Counter(product_precisions(graph).values())),
        "onnxruntime": optional("onnxruntime", "onnx").__version__,
    }
    with clips_to_try(config, classes, max(BATCHES), settings.must_be_real) as clips:
        limit = LIMITS[config.model.flow_source] if precision == "fp32" else None
        counts = (segments, segments + 2)
        trained = as_exported(model)
        report["comparison"] = compare_on_clips(exported, trained, clips, BATCHES, counts, limit)
        parts = _stream_parts(model, metadata) if precision == "fp32" else {}
        if parts:
            report["stream"] = compare_on_clips(_joined(parts), trained, clips, BATCHES, counts, limit)
    if evaluate:
        reference, scores = (
            score_test_clips(forward, config, classes, segments, progress(f"score {words}"))[0]
            for forward, words in ((make_forward(model), "with Keras"), (exported, f"in {precision}"))
        )
        report["agreement"] = {"segments": segments, **compare_scores(reference, scores)}
        found, least = report["agreement"]["fused"]["agreement"], settings.min_agreement or MIN_AGREEMENT[precision]
        if found < least:
            raise UserError(
                f"In {precision} {100 * found:.2f} % of the test clips keep their best class, fewer than "
                f"{100 * least:.2f} %: use another --precision (for int8 also more --calibration_clips or "
                "--float_convolutions), or lower --min_agreement."
            )
    set_metadata(graph, {**metadata, "onnx": report})
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)  # of what is replaced
    with whole_file(path) as beside:
        onnx.save(graph, beside)
    for name in STREAM_SIGNATURES:
        place = stream_path(path, name)
        for old in (place, place.with_name(f"{place.name}.sha256")):
            old.unlink(missing_ok=True)
        if name in parts:
            with whole_file(place) as beside:
                onnx.save(parts[name], beside)
            write_sums(place)
    write_beside(path, metadata, f"ONNX, {precision}", _in_words(report))
    return OnnxFile(path, report)


def _stream_parts(model, metadata):
    """`stream_to_onnx`, with metadata; empty where a snippet has no features of its own."""
    try:
        snippet_parts(model)
    except UserError:
        return {}
    parts = stream_to_onnx(model)
    for name, part in parts.items():
        set_metadata(part, {**metadata, "part": name})
    return parts


def _joined(parts):
    """Both parts as one function of a batch of clips."""
    snippet, answer = (OnnxModel(parts[name].SerializeToString()) for name in STREAM_SIGNATURES)

    def outputs(inputs):
        clips, segments = next(iter(inputs.values())).shape[:2]
        found = snippet({name: value.reshape(-1, *value.shape[2:]) for name, value in inputs.items()})
        return answer({stream: feature.reshape(clips, segments, -1) for stream, feature in found.items()})

    return outputs


def _target(output, workdir, precision):
    path = pathlib.Path(output or workdir / ("model.onnx" if precision == "fp32" else f"model.{precision}.onnx"))
    if path.is_dir():
        raise UserError(f"--output={path} is a folder: name a file, such as {path / 'model.onnx'}.")
    return path


def _calibrated(graph, config, classes, settings, progress):
    """The graph in int8, its ranges found on training clips."""
    config, manifest = of_records(config)
    data = dataclasses.replace(config.data, classes=classes)
    classes, clips = manifest.select(data, "train")
    order = np.random.default_rng(config.train.seed).permutation(len(clips))
    chosen = [clips[index] for index in order[: settings.calibration_clips]]
    views = evaluation_views(chosen, classes, data.record_dir, config.model, config.model.num_segments, 1)

    def batches():
        for done, batch in enumerate(views.batch(_CALIBRATION_BATCH), start=1):
            yield {name: values[:, 0].numpy() for name, values in batch.items() if name != "label"}
            progress(min(len(chosen), done * _CALIBRATION_BATCH), len(chosen))

    convolutions = deep_convolutions(graph, settings.float_convolutions)
    if not convolutions:
        raise UserError(f"--float_convolutions={settings.float_convolutions} leaves no convolution for int8: lower it.")
    return to_int8(graph, convolutions, batches())


def _in_words(report):
    """How it was compared, for its card."""
    words = f"on {report['comparison']['clips']}, outputs within {max(report['comparison']['largest'].values()):.0e}"
    if "agreement" in report:
        fused = report["agreement"]["fused"]
        words += f"; {100 * fused['agreement']:.1f} % of {report['agreement']['num_clips']} test clips keep their class"
        words += f", top-1 {100 * fused['top1']:.1f} % after {100 * fused['top1_reference']:.1f} %"
    return words
