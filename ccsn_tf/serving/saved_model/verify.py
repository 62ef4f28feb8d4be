"""Does the exported model answer as the trained one? Asked in a fresh process that has TensorFlow and nothing else."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import with_scores
from ccsn_tf.serving.agreement import BATCHES, difference
from ccsn_tf.serving.clips import Clips
from ccsn_tf.serving.metadata import ARRAY_SIGNATURES, JPEG_SIGNATURES, STREAM_SIGNATURES
from ccsn_tf.serving.saved_model import fresh_process
from ccsn_tf.serving.saved_model.fresh_process import Answer, Request, read_answers, write_requests
from ccsn_tf.serving.saved_model.signatures import network_function, part_functions

# The largest difference that is accepted, by the model's source of flow: flow that is computed is rounded to 8 bits, so
# that another rounding of floats may become another level of a pixel.
LIMITS = {"stored": 1e-5, "graph": 1e-4}


def verify(path: str, model: keras.Model, metadata: dict, clips: Clips, also: Sequence[Request] = ()) -> dict:
    """Compares every signature of the SavedModel in `path` with `model` on clips.

    Batches of 1, 3 and 7 clips, with the number of segments of training and with another. On the CPU: other devices
    round otherwise (TensorFloat-32 by a thousandth); and flow iterated as the export does it, for the same reason.

    Args:
        model: the trained model, as it was before the export.
        metadata: what the model was exported with.
        clips: at least 7.
        also: requests that must be answered, whatever the answer is (those of the warm-up).

    Returns:
        {"clips": where they came from, "batches", "segments", "limit", "largest": {signature: largest difference}}.

    Raises:
        UserError: the SavedModel cannot be loaded, refuses a request, or differs by more than `LIMITS` says.
    """
    source = metadata["flow_source"]
    of_arrays, of_jpegs, limit = ARRAY_SIGNATURES[source], JPEG_SIGNATURES[source], LIMITS[source]
    segments = (metadata["segments_in_training"], metadata["segments_in_training"] + 2)
    with tf.device("/CPU:0"):
        trained, features = network_function(model, metadata), None
        with contextlib.suppress(UserError):  # where a snippet has no features of its own
            features, _ = part_functions(model, metadata)
    pairs = []
    for count in segments:
        arrays, jpegs = clips.arrays(count), clips.jpegs(count)
        for batch in BATCHES:
            head, told = ({name: value[:batch] for name, value in inputs.items()} for inputs in (arrays, jpegs))
            wanted = with_scores(_called(trained, head))
            pairs += [(Request(name, head), wanted) for name in of_arrays] + [(Request(of_jpegs, told), wanted)]
            if features:
                found, (snippet, answer) = _called(features, head), STREAM_SIGNATURES
                pairs += [(Request(snippet, _in_a_row(head)), _in_a_row(found)), (Request(answer, found), wanted)]
    requests = [Request("metadata", {"request": np.zeros(2, np.int32)}), *also, *(request for request, _ in pairs)]
    answers = ask(path, requests)
    for request, answer in zip(requests, answers, strict=True):
        if answer.error:
            raise UserError(f"The exported model refuses a request of {request.signature}: {_in_a_line(answer.error)}")
    if [json.loads(text) for text in answers[0].outputs["metadata"]] != [metadata] * 2:
        raise UserError("The exported model does not answer with its metadata.")
    largest = {}
    for (request, wanted), answer in zip(pairs, answers[1 + len(also) :], strict=True):
        found = np.maximum(compare(answer, wanted, metadata), largest.get(request.signature, 0.0))
        largest[request.signature] = float(found)  # which keeps what is not a number
    for signature, found in largest.items():
        if not found <= limit:
            remedy = "export with --nofold_batch_norms, which rounds as the trained model does"
            if signature == of_jpegs:  # which has the network in common with the others
                remedy = "its pictures are not those of the input pipeline; install the versions of constraints.txt"
            raise UserError(
                f"The exported model differs from the trained one by {found:.1e} in {signature}, more "
                f"than {limit:.0e}: {remedy}."
            )
    tried = {"clips": clips.source, "batches": list(BATCHES), "segments": list(segments)}
    return {**tried, "limit": limit, "largest": largest}


def ask(path: str, requests: Sequence[Request]) -> list[Answer]:
    """The answers of the SavedModel in `path`, from a fresh process without this package, without Keras, without GPU.

    Raises:
        UserError: the process failed, which it does if the model cannot be loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_requests(pathlib.Path(folder), requests)
        command = [sys.executable, "-I", fresh_process.__file__, str(pathlib.Path(path).resolve()), folder]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False, env=environment
        )
        if result.returncode:
            reason = result.stderr.strip().splitlines()[-1:] or [f"exit status {result.returncode}"]
            raise UserError(f"The exported model in {path} cannot be loaded in a fresh process: {reason[0]}")
        return read_answers(pathlib.Path(folder))


def compare(answer: Answer, wanted: dict[str, np.ndarray], metadata: dict) -> float:
    """The largest difference of an answer to what is wanted; infinite where it contradicts itself, NaN where it is.

    Features, which have no unit, may be large: of values above 1 it is the relative difference.

    Args:
        answer: of any signature but `metadata`.
        wanted: name -> array of everything that such an answer may hold but the top classes.
    """
    outputs = dict(answer.outputs)
    if "scores" in outputs:
        indices, labels, tops = (outputs.pop(f"top_{name}") for name in ("indices", "labels", "scores"))
        best = -np.sort(-outputs["scores"], axis=1)[:, : metadata["top_k"]]
        named = np.array(metadata["classes"], object)[indices]
        agree = np.array_equal(tops, best) and np.array_equal(np.take_along_axis(outputs["scores"], indices, 1), tops)
        if not agree or [[label.decode() for label in row] for row in labels] != named.tolist():
            return float("inf")
    if any(value.shape != wanted[name].shape for name, value in outputs.items()):
        return float("inf")
    return float(np.max([difference(value, wanted[name]) for name, value in outputs.items()]))


def _called(function, arrays):
    return {name: value.numpy() for name, value in function(**{n: tf.constant(a) for n, a in arrays.items()}).items()}


def _in_a_row(clips):
    return {name: value.reshape(-1, *value.shape[2:]) for name, value in clips.items()}


def _in_a_line(text):
    return " ".join(text.split())
