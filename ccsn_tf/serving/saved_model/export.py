"""From a work directory to a versioned SavedModel that has proved itself."""

import contextlib
import dataclasses
import json
import pathlib
import re
import shutil
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process, whole_folder, write_text
from ccsn_tf.models.build import load_model
from ccsn_tf.models.flow.loops import xla_works
from ccsn_tf.models.folding import fold_batch_norms
from ccsn_tf.serving import versions
from ccsn_tf.serving.agreement import BATCHES, accuracy_by_segments
from ccsn_tf.serving.clips import Clips, clips_to_try
from ccsn_tf.serving.metadata import (
    ARRAY_SIGNATURES,
    FILE_NAME,
    JPEG_SIGNATURES,
    MAX_SEGMENTS,
    STREAM_SIGNATURES,
    make_metadata,
)
from ccsn_tf.serving.model_card import write_beside
from ccsn_tf.serving.saved_model.fresh_process import Request
from ccsn_tf.serving.saved_model.signatures import ServedFlow, ServedFrames
from ccsn_tf.serving.saved_model.verify import verify

EXTRA = "assets.extra"
WARMUP_FILE_NAME = "tf_serving_warmup_requests"

_SERVED = {"stored": ServedFlow, "graph": ServedFrames}


@dataclasses.dataclass(frozen=True)
class Export:
    """A finished export: its folder, its metadata, and the report of `verify` (None: not asked)."""

    path: pathlib.Path
    metadata: dict
    verification: dict | None


