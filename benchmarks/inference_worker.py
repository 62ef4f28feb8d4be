"""One way to run a trained model, in a process of its own, so that its time and memory are its own.

    python -m benchmarks.inference_worker '{"load": "onnx", "path": "m.onnx", "clips": "clips.npz", "cpu_time": false}'

Answers lines of JSON (see `side.py`): first {"start": seconds} or {"unavailable": why}; then {"scores": B} with the
scores of the first B clips, {"batch": B, "seconds": T} with the times of calls, and {"memory": true} with the most
bytes that the process has held. TensorFlow is loaded only by the ways that need it.
"""

import json
import os
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np

from ccsn_tf.errors import UserError

Scores = Callable[[dict[str, np.ndarray]], np.ndarray]  # of clips by name of input
_FEWEST_CALLS = 3


def main(arguments: list[str]) -> None:
    spec = json.loads(arguments[0])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is no answer

    def answer(**value):
        print(json.dumps(value), file=answers, flush=True)

    begun = time.perf_counter()
    try:
        with np.load(spec["clips"]) as kept:
            clips = dict(kept)
        scores = LOADERS[spec["load"]](spec["path"])
        scores(_head(clips, 1))
    except (UserError, ImportError) as error:
        answer(unavailable=str(error))
        return
    answer(start=time.perf_counter() - begun)
    for line in sys.stdin:
        asked = json.loads(line)
        if "memory" in asked:
            answer(memory=most_memory())
        elif "scores" in asked:
            answer(scores=np.asarray(scores(_head(clips, asked["scores"]))).tolist())
        else:
            clock = time.process_time if spec["cpu_time"] else time.perf_counter
            answer(times=timed(scores, _head(clips, asked["batch"]), asked["seconds"], clock))


def timed(scores: Scores, inputs: dict, seconds: float, clock: Callable[[], float]) -> list[float]:
    """Times of calls, in seconds, that together take about `seconds`; the first call, with cold caches, is left out."""
    scores(inputs)
    times = []
    while len(times) < _FEWEST_CALLS or sum(times) < seconds:
        begun = clock()
        scores(inputs)
        times.append(clock() - begun)
    return times


def most_memory() -> int:
    """The most memory that this process has held, in bytes (VmHWM, which leaves out its parent's)."""
    for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise UserError("/proc/self/status has no VmHWM: measure memory on Linux.")


def _head(clips, batch):
    return {name: value[:batch] for name, value in clips.items()}


def _keras(path):
    from ccsn_tf.models.build import load_model

    return load_model(path)


def _softmax(logits):
    import keras

    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


def _predict(path):
    model = _keras(path)
    return lambda inputs: _softmax(
        model.predict(inputs, batch_size=len(next(iter(inputs.values()))), verbose=0)["logits"]
    )


def _call(path):
    model = _keras(path)
    return lambda inputs: _softmax(model(inputs, training=False)["logits"])


def _function(path):
    import tensorflow as tf

    model = _keras(path)
    forward = tf.function(lambda inputs: model(inputs, training=False)["logits"], reduce_retracing=True)
    return lambda inputs: _softmax(forward({name: tf.constant(value) for name, value in inputs.items()}))


def _saved_model(path):
    import tensorflow as tf

    model = tf.saved_model.load(path)

    def scores(inputs, kept=model):  # the signature's function does not keep the variables alive
        signature = kept.signatures["serving_default"]
        return signature(**{name: tf.constant(value) for name, value in inputs.items()})["scores"].numpy()

    return scores


def _onnx(path):
    from ccsn_tf.serving.onnx.session import OnnxModel

    model = OnnxModel(path)
    return lambda inputs: model(inputs)["scores"]


def _openvino(path):
    from ccsn_tf.serving.onnx.session import OpenVINOModel

    model = OpenVINOModel(path)
    return lambda inputs: model(inputs)["scores"]


LOADERS = {
    "predict": _predict,
    "call": _call,
    "function": _function,
    "saved_model": _saved_model,
    "onnx": _onnx,
    "openvino": _openvino,
}

if __name__ == "__main__":
    main(sys.argv[1:])
