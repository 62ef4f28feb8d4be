"""The exported models' signatures: what they take, what was proved of them, what they are warmed up with."""

import builtins

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import prediction_log_pb2

from ccsn_tf.errors import UserError
from ccsn_tf.serving.saved_model.export import write_warmup

WIDTH = 96  # of a snippet's features
STREAMS = ("spatial", "temporal")

ANSWERS = dict.fromkeys(("scores", "spatial_scores", "temporal_scores"), ("float32", (-1, "classes")))
ANSWERS |= {
    f"top_{name}": (dtype, (-1, 2))
    for name, dtype in (("indices", "int32"), ("labels", "string"), ("scores", "float32"))
}
EMBEDDINGS = {f"{stream}_embedding": ("float32", (-1, 8)) for stream in STREAMS}
FEATURES = dict.fromkeys(STREAMS, ("float32", (-1, WIDTH)))
OF_CLIPS = dict.fromkeys(STREAMS, ("float32", (-1, -1, WIDTH)))
FLOW = {"rgb": ("uint8", (-1, -1, 32, 32, 3)), "flow": ("uint8", (-1, -1, 32, 32, 10))}
FRAMES = {"frames": ("uint8", (-1, -1, 3, -1, -1, 3))}

# By export: its signatures that take arrays of clips, the one of JPEGs, and their inputs.
EXPORTS = {
    "exported": (("serving_default", "embed"), FLOW, "jpeg", {"rgb": (-1, -1), "flow": (-1, -1, 5)}),
    "exported_frames": (("serving_default", "frames", "embed"), FRAMES, "jpeg_frames", {"frames": (-1, -1, 3)}),
}


@pytest.fixture(params=EXPORTS)
def found(request):
    return (request.getfixturevalue(request.param), *EXPORTS[request.param])


def graph_of(exported):
    return SavedModel.FromString((exported.path / "saved_model.pb").read_bytes()).meta_graphs[0]


def test_names_types_and_shapes(found):
    exported, of_arrays, arrays, of_jpegs, jpegs = found

    def spec(tensors):
        return {
            name: (tf.dtypes.as_dtype(info.dtype).name, tuple(dim.size for dim in info.tensor_shape.dim))
            for name, info in tensors.items()
        }

    classes = len(exported.model.classes)
    answers = {
        name: (dtype, (-1, classes if size == "classes" else size)) for name, (dtype, (_, size)) in ANSWERS.items()
    }
    snippets = {name: (dtype, (-1, *shape[2:])) for name, (dtype, shape) in arrays.items()}
    definitions = graph_of(exported).signature_def
    assert {name: (spec(d.inputs), spec(d.outputs)) for name, d in definitions.items() if name[0] != "_"} == {
        **{name: (arrays, EMBEDDINGS if name == "embed" else answers) for name in of_arrays},
        of_jpegs: ({name: ("string", shape) for name, shape in jpegs.items()}, answers),
        "snippet": (snippets, FEATURES),
        "answer": (OF_CLIPS, {**answers, **EMBEDDINGS}),
        "metadata": ({"request": ("int32", (-1,))}, {"metadata": ("string", (-1,))}),
    }


def test_the_graph_runs_anywhere(exported):
    """No Python inside, and no device named but for saving and restoring."""
    graph = graph_of(exported)
    nodes = [*graph.graph_def.node, *(n for f in graph.graph_def.library.function for n in f.node_def)]
    assert len(nodes) > 100
    assert not {node.op for node in nodes} & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}
    assert not {node.op for node in nodes if node.device} & {"Conv2D", "DecodeJpeg", "MatMul", "PartitionedCall"}
    assert all("CPU" in node.device for node in nodes if node.device)


def test_every_signature_that_costs_is_warmed_up_with_real_clips(found):
    """As TensorFlow Serving reads them. That they are answered, the export has seen to."""
    exported, of_arrays, arrays, of_jpegs, jpegs = found
    records = tf.data.TFRecordDataset(str(exported.path / "assets.extra" / "tf_serving_warmup_requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    assert [log.WhichOneof("log_type") for log in logs] == ["predict_log"] * len(logs)
    requests = [log.predict_log.request for log in logs]
    assert not any(request.output_filter for request in requests)  # the server prepares itself for a set of outputs
    names = [request.model_spec.signature_name for request in requests]
    assert sorted(names) == sorted([of_jpegs, *of_arrays, "snippet", "answer"])
    shapes = {
        name: {key: tf.make_ndarray(value).shape for key, value in request.inputs.items()}
        for name, request in zip(names, requests, strict=True)
    }
    whole = {name: (1, 2, *(32 if size == -1 else size for size in shape[2:])) for name, (_, shape) in arrays.items()}
    assert shapes == {
        of_jpegs: {name: (1, 3, *shape[2:]) for name, shape in jpegs.items()},
        **dict.fromkeys(of_arrays, whole),
        "snippet": {name: shape[1:] for name, shape in whole.items()},
        "answer": dict.fromkeys(STREAMS, (1, 3, WIDTH)),
    }


def test_warm_up_without_its_package(monkeypatch, tmp_path):
    load = builtins.__import__

    def absent(name, *arguments):
        if name.startswith("tensorflow_serving"):
            raise ImportError(name)
        return load(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match=r"\[export\].*--nowarmup"):
        write_warmup(tmp_path / "requests", [])
    assert not (tmp_path / "requests").exists()
