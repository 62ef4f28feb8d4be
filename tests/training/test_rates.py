import keras
import numpy as np
import pytest

from ccsn_tf.config import DataConfig, ModelConfig, TrainConfig
from ccsn_tf.models.build import build_model
from ccsn_tf.training.optimizer import make_optimizer
from ccsn_tf.training.rates import rate_factors

CLASSES = ("a", "b")


@pytest.fixture(scope="module")
def model():
    return build_model(ModelConfig(image_size=16, flow_length=2), CLASSES)


def factors_by_path(model, **settings):
    """{(owner, variable): factor}, the owner being the layer as the model or its stream's network calls it."""
    factors = rate_factors(model, TrainConfig(**settings))
    found = {}
    for stream in ("spatial", "temporal"):
        for layer in model.network(stream).layers:
            for variable in layer.trainable_variables:
                found[f"{stream}:{layer.name}/{variable.name}"] = factors.pop(id(variable), 1.0)
    for layer in model.layers:
        for variable in layer.trainable_variables:
            if id(variable) in factors:
                found[f"{layer.name}/{variable.name}"] = factors.pop(id(variable))
    assert not factors
    return found


def test_all_ones_is_no_factor(model):
    assert rate_factors(model, TrainConfig()) == {}


def test_factors_multiply_where_they_meet(model):
    factors = factors_by_path(model, temporal_rate=3.0, temporal_stem_rate=5.0, bias_rate=2.0)
    assert factors["temporal:stem_conv/kernel"] == 15
    assert factors["temporal:stage2_1_conv/kernel"] == 3
    assert factors["temporal:stem_bn/gamma"] == 3
    assert factors["temporal_logits/kernel"] == 3 and factors["temporal_logits/bias"] == 6
    assert factors["temporal_projection/kernel"] == 3
    assert factors["spatial_logits/bias"] == 2 and factors["feature_logits/bias"] == 2
    assert "spatial_logits/kernel" not in factors and "feature_logits/kernel" not in factors
    assert all(factor == 1 for name, factor in factors.items() if name.startswith("spatial:"))
    joint = {name: factor for name, factor in factors.items() if name.startswith("connection_")}
    assert set(joint.values()) == {2} and all(name.endswith("/bias") for name in joint)


def test_every_temporal_variable_is_reached(model):
    factors = rate_factors(model, TrainConfig(temporal_rate=0.0))
    frozen = {id(v) for v in model.network("temporal").trainable_variables}
    heads = {id(v) for name in ("temporal_logits", "temporal_projection") for v in model.get_layer(name).weights}
    assert set(factors) == frozen | heads and set(factors.values()) == {0.0}


def test_learnable_flow_has_a_rate_of_its_own():
    settings = ModelConfig(image_size=16, flow_length=2, flow_source="graph", learnable_flow=True)
    model = build_model(settings, CLASSES, data=DataConfig(tvl1_warps=(1,), tvl1_iterations=(2,)))
    factors = rate_factors(model, TrainConfig(flow_rate=30.0))
    flow = model.get_layer("temporal_flow").trainable_variables
    assert len(flow) == 6 and factors == {id(variable): 30.0 for variable in flow}
    both = rate_factors(model, TrainConfig(flow_rate=30.0, temporal_rate=2.0))
    assert {both[id(variable)] for variable in flow} == {60.0}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_factor_scales_the_step(name, precision):
    variables = [keras.Variable(np.ones(2, "float32")) for _ in range(3)]
    config = TrainConfig(
        optimizer=name, learning_rate=0.1, weight_decay=0.0, warmup_epochs=0.0, schedule="constant", precision=precision
    )
    optimizer = make_optimizer(config, 1, {id(variables[1]): 3.0, id(variables[2]): 0.0})
    optimizer.build(variables)
    scale = optimizer.scale_loss(1.0)
    optimizer.apply([keras.ops.full((2,), 0.5 * float(scale))] * 3, variables)
    plain, tripled, frozen = (1 - variable.numpy() for variable in variables)
    assert np.all(plain > 0.01)
    np.testing.assert_allclose(tripled, 3 * plain, rtol=1e-5)
    np.testing.assert_array_equal(frozen, 0)


def test_connection_blocks_have_a_rate_of_their_own(model):
    factors = factors_by_path(model, connection_rate=10.0, bias_rate=2.0)
    assert {name.split("/")[0] for name in factors if factors[name] >= 10} == {"connection_stage2"}
    block = {name: factor for name, factor in factors.items() if name.startswith("connection_stage2/")}
    assert set(block.values()) == {10.0, 20.0} and block["connection_stage2/gamma"] == 10
    assert all(factors[name] in (1, 2) for name in factors if name not in block)
