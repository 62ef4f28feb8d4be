import keras
import numpy as np
import pytest
import small_models

import ccsn_tf as ct
from ccsn_tf.losses import JointLoss
from ccsn_tf.models.connections.block import ConnectionBlock
from ccsn_tf.training.cooperation import CooperationState, block_shares


class Stretched(ConnectionBlock):
    """Adds `to_spatial` times the stream to RGB, and to flow likewise, whatever BatchNormalization would make of it."""

    def build_messages(self, shape):
        pass

    def messages(self, spatial, temporal):
        return spatial, temporal

    def call(self, inputs, training=None):
        spatial, temporal = inputs
        return 1.25 * spatial, 0.5 * temporal


def model(connection, split=False):
    built = ct.CCSN(3, small_models.backbone, connection=connection, image_size=32, embedding_dim=4)
    return built.split_at("first")[1] if split else built


def batch(of):
    rng = np.random.default_rng(0)
    shapes = {each.name: [2, *(size or 2 for size in each.shape[1:])] for each in of.inputs}
    return {name: rng.integers(0, 255, shape).astype("uint8") for name, shape in shapes.items()}


@pytest.mark.parametrize("split", [False, True])
def test_shares_are_those_of_each_block(split):
    whole = model(Stretched, split)
    shares = block_shares(whole, batch(whole))
    assert shares
    for name, share in shares.items():
        assert share == pytest.approx(0.25 if name.endswith("/spatial") else 0.5, rel=1e-5)
    assert block_shares(whole, batch(whole)) == shares  # and the blocks are as they were
    none = model(None)
    assert block_shares(none, batch(none)) == {}


@pytest.mark.parametrize(("inter", "connection", "warned"), [(0.6, "sum", 2), (0.3, Stretched, 0)])
def test_warns_once_of_what_does_nothing(inter, connection, warned):
    trained, said = model(connection), []
    trained.compile(keras.optimizers.SGD(), JointLoss(lambda_intra=0.0))
    state = CooperationState(lambda: batch(trained), said.append)
    state.set_model(trained)
    state.set_params({"epochs": 4})
    logs = {"intra": 0.6, "inter": inter}
    for epoch in range(4):
        state.on_epoch_end(epoch, logs)
        assert epoch > 1 or not said, "it may come yet"
    assert len(said) == warned and logs.keys() > {"intra", "inter"}
    assert not warned or ("--lr_mults" in said[0] and "--lambda_inter" in said[1])
