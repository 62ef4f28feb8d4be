"""Pixels to normalised images, clips to images and back, and weighted sums."""

import keras
import numpy as np
import pytest
from layers import POLICIES, arrays, dtype_policy, features, run_layer_test

from ccsn_tf.models.heads import WeightedSum
from ccsn_tf.models.inputs import FoldSegments, InputNormalization, UnfoldSegments


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


@pytest.mark.parametrize(
    ("layer", "arguments", "inputs", "output_dtype"),
    [
        (InputNormalization, {"mean": 127.5, "scale": 1 / 127.5}, pixels(2, 3, 4, 5, 10), None),
        (
            InputNormalization,
            {"mean": (1.5, 20.0, 3.0), "scale": (0.1, 0.2, 0.3), "reverse_channels": True},
            pixels(2, 3, 4, 5, 3),
            None,
        ),
        (UnfoldSegments, {}, [features(6, 4, 5, 8), pixels(2, 3, 1)], None),
        (UnfoldSegments, {"dtype": "float32"}, [features(6, 8), pixels(2, 3, 4, 4, 3)], "float32"),
        (FoldSegments, {}, features(2, 3, 4, 5, 8), None),
        (WeightedSum, {"weights": (1.0, 1.5, 0.0)}, [features(2, 5, seed=i) for i in range(3)], None),
    ],
)
def test_layer(layer, arguments, inputs, output_dtype):
    run_layer_test(layer, arguments, inputs, output_dtype=output_dtype)


def test_normalization_clip_by_clip():
    clips = pixels(2, 3, 4, 5, 3)
    mean, scale = (103.0, 116.0, 123.0), (0.5, 0.25, 2.0)
    images = np.asarray(InputNormalization(mean, scale, reverse_channels=True)(clips))
    assert images.shape == (6, 4, 5, 3)
    for clip in range(2):
        for segment in range(3):
            for channel in range(3):
                expected = (clips[clip, segment, ..., 2 - channel].astype("float32") - mean[channel]) * scale[channel]
                np.testing.assert_array_equal(images[3 * clip + segment, ..., channel], expected)


@pytest.mark.parametrize("policy", POLICIES)
def test_normalization_rounds_once(policy):
    clips = np.arange(256, dtype="uint8").reshape(1, 1, 16, 16, 1)
    with dtype_policy(policy):
        images = np.asarray(InputNormalization(127.0, 1 / 128)(clips))
    exact = (clips[0].astype("float32") - 127) / 128
    np.testing.assert_array_equal(images, exact.astype(images.dtype))  # not of a difference of rounded bytes


def test_normalization_reads_the_lists_of_json():
    clips = pixels(1, 1, 2, 2, 3)
    layer, twin = (InputNormalization(kind((1.0, 2.0, 3.0)), kind((0.1, 0.2, 0.3))) for kind in (tuple, list))
    np.testing.assert_array_equal(np.asarray(layer(clips)), np.asarray(twin(clips)))


@pytest.mark.parametrize("segments", [1, 2, 3, 6])
def test_unfold_undoes_fold_for_any_number_of_segments(segments):
    clips = features(6 // segments, segments, 4, 5, 2)
    folded = FoldSegments()(clips)
    np.testing.assert_array_equal(np.asarray(folded), clips.reshape(6, 4, 5, 2))
    unfolded = UnfoldSegments()([folded, np.zeros(clips.shape[:2], "uint8")])
    np.testing.assert_array_equal(np.asarray(unfolded), clips)


def test_unfold_keeps_the_dtype_of_what_it_unfolds():
    with dtype_policy("mixed_bfloat16"):
        unfold = UnfoldSegments()
        image, reference = keras.Input((4, 4, 8), dtype="bfloat16"), keras.Input((None, 9), dtype="uint8")
        maps = unfold([image, reference])
    assert (maps.shape, maps.dtype) == ((None, None, 4, 4, 8), "bfloat16")


def test_weighted_sum():
    first, second = features(2, 5), features(2, 5, seed=1)
    (total,) = arrays(WeightedSum([1.0, 1.5])([first, second]))
    np.testing.assert_array_equal(total, first + np.float32(1.5) * second)


def test_weighted_sum_needs_a_weight_for_every_input():
    with pytest.raises(ValueError):
        WeightedSum([1.0, 1.0])([features(2, 5)] * 3)
