"""Ways to run a trained model: each makes, of a file and its options, a function of clips that returns their scores.

Each imports what it needs when it is called, so that a process holds one of them and nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np

from ccsn_tf.evaluation.metrics import softmax

Scores = Callable[[dict[str, np.ndarray]], np.ndarray]


def _keras(spec):
    from ccsn_tf.models.build import load_model

    return load_model(spec["path"])


def _predict(spec):
    model = _keras(spec)

    def scores(inputs):
        clips = len(next(iter(inputs.values())))
        return softmax(model.predict(inputs, batch_size=clips, verbose=0)["logits"])

    return scores


def _call(spec):
    model = _keras(spec)
    return lambda inputs: softmax(model(inputs, training=False)["logits"].numpy())


def _function(spec):
    from ccsn_tf.evaluation.protocol import make_forward

    forward = make_forward(_keras(spec))
    return lambda inputs: softmax(forward(inputs)["logits"].numpy())


def _saved_model(spec):
    import tensorflow as tf

    model = tf.saved_model.load(spec["path"])
    function = model.signatures["serving_default"]

    def scores(inputs):
        return function(**{name: tf.constant(value) for name, value in inputs.items()})["scores"].numpy()

    scores.model = model  # whose variables the function does not keep alive
    return scores


def _onnx(spec):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = spec.get("threads", 0)
    if spec.get("streams"):  # independent parts of the graph at the same time
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = spec["streams"]
    level = spec.get("optimize", "all").upper()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    for name, value in spec.get("entries", {}).items():
        options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(spec["path"], options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))["scores"]


def _openvino(spec):
    import openvino

    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": spec.get("precision", "f32")}
    compiled = openvino.Core().compile_model(spec["path"], "CPU", hints)
    request, output = compiled.create_infer_request(), compiled.output("scores")
    return lambda inputs: request.infer(inputs)[output]


def _tensorrt(spec):
    from ccsn_tf.serving.tensorrt.cuda import Cuda

    Cuda()  # which says why where there is none
    from ccsn_tf.serving.tensorrt.build import BuildSettings
    from ccsn_tf.serving.tensorrt.export import export_engine
    from ccsn_tf.serving.tensorrt.module import load_tensorrt
    from ccsn_tf.serving.tensorrt.run import load_engine

    with tempfile.TemporaryDirectory() as folder:
        plan, segments = f"{folder}/model.plan", spec["segments"]
        most = BuildSettings(batch=(1, 1, spec["largest_batch"]), segments=(segments, segments, segments))
        export_engine(load_tensorrt(), spec["path"], plan, most)
        engine = load_engine(plan)
    engine.__enter__()  # until the process ends
    return lambda inputs: engine(inputs)["scores"]


LOADERS = {
    "predict": _predict,
    "call": _call,
    "function": _function,
    "saved_model": _saved_model,
    "onnx": _onnx,
    "openvino": _openvino,
    "tensorrt": _tensorrt,
}
