"""The network as a whole: outputs, invariances, parameters, and what keeps it to `keras.ops`."""

import ast
import itertools
import pathlib

import keras
import numpy as np
import pytest
from layers import dtype_policy, num_parameters
from small_models import CLASSES, SIZE, assert_same, clips, kept, model, predict

import ccsn_tf
from ccsn_tf.config.settings import STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.losses import JointLoss
from ccsn_tf.models.backbones.backbone import Backbone, Normalization
from ccsn_tf.models.ccsn import CCSN

WIDTHS = {"logits": 3, "spatial_logits": 3, "temporal_logits": 3, "spatial_embedding": 8, "temporal_embedding": 8}
SPANS = pytest.mark.parametrize("span", ["segment", "clip"])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_outputs(policy):
    with dtype_policy(policy):
        network = model()
    outputs = predict(network, clips())
    assert {name: value.shape for name, value in outputs.items()} == {name: (2, n) for name, n in WIDTHS.items()}
    assert {value.dtype.name for value in outputs.values()} == {"float32"}
    assert {name: spec.shape for name, spec in network.output.items()} == {n: (None, w) for n, w in WIDTHS.items()}
    assert {spec.dtype for spec in network.output.values()} == {"float32"}
    assert network.get_layer("connection_stage2").compute_dtype == policy.removeprefix("mixed_")
    exact = predict(kept(), clips())
    for name, value in outputs.items():
        assert np.abs(value - exact[name]).max() < 0.1 * np.abs(exact[name]).max()
        if name.endswith("embedding"):
            np.testing.assert_allclose(np.linalg.norm(value, axis=-1), 1.0, rtol=1e-5)


@SPANS
def test_any_number_of_segments_in_any_order(span):
    network = kept(span=span)
    one = clips(segments=1)
    thrice = {name: np.repeat(value, 3, axis=1) for name, value in one.items()}
    assert_same(predict(network, thrice), predict(network, one), exactly=False)
    inputs = clips(segments=4)
    shuffled = {name: value[:, [2, 0, 3, 1]] for name, value in inputs.items()}
    assert_same(predict(network, shuffled), predict(network, inputs), exactly=False)


@pytest.mark.parametrize("network", [lambda: kept(span="clip"), lambda: model(consensus="trn")])
def test_a_clip_is_judged_by_itself(network):
    """No clip's segments end up in another's consensus."""
    network, inputs = network(), clips(number=3)
    together = predict(network, inputs)
    for i in range(3):
        alone = predict(network, {name: value[i : i + 1] for name, value in inputs.items()})
        assert_same({name: value[i : i + 1] for name, value in together.items()}, alone, exactly=False)


@pytest.mark.parametrize("connection", ["none", "cross_attention"])
def test_what_depends_on_the_other_stream(connection):
    network, inputs = kept(connection), clips()
    before = predict(network, inputs)
    for other, stream in (("flow", "spatial"), ("rgb", "temporal")):
        after = predict(network, {**inputs, other: clips(seed=1)[other]})
        for part in ("logits", "embedding"):
            difference = np.abs(after[f"{stream}_{part}"] - before[f"{stream}_{part}"]).max()
            assert difference == 0 if connection == "none" else difference > 1e-4
        assert np.abs(after["logits"] - before["logits"]).max() > 1e-4


def test_a_new_connection_leaves_the_streams_alone():
    plain, joined = (
        CCSN(CLASSES, connection=connection, image_size=SIZE, connect_at=("stage1", "stage2", "stage3"))
        for connection in ("none", "cross_attention")
    )
    own = [weight for weight in joined.weights if not weight.path.startswith("connection_")]
    assert [weight.path for weight in own] == [weight.path for weight in plain.weights]
    for weight, value in zip(own, plain.get_weights(), strict=True):
        weight.assign(value)
    assert_same(predict(joined, clips()), predict(plain, clips()))


def test_connections_at_several_stages():
    network = model(connect_at=("stage3", "stage1"), span="clip")
    assert [block.name for block in network.connection_blocks] == ["connection_stage1", "connection_stage3"]
    inputs, before = clips(), None
    for stage in (None, "stage1", "stage3"):  # each of them carries information
        for block in network.connection_blocks:
            for norm in block.norms:
                norm.gamma.assign(np.full(norm.gamma.shape, float(block.name == f"connection_{stage}")))
                norm.beta.assign(np.zeros(norm.beta.shape))
        outputs = predict(network, inputs)
        changed = predict(network, {**inputs, "flow": clips(seed=1)["flow"]})
        difference = np.abs(outputs["spatial_logits"] - changed["spatial_logits"]).max()
        assert difference == 0 if stage is None else difference > 1e-4
        assert before is None or np.abs(outputs["logits"] - before).max() > 1e-5
        before = outputs["logits"]


