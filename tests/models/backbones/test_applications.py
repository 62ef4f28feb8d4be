"""keras.applications as backbones: the stages found, the pixel scaling, the copy of weights."""

import keras
import numpy as np
import pytest
from keras import layers

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import applications, backbone_names, build_backbone
from ccsn_tf.models.backbones.applications import find_stages, imagenet_network
from ccsn_tf.models.backbones.backbone import Backbone, split_into_stages


def shapes_of(class_name, size, channels):
    backbone = build_backbone(f"applications:{class_name}", size, channels)
    models = split_into_stages(backbone, "spatial")
    return backbone, {stage: model.output_shape[1:] for stage, model in models.items()}


def test_residual_network():
    backbone, shapes = shapes_of("ResNet50", 32, 3)
    assert backbone.stages == {
        "stage1": "conv1_relu",  # not the padding in front of the pooling
        "stage2": "conv2_block3_out",
        "stage3": "conv3_block4_out",
        "stage4": "conv4_block6_out",
        "stage5": "conv5_block3_out",
    }
    assert list(shapes.values()) == [(16, 16, 64), (8, 8, 256), (4, 4, 512), (2, 2, 1024), (1, 1, 2048)]
    assert backbone.default_connect_at == ("stage4",)


def test_inverted_bottlenecks_are_cut_where_they_are_narrow():
    backbone, shapes = shapes_of("MobileNetV2", 32, 10)
    assert list(backbone.stages.values()) == [
        "expanded_conv_project_BN",
        "block_2_add",
        "block_5_add",
        "block_12_add",
        "out_relu",
    ]
    assert list(shapes.values()) == [(16, 16, 16), (8, 8, 24), (4, 4, 32), (2, 2, 96), (1, 1, 1280)]


def test_plain_network_leaves_out_the_input_resolution():
    backbone, _ = shapes_of("VGG16", 32, 3)
    assert list(backbone.stages.values()) == [
        "block2_conv2",
        "block3_conv3",
        "block4_conv3",
        "block5_conv3",
        "block5_pool",
    ]


def test_widening_by_two_is_no_expansion():
    backbone, _ = shapes_of("MobileNet", 64, 3)
    assert backbone.stages["stage1"] == "conv_pw_1_relu"


def test_a_sum_that_is_no_layer_can_end_a_stage():
    image = keras.Input((16, 16, 3), name="image")
    stem = layers.Conv2D(4, 3, 2, "same", name="stem")(image)
    total = layers.Conv2D(4, 3, padding="same", name="branch")(stem) + stem  # as ConvNeXt writes it
    network = keras.Model(image, layers.Conv2D(8, 2, 2, name="out")(total), name="net")
    sum_name = next(operation.name for operation in network.operations if not isinstance(operation, keras.Layer))
    assert find_stages(network) == {"stage1": sum_name, "stage2": "out"}


def test_a_network_that_never_shrinks_is_one_stage():
    image = keras.Input((8, 8, 3), name="image")
    network = keras.Model(image, layers.Conv2D(4, 3, padding="same", name="out")(image))
    assert find_stages(network) == {"stage1": "out"}


def test_default_connection_is_the_last_map_where_the_one_before_is_far_larger():
    image = keras.Input((64, 64, 3), name="image")
    x = layers.Conv2D(4, 3, 2, "same", name="stem")(image)
    far = keras.Model(image, layers.AveragePooling2D(16, name="out")(x), name="far")
    near = keras.Model(image, layers.AveragePooling2D(2, name="out")(x), name="near")
    for network, stage in ((far, "stage2"), (near, "stage1")):
        assert applications.default_connection(network, find_stages(network)) == stage


def test_preprocessing_inside_the_network_is_left_out():
    network = build_backbone("applications:MobileNetV3Small", 32, 3).network
    assert not [layer for layer in network.layers if isinstance(layer, layers.Rescaling)]


MODULES = {
    "ResNet50": "resnet",
    "ResNet50V2": "resnet_v2",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "Xception": "xception",
    "NASNetMobile": "nasnet",
    "DenseNet121": "densenet",
}


@pytest.mark.parametrize("class_name", MODULES)
def test_scaling_is_that_of_keras(class_name):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("float32")
    expected = getattr(keras.applications, MODULES[class_name]).preprocess_input(pixels.copy())
    np.testing.assert_allclose(np.asarray(applications.scaling_of(class_name).apply(pixels)), expected, atol=1e-4)


@pytest.mark.parametrize(
    "class_name",
    [
        "MobileNetV3Small",
        "EfficientNetV2B0",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("EfficientNetV2S", "ConvNeXtTiny")),
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
    np.testing.assert_allclose(
        np.asarray(applications.scaling_of(class_name).apply(pixels)), np.asarray(inside), atol=1e-4
    )


@pytest.mark.parametrize(
    ("class_name", "size", "message"),
    [
        ("ResNet5O", 64, r"`backbone`.*ResNet5O .*ResNet50,"),
        ("EfficientNetB0", 64, r"`backbone`.*EfficientNetB0"),
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
@pytest.mark.parametrize("name", [name for name in backbone_names() if name.startswith("applications:")])
def test_every_application_can_be_split(name):
    backbone = build_backbone(name, 96, 10)
    models = split_into_stages(backbone, "temporal")
    assert isinstance(backbone, Backbone)
    assert list(models.values())[-1].output_shape == backbone.network.output_shape
    keras.backend.clear_session()
