"""The parameters of the network as a whole: how many, whose, and that training moves them."""

import itertools

import keras
import numpy as np
import pytest
from layers import num_parameters
from small_models import CLASSES, clips, kept, model

from ccsn_tf.config.settings import CONNECTIONS
from ccsn_tf.losses import JointLoss
from ccsn_tf.models.ccsn import STREAMS


def stream_parameters(in_channels):
    """Trainable parameters of `tiny`: five 3x3 convolutions without bias, a scale and a shift for each channel."""
    widths = [in_channels, 24, 32, 64, 64, 96]
    convolutions = sum(9 * a * b for a, b in itertools.pairwise(widths))
    return convolutions + 2 * sum(widths[1:])


def block_parameters(kind, channels, heads, position):
    """Trainable parameters of a connection block."""
    width = channels // 2
    onto, inward, outward = channels * (channels + 1), (channels + 1) * width, (width + 1) * channels
    bias = {"distance": heads, "mlp": (2 + 1) * 32 + (32 + 1) * heads, "none": 0}[position]
    messages = {
        "sum": 2 * onto,
        "product": 2 * onto,
        "concat": 2 * (2 * channels + 1) * channels,
        "shared_affinity": 4 * inward + 2 * outward,
        "nonlocal": 6 * inward + 2 * outward,
        "cross_attention": 6 * inward + 2 * outward + 2 * bias,
    }
    return messages[kind] + 2 * 2 * channels


@pytest.mark.parametrize(
    ("connection", "position"),
    [(kind, "distance") for kind in CONNECTIONS] + [("cross_attention", "mlp"), ("cross_attention", "none")],
)
def test_parameter_counts(connection, position):
    network, embedding, classes = kept(connection, position=position), 8, len(CLASSES)
    heads = 2 * ((96 + 1) * classes + 96 * embedding) + (2 * 96 + 1) * classes
    block = 0 if connection == "none" else block_parameters(connection, 64, 2, position)
    trainable = stream_parameters(3) + stream_parameters(10) + heads + block
    assert num_parameters(network.trainable_weights) == trainable
    statistics = 2 * 2 * (24 + 32 + 64 + 64 + 96) + (0 if connection == "none" else 2 * 2 * 64)
    assert network.count_params() == trainable + statistics
    assert len({id(weight) for weight in network.weights}) == len(network.weights)


def test_streams_share_no_weights():
    spatial, temporal = (kept("none").network(stream) for stream in STREAMS)
    assert not {id(weight) for weight in spatial.weights} & {id(weight) for weight in temporal.weights}
    assert (spatial.input_shape[-1], temporal.input_shape[-1]) == (3, 10)
    assert {id(w) for w in (*spatial.weights, *temporal.weights)} <= {id(w) for w in kept("none").weights}


def test_a_step_moves_every_weight_but_those_that_cannot_matter():
    network = model("cross_attention", position="mlp")
    network.compile(optimizer=keras.optimizers.SGD(1e-2), loss=JointLoss())
    before = [weight.numpy() for weight in network.trainable_weights]
    terms = network.train_step((clips(number=4), np.array([0, 1, 0, 1])))
    assert all(np.isfinite(value) for value in terms.values())
    moved = [np.abs(w.numpy() - b).max() > 1e-7 for w, b in zip(network.trainable_weights, before, strict=True)]
    still = {w.path for w, moves in zip(network.trainable_weights, moved, strict=True) if not moves}
    # Taken out by the softmax, or by batch normalisation; see test_connection.
    neutral = ("_key/bias", "_value/bias", "_output/bias", "_bias/outer/bias")
    assert all(path.startswith("connection_stage2/") and path.endswith(neutral) for path in still), still