def stream_parameters(in_channels):
    """Trainable parameters of `tiny`: five 3x3 convolutions without bias, a scale and a shift for each channel."""
    widths = [in_channels, 24, 32, 64, 64, 96]
    convolutions = sum(9 * a * b for a, b in itertools.pairwise(widths))
    return convolutions + 2 * sum(widths[1:])


def block_parameters(kind, channels, heads, position):
    """Trainable parameters of a connection block."""
    width = channels // 2
    onto, inward, outward = channels * (channels + 1), (channels + 1) * width, (width + 1) * channels
    bias = {"distance": heads, "mlp": (2 + 1) * 32 + (32 + 1) * heads}[position]
    messages = {
        "none": -4 * channels,  # no normalisations either
        "sum": 2 * onto,
        "concat": 2 * (2 * channels + 1) * channels,
        "shared_affinity": 4 * inward + 2 * outward,
        "cross_attention": 6 * inward + 2 * outward + 2 * bias,
    }
    return messages[kind] + 2 * 2 * channels


@pytest.mark.parametrize(
    ("connection", "position"),
    [
        ("none", "distance"),
        ("sum", "distance"),
        ("concat", "distance"),
        ("shared_affinity", "distance"),
        ("cross_attention", "distance"),
        ("cross_attention", "mlp"),
    ],
)
def test_parameter_counts(connection, position):
    network, embedding, classes = kept(connection, position=position), 8, len(CLASSES)
    heads = 2 * ((96 + 1) * classes + 96 * embedding) + (2 * 96 + 1) * classes
    block = block_parameters(connection, 64, 2, position)
    trainable = stream_parameters(3) + stream_parameters(10) + heads + block
    assert num_parameters(network.trainable_weights) == trainable
    statistics = 2 * 2 * (24 + 32 + 64 + 64 + 96) + (0 if connection == "none" else 2 * 2 * 64)
    assert network.count_params() == trainable + statistics
    assert len({id(weight) for weight in network.weights}) == len(network.weights)
    spatial, temporal = ({id(w) for w in network.network(stream).weights} for stream in STREAMS)
    assert not spatial & temporal and spatial | temporal <= {id(w) for w in network.weights}


def test_a_step_moves_every_weight_but_those_that_cannot_matter():
    network = model("cross_attention", position="mlp")
    network.compile(optimizer=keras.optimizers.SGD(1e-2), loss=JointLoss())
    before = [weight.numpy() for weight in network.trainable_weights]
    terms = network.train_step((clips(number=4), np.array([0, 1, 0, 1])))
    assert all(np.isfinite(value) for value in terms.values())
    moved = [np.abs(w.numpy() - b).max() > 1e-7 for w, b in zip(network.trainable_weights, before, strict=True)]
    still = {w.path for w, moves in zip(network.trainable_weights, moved, strict=True) if not moves}
    # Taken out by the softmax, or by batch normalisation; see test_block.
    neutral = ("_key/bias", "_value/bias", "_output/bias", "_bias/outer/bias")
    assert all(path.startswith("connection_stage2/") and path.endswith(neutral) for path in still), still


def test_streams_whose_maps_differ_are_not_joined():
    def wider_for_flow(image_size, in_channels):
        image = keras.Input((*image_size, in_channels), name="image")
        x = keras.layers.Conv2D(8, 3, padding="same", name="one")(image)
        y = keras.layers.Conv2D(8 if in_channels == 3 else 20, 3, 2, "same", name="two")(x)
        network = keras.Model(image, y, name="wider")
        return Backbone(network, {"first": "one", "second": "two"}, Normalization(127.5, 0.01), ("second",))

    with pytest.raises(UserError, match=r"^`connect_at` second: .* 8x8x8 \(spatial\) and 8x8x20 \(temporal\)"):
        CCSN(CLASSES, backbone=wider_for_flow, image_size=SIZE)
    for arguments in ({"connect_at": ("first",)}, {"connection": "none"}):
        network = CCSN(CLASSES, backbone=wider_for_flow, image_size=SIZE, **arguments)
        assert network.output["logits"].shape == (None, 3)


def test_networks_and_losses_import_no_tensorflow():
    """They are written in `keras.ops`, but for how they learn and what asks XLA for kernels."""
    package, users = pathlib.Path(ccsn_tf.__path__[0]), set()
    for path in (path for part in ("models", "losses") for path in (package / part).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not [name for name in names if name.startswith(("keras.src", "keras.backend.tensorflow", "tf_keras"))]
        users |= {path.name} if "tensorflow" in {name.split(".")[0] for name in names} else set()
        # Where there is TensorFlow, it is imported only once the backend is known to be it.
        assert "tensorflow" not in [
            alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
        ]
    assert users == {"train_step.py", "loops.py"}
