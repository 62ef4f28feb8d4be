"""Counts of parameters and MACs, against figures worked out by hand."""

import types

import keras
import pytest

from benchmarks import model as benchmark
from ccsn_tf.config import Config, ModelConfig
from ccsn_tf.errors import UserError


def test_bn_inception_has_the_published_numbers():
    row = benchmark.count_model(ModelConfig(backbone="bn_inception", image_size=224), 101)
    parameters, macs = row["parameters"], row["macs"]
    assert parameters["spatial"] == 10_270_240
    assert [round(macs[stream] / 1e9, 3) for stream in ("spatial", "temporal")] == [2.032, 2.307]
    # cross_attention after inception_4d, 608 channels of 14x14: both ways four 1x1 convolutions with biases to or from
    # half the channels, two products over all pairs of positions, four widths, a normalisation
    convolutions = 4 * 608 * 304
    assert parameters["connection"] == 2 * (convolutions + 3 * 304 + 608 + 4 + 2 * 608)
    assert macs["connection"] == 2 * (convolutions * 196 + 2 * 196 * 196 * 304)
    assert parameters["heads"] == 2 * (1024 * 101 + 101) + 2048 * 101 + 101 + 2 * 1024 * 128
    assert macs["total"] == sum(macs[part] for part in benchmark.PARTS)


@pytest.mark.parametrize(
    ("connection", "span", "macs"),
    [
        ("concat", "segment", 2 * 128 * 64 * 64),
        ("shared_affinity", "segment", 6 * 64 * 32 * 64 + 3 * 64 * 64 * 32),
    ],
)
def test_connections_of_8x8_positions_and_64_channels(connection, span, macs):
    config = ModelConfig(backbone="tiny", image_size=32, connection=connection, span=span, num_segments=3)
    row = benchmark.count_model(config, 2)
    assert row["macs"]["connection"] == macs


def test_relations_of_four_segments():
    config = ModelConfig(image_size=32, consensus="trn", num_segments=4, span="clip", fusion_features=False)
    row = benchmark.count_model(config, 2)
    classifier, embedding = 3 * 256 * 2, 3 * 256 * 128
    relations = 4 * 96 * 256 + (6 * 2 + 4 * 3 + 1 * 4) * 256 * 256  # subsets of two, three and four segments
    assert row["macs"]["heads"] == 2 * (relations + classifier + embedding)
    weights = 96 * 256 + 256 + (2 + 3 + 4) * 256 * 256 + 3 * 256
    assert row["parameters"]["heads"] == 2 * (weights + classifier + 2 + embedding)
    assert row["macs"]["connection"] == 8 * 64 * 32 * 64 + 4 * 64 * 4 * 64 * 32


def test_depthwise_and_separable_convolutions():
    image = keras.Input((8, 8, 4))
    depthwise = keras.layers.DepthwiseConv2D(3, 2, "same")
    separable = keras.layers.SeparableConv2D(6, 3, padding="same")
    depthwise(image), separable(image)
    assert benchmark.macs_of_layer(depthwise) == 9 * 4 * 16
    assert benchmark.macs_of_layer(separable) == (9 * 4 + 4 * 6) * 64


def test_rows_and_table():
    config = Config().replace(image_size=32, flow_length=4, classes=("a", "b"))
    report = benchmark.run(config, types.SimpleNamespace(count_backbone=["tiny"]))
    lines = benchmark.table(report).splitlines()
    assert len({line.count("|") for line in lines[2:]}) == 1 and lines[-1].startswith("| tiny | 0.12 | ")
    with pytest.raises(UserError, match="backbone"):
        benchmark.run(config, types.SimpleNamespace(count_backbone=["nothing"]))
