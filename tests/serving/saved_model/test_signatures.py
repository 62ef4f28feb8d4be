"""The exported model's signatures: what they take, what they answer, what they carry along."""

import json

import keras
import numpy as np
import pytest
import serving_requests
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported.path))


def call(loaded, signature, inputs):
    outputs = loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def graph_of(exported):
    return SavedModel.FromString((exported.path / "saved_model.pb").read_bytes()).meta_graphs[0]


def test_names_types_and_shapes(exported):
    definitions = graph_of(exported).signature_def

    def spec(tensors):
        return {
            name: (tf.dtypes.as_dtype(info.dtype).name, tuple(dim.size for dim in info.tensor_shape.dim))
            for name, info in tensors.items()
        }

    arrays = {"rgb": ("uint8", (-1, -1, 32, 32, 3)), "flow": ("uint8", (-1, -1, 32, 32, 10))}
    answers = dict.fromkeys(("scores", "spatial_scores", "temporal_scores"), ("float32", (-1, 3)))
    answers |= {
        f"top_{name}": (dtype, (-1, 2))
        for name, dtype in (("indices", "int32"), ("labels", "string"), ("scores", "float32"))
    }
    embeddings = {f"{stream}_embedding": ("float32", (-1, 8)) for stream in ("spatial", "temporal")}
    jpegs = {"rgb": ("string", (-1, -1)), "flow": ("string", (-1, -1, 5))}
    snippets = {name: (dtype, (-1, *shape[2:])) for name, (dtype, shape) in arrays.items()}
    features = dict.fromkeys(("spatial", "temporal"), ("float32", (-1, 96)))
    of_clips = dict.fromkeys(features, ("float32", (-1, -1, 96)))
    assert {name: (spec(d.inputs), spec(d.outputs)) for name, d in definitions.items() if name[0] != "_"} == {
        "serving_default": (arrays, answers),
        "jpeg": (jpegs, answers),
        "embed": (arrays, embeddings),
        "snippet": (snippets, features),
        "answer": (of_clips, {**answers, **embeddings}),
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


@pytest.mark.parametrize(("clips", "segments"), [(1, 1), (2, 3), (5, 2)])
def test_answers_are_the_trained_model_s(exported, loaded, clips, segments):
    inputs = serving_requests.arrays(exported.metadata, clips, segments)
    expected = {name: value.numpy() for name, value in exported.model(inputs, training=False).items()}
    answer, embedded = call(loaded, "serving_default", inputs), call(loaded, "embed", inputs)
    for scores, logits in (
        ("scores", "logits"),
        ("spatial_scores", "spatial_logits"),
        ("temporal_scores", "temporal_logits"),
    ):
        np.testing.assert_allclose(answer[scores], keras.ops.softmax(expected[logits]), atol=1e-5)
    for name, value in embedded.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)
    order = np.argsort(-answer["scores"], axis=1)[:, :2]
    np.testing.assert_array_equal(answer["top_indices"], order)
    np.testing.assert_array_equal(answer["top_scores"], np.take_along_axis(answer["scores"], order, 1))
    assert [[label.decode() for label in row] for row in answer["top_labels"]] == [
        [exported.model.classes[index] for index in row] for row in order
    ]


def test_snippets_one_by_one_are_the_clip(exported, loaded):
    inputs = serving_requests.arrays(exported.metadata, clips=2, segments=3)
    whole = {**call(loaded, "serving_default", inputs), **call(loaded, "embed", inputs)}
    found = [
        [call(loaded, "snippet", {name: x[b, k, None] for name, x in inputs.items()}) for k in range(3)] for b in (0, 1)
    ]
    features = {name: np.array([[each[name][0] for each in clip] for clip in found]) for name in found[0][0]}
    answer = call(loaded, "answer", features)
    assert answer.keys() == whole.keys()
    for name, value in answer.items():
        if name == "top_labels":
            assert (value == whole[name]).all()
        else:
            np.testing.assert_allclose(value, whole[name], atol=1e-6)


def test_clips_of_a_batch_do_not_mix(exported, loaded):
    for signature, make in (("serving_default", serving_requests.arrays), ("jpeg", serving_requests.jpegs)):
        inputs = make(exported.metadata, clips=3, segments=2)
        together = call(loaded, signature, inputs)["scores"]
        for number in range(3):
            alone = call(loaded, signature, {name: value[number : number + 1] for name, value in inputs.items()})
            np.testing.assert_allclose(together[number], alone["scores"][0], atol=1e-6)
        assert np.abs(together[0] - together[2]).max() > 1e-3


def test_clips_of_a_request_may_differ_in_size(exported, loaded):
    small, large = serving_requests.jpegs(exported.metadata), serving_requests.jpegs(exported.metadata)
    for index in np.ndindex(large["rgb"].shape):
        large["rgb"][index] = serving_requests.encoded(serving_requests.textured(50, 40, 3))
        large["flow"][index] = serving_requests.encoded(serving_requests.textured(100, 40, 1))
    both = call(loaded, "jpeg", {name: np.concatenate([small[name], large[name]]) for name in small})["scores"]
    np.testing.assert_allclose(both[1], call(loaded, "jpeg", large)["scores"][0], atol=1e-6)


def test_a_server_may_deal_the_metadata_out(exported, loaded):
    for count in (1, 3):
        texts = call(loaded, "metadata", {"request": np.arange(count, dtype=np.int32)})["metadata"]
        assert [json.loads(text) for text in texts] == [exported.metadata] * count
    assert json.loads((exported.path / "assets.extra" / "ccsn.json").read_text()) == exported.metadata


def test_hostile_requests_end_in_a_reason(exported, loaded):
    good = serving_requests.arrays(exported.metadata)
    expected = call(loaded, "serving_default", good)["scores"]
    for name, request in serving_requests.hostile(exported.metadata).items():
        if request.signature in loaded.signatures:
            with pytest.raises((tf.errors.InvalidArgumentError, TypeError)):
                print(name, call(loaded, request.signature, request.inputs))
            np.testing.assert_array_equal(call(loaded, "serving_default", good)["scores"], expected)