def export_saved_model(
    config: Config,
    export_dir: str,
    version: int = 0,
    max_segments: int = 0,
    fold: bool = True,
    check: bool = True,
    warmup: bool = True,
    xla: bool | None = None,
    must_be_real: bool = False,
    accuracy_clips: int = 0,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Export:
    """Writes `export_dir/<version>/` from the model in `config.train.workdir`.

    The folder appears under its number when all is in it and checked: a server that watches `export_dir` never loads
    less.

    Args:
        config: of the run; `eval.test_segments` and `eval.top_k` are what clients get.
        export_dir: one folder a model, with a folder a version in it.
        version: 1 or more; 0 takes the number after the highest that is there.
        max_segments: clips times segments that one request may have; 0: `MAX_SEGMENTS`.
        fold: put batch normalisations into the convolutions before them (see `fold_batch_norms`).
        check: compare with the trained model in a fresh process (see `verify`).
        warmup: add warm-up requests for TensorFlow Serving.
        xla: the iterations of flow are compiled where the model runs, which takes a server that has XLA; None: if
            the model computes flow and XLA works here.
        must_be_real: refuse to use rendered clips for these two where the run's records are absent.
        accuracy_clips: most test clips that accuracy is measured on (see `accuracy_by_segments`).
        say: receives lines for people.
        progress: of that, called with (done, in all).

    Raises:
        UserError: no finished run, `xla` for a model that computes no flow or on a machine where XLA does not work, a
            version that exists, a folder that cannot be written to, or an exported model that does not agree with the
            trained one, of which nothing is left then.
    """
    workdir = pathlib.Path(config.train.workdir)
    max_segments = max_segments or MAX_SEGMENTS[config.model.flow_source]
    asked = max(config.eval.test_segments, max(BATCHES) * (config.model.num_segments + 2))
    if max_segments < asked:
        raise UserError(
            f"--max_segments={max_segments} is less than the {asked} that clients or the verification send: raise it, "
            "or lower --test_segments."
        )
    of_flow = config.model.flow_source == "graph"
    if xla and not of_flow:
        raise UserError("--xla is for models that compute flow (--flow_source=graph): leave it out.")
    if xla and not xla_works():
        raise UserError("--xla: XLA does not work on this machine (see the warning above): leave it out.")
    xla = of_flow and xla_works() if xla is None else xla
    _target(export_dir, version)
    model = load_model(str(workdir / "model.keras"))
    accuracy = accuracy_by_segments(model, config, accuracy_clips, say, progress)
    metadata = make_metadata(model, config, max_segments, xla, accuracy)
    network = fold_batch_norms(model) if fold else model
    with only_process(export_dir) as alone:
        for path in pathlib.Path(export_dir).iterdir() if alone else ():
            if re.fullmatch(r"\.[0-9]+\.[0-9]+", path.name):  # of an export that was killed
                shutil.rmtree(path, ignore_errors=True)
        target = _target(export_dir, version)
        with whole_folder(target) as beside:
            with _sentence(target):
                served = _SERVED[config.model.flow_source](network, metadata)
                served.save(str(beside))
            write_text(beside / EXTRA / FILE_NAME, json.dumps(metadata, indent=1) + "\n")
            report = None
            if check or warmup:
                with clips_to_try(config, tuple(model.classes), max(BATCHES), must_be_real) as clips:
                    requests = warmup_requests(clips, metadata, served.widths) if warmup else []
                    if warmup:
                        with _sentence(target):
                            write_warmup(beside / EXTRA / WARMUP_FILE_NAME, requests)
                    if check:
                        say(f"Compared with {workdir / 'model.keras'} in a fresh process, on {clips.source} ...")
                        report = verify(str(beside), model, metadata, clips, requests)
            proof = f"on {report['clips']}, every answer within {report['limit']:.0e}" if report else ""
            write_beside(beside, metadata, "SavedModel", proof)
    return Export(target, metadata, report)


def warmup_requests(clips: Clips, metadata: dict, widths: dict[str, int]) -> list[Request]:
    """One clip for each signature, with the segments that clients are told to send; arrays with those of training.

    `widths` are those of a snippet's features (`ServedModel`).
    """
    arrays, jpegs = clips.arrays(metadata["segments_in_training"]), clips.jpegs(metadata["segments"])
    one, told = ({name: value[:1] for name, value in inputs.items()} for inputs in (arrays, jpegs))
    source = metadata["flow_source"]
    requests = [Request(JPEG_SIGNATURES[source], told), *(Request(name, one) for name in ARRAY_SIGNATURES[source])]
    if widths:
        features = {name: np.zeros((1, metadata["segments"], width), np.float32) for name, width in widths.items()}
        snippet, answer = STREAM_SIGNATURES
        requests += [Request(snippet, {name: value[0] for name, value in one.items()}), Request(answer, features)]
    return requests


def write_warmup(path: pathlib.Path, requests: Sequence[Request]) -> None:
    """Writes `assets.extra/tf_serving_warmup_requests`: a TFRecord file of `PredictionLog`s.

    TensorFlow Serving replays them when it loads a model, so that no caller pays for the first run. The model's name in
    them is empty: the server does not look at it.

    Raises:
        UserError: tensorflow-serving-api is not installed.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        raise UserError(
            "Warm-up requests need tensorflow-serving-api: pip install -c constraints.txt -e '.[export]', or pass "
            "--nowarmup."
        ) from None
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            predict = predict_pb2.PredictRequest()
            predict.model_spec.signature_name = request.signature
            for name, value in request.inputs.items():
                predict.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=predict))
            writer.write(log.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _sentence(target):
    """TensorFlow's errors of writing as a UserError."""
    try:
        yield
    except tf.errors.OpError as error:
        raise UserError(
            f"{target} cannot be written ({error.message}): free space, or choose another folder."
        ) from None


def _target(export_dir, version):
    if not export_dir:
        raise UserError("--export_dir is not given: name the folder of the model, which gets a folder a version.")
    folder = pathlib.Path(export_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--export_dir={export_dir} is a file: name a folder.")
    there = versions(folder)
    if version and version in there:
        raise UserError(
            f"{folder / str(version)} exists: leave --version out, which takes {max(there) + 1}, or choose another."
        )
    return folder / str(version or max(there, default=0) + 1)
