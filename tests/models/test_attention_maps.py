import keras
import numpy as np
import pytest
import small_models

from ccsn_tf.models.attention_maps import clip_attention, last_attention_block

SEGMENTS = 3


def one_clip():
    return {name: values[0] for name, values in small_models.clips(number=1, segments=SEGMENTS).items()}


def entering(model, inputs):
    """The block and the maps that enter it."""
    block, batch = last_attention_block(model), {name: values[None] for name, values in inputs.items()}
    return block, keras.Model(model.inputs, block.input)(batch, training=False)


def test_connections_without_attention():
    model = small_models.kept("sum")
    assert last_attention_block(model) is None and clip_attention(model, one_clip()) is None


@pytest.mark.parametrize("connection", ["cross_attention", "nonlocal", "shared_affinity"])
def test_the_weights_are_those_of_the_messages(connection):
    model = small_models.kept(connection)
    block, maps = entering(model, one_clip())
    spatial, temporal = maps
    messages = block.messages(spatial, temporal)
    if connection == "shared_affinity":
        values, outputs = block.values, block.outputs
    else:
        sides = (block.to_spatial, block.to_temporal)
        values, outputs = [side["value"] for side in sides], [side["output"] for side in sides]
    sources = zip(block.attention_maps(maps), values, outputs, (temporal, spatial), messages, strict=True)
    for weights, value, output, other, message in sources:
        weights = np.asarray(weights)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        projected = np.asarray(value(other)).reshape(SEGMENTS, -1, block.heads, block.width // block.heads)
        gathered = np.einsum("nhqp,nphd->nqhd", weights, projected).reshape(*other.shape[:-1], block.width)
        np.testing.assert_allclose(output(gathered), message, rtol=1e-3, atol=1e-4)


def test_of_each_segment():
    model = small_models.kept()
    clip = one_clip()
    found = clip_attention(model, clip)
    block, maps = entering(model, clip)
    height, width = maps[0].shape[1:3]
    assert found.to_spatial.shape == found.to_temporal.shape == (SEGMENTS, height * width, height, width)
    for weights, expected in zip((found.to_spatial, found.to_temporal), block.attention_maps(maps), strict=True):
        flat = weights.reshape(SEGMENTS, height * width, -1)
        np.testing.assert_allclose(flat, np.asarray(expected).mean(axis=1), rtol=1e-5)
    # A segment does not depend on the others.
    alone = clip_attention(model, {name: part[1:2] for name, part in clip.items()})
    np.testing.assert_allclose(alone.to_spatial[0], found.to_spatial[1], rtol=1e-3, atol=1e-5)
    after = [np.asarray(joined) for joined in block(maps, training=False)]
    expected = [np.linalg.norm(b - np.asarray(a)) / np.linalg.norm(a) for a, b in zip(maps, after, strict=True)]
    np.testing.assert_allclose(found.changes, expected, rtol=1e-4)


def test_over_a_clip_each_segment_in_itself():
    model = small_models.kept(span="clip")
    found = clip_attention(model, one_clip())
    block, maps = entering(model, one_clip())
    positions = int(np.prod(maps[0].shape[2:4]))
    weights = np.asarray(block.attention_maps(maps)[1]).mean(axis=1)[0]
    for k in range(SEGMENTS):
        rows = slice(k * positions, (k + 1) * positions)
        np.testing.assert_allclose(found.to_temporal[k].reshape(positions, -1), weights[rows, rows], rtol=1e-5)
    assert (found.to_temporal.sum(axis=(2, 3)) < 1).all()


def test_the_block_nearest_to_the_output_and_a_model_that_stays_as_it_was():
    model, inputs = small_models.model(connect_at=("stage1", "stage2")), small_models.clips(number=1)
    assert last_attention_block(model).name == "connection_stage2"
    before = small_models.predict(model, inputs)
    layers, config, variables = [layer.name for layer in model.layers], model.get_config(), len(model.variables)
    clip_attention(model, one_clip())
    small_models.assert_same(small_models.predict(model, inputs), before)
    assert [layer.name for layer in model.layers] == layers and model.get_config() == config
    assert len(model.variables) == variables
