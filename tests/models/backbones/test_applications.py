"""keras.applications as backbones: the stages found, the pixel scaling, the download of weights."""

import keras
import numpy as np
import pytest
from keras import layers

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.applications import (
    class_names,
    default_connection,
    find_stages,
    imagenet_network,
    scaling_of,
)
from ccsn_tf.models.backbones.backbone import split_into_stages


@pytest.mark.parametrize(
    ("class_name", "size", "channels", "ends", "shapes"),
    [
        (
            "MobileNetV2",  # inverted bottlenecks are cut where they are narrow
            32,
            10,
            ["expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add", "out_relu"],
            [(16, 16, 16), (8, 8, 24), (4, 4, 32), (2, 2, 96), (1, 1, 1280)],
        ),
        (
            "VGG16",  # plain; the input's resolution is left out
            32,
            3,
            ["block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3", "block5_pool"],
            [(16, 16, 128), (8, 8, 256), (4, 4, 512), (2, 2, 512), (1, 1, 512)],
        ),
    ],
)
def test_stages(class_name, size, channels, ends, shapes):
    backbone = build_backbone(f"applications:{class_name}", size, channels)
    assert list(backbone.stages) == ["stage1", "stage2", "stage3", "stage4", "stage5"]
    assert list(backbone.stages.values()) == ends and backbone.default_connect_at == ("stage4",)
    assert [model.output_shape[1:] for model in split_into_stages(backbone, "spatial").values()] == shapes


def test_stages_of_small_networks():
    image = keras.Input((64, 64, 3), name="image")
    stem = layers.Conv2D(4, 3, 2, "same", name="stem")(image)
    total = layers.Conv2D(4, 3, padding="same", name="branch")(stem) + stem  # a sum that is no layer, as in ConvNeXt
    network = keras.Model(image, layers.Conv2D(8, 2, 2, name="out")(total), name="net")
    sum_name = next(operation.name for operation in network.operations if not isinstance(operation, keras.Layer))
    assert find_stages(network) == {"stage1": sum_name, "stage2": "out"}
    flat = keras.Model(image, layers.Conv2D(4, 3, padding="same", name="out")(image))
    assert find_stages(flat) == {"stage1": "out"}
    # The streams are connected at the last map where the one before is far larger.
    for pool, stage in ((16, "stage2"), (2, "stage1")):
        network = keras.Model(image, layers.AveragePooling2D(pool, name="out")(stem))
        assert default_connection(network, find_stages(network)) == stage


MODULES = {
    "ResNet50V2": "resnet_v2",
    "VGG16": "vgg16",
    "DenseNet121": "densenet",
}


@pytest.mark.parametrize("class_name", MODULES)
def test_scaling_is_that_of_keras(class_name):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("float32")
    expected = getattr(keras.applications, MODULES[class_name]).preprocess_input(pixels.copy())
    np.testing.assert_allclose(np.asarray(scaling_of(class_name).apply(pixels)), expected, atol=1e-4)


@pytest.mark.parametrize(
    "class_name",
    [
        "MobileNetV3Small",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("EfficientNetV2B0", "ConvNeXtTiny")),
    ],
)
def test_scaling_is_that_of_the_layers_keras_puts_inside(class_name):
    constructor = getattr(keras.applications, class_name)
    network = constructor(include_top=False, weights=None, input_shape=(32, 32, 3), include_preprocessing=True)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype("float32")
    inside = pixels
    for layer in network.layers[1:4]:
        if isinstance(layer, layers.Rescaling | layers.Normalization):
            inside = layer(inside)
    assert inside is not pixels
    np.testing.assert_allclose(np.asarray(scaling_of(class_name).apply(pixels)), np.asarray(inside), atol=1e-4)
    ours = build_backbone(f"applications:{class_name}", 32, 3).network  # which is without them
    assert not [layer for layer in ours.layers if isinstance(layer, layers.Rescaling | layers.Normalization)]


@pytest.mark.parametrize(
    ("class_name", "size", "message"),
    [
        ("ResNet5O", 64, r"`backbone`.*ResNet5O .*ResNet50,"),
        ("ResNet50", 16, r"^`image_size`: 16x16 .*at least 32x32"),
    ],
)
def test_what_cannot_be_built_is_said(class_name, size, message):
    with pytest.raises(UserError, match=message):
        build_backbone(f"applications:{class_name}", size, 3)


def test_a_failed_download_is_one_sentence(monkeypatch):
    def constructor(include_top, weights, include_preprocessing=True):
        assert (include_top, weights, include_preprocessing) == (False, "imagenet", False)
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "MobileNetV3Small", constructor)
    with pytest.raises(UserError, match=r"^`weights`.*MobileNetV3Small .*URL fetch failure"):
        imagenet_network("MobileNetV3Small")


@pytest.mark.slow
@pytest.mark.parametrize("name", class_names())
def test_every_application_can_be_split(name):
    backbone = build_backbone(f"applications:{name}", 96, 10)
    models = split_into_stages(backbone, "temporal")
    assert list(models.values())[-1].output_shape == backbone.network.output_shape
    keras.backend.clear_session()
