import keras
import numpy as np
import pytest
import tensorflow as tf

from ccsn_tf.training.averaging import WeightAverage


def plain(values, start, momentum):
    average = np.float32(start)
    for count, value in enumerate(values):
        average = average + (1 - min(momentum, (1 + count) / (10 + count))) * (value - average)
    return average


@pytest.mark.parametrize("momentum", [0.3, 0.999])
def test_follows_the_formula(momentum):
    weight = keras.Variable(np.float32([1.0, -2.0]))
    ema, strategy = WeightAverage([weight], momentum), tf.distribute.get_strategy()
    update, values = tf.function(lambda: ema.update(strategy)), []
    for step in range(5):
        weight.assign([step, step**2])
        values.append(np.float32([step, step**2]))
        update()
    with ema.in_place():
        np.testing.assert_allclose(weight.numpy(), plain(values, [1.0, -2.0], momentum), rtol=1e-6)


def test_own_weights_come_back_bit_for_bit():
    rng = np.random.default_rng(0)
    weights = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in ((3, 4), (5,))]
    ema = WeightAverage(weights, 0.9)
    for weight in weights:
        weight.assign(rng.normal(size=weight.shape))
    ema.update(tf.distribute.get_strategy())
    before = [weight.numpy() for weight in weights]
    with pytest.raises(KeyError), ema.in_place():
        assert all(np.any(weight.numpy() != old) for weight, old in zip(weights, before, strict=True))
        raise KeyError
    for weight, old in zip(weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)


def test_variables_restore_it():
    weight = keras.Variable(np.float32([1.0]))
    ema, again = WeightAverage([weight], 0.9), WeightAverage([weight], 0.9)
    weight.assign([3.0])
    for _ in range(3):
        ema.update(tf.distribute.get_strategy())
    for mine, theirs in zip(again.variables, ema.variables, strict=True):
        mine.assign(theirs.value)
    for average in (ema, again):
        average.update(tf.distribute.get_strategy())
    np.testing.assert_array_equal(again.variables[0].numpy(), ema.variables[0].numpy())
    assert again.variables[-1].numpy() == 4


def test_two_replicas_average_as_one(two_replicas):
    with two_replicas.scope():
        weight = keras.Variable(np.float32([1.0, 2.0]))
        ema = WeightAverage([weight], 0.9)
    weight.assign([2.0, 4.0])
    tf.function(lambda: ema.update(two_replicas))()
    np.testing.assert_allclose(ema.variables[0].numpy(), [1.9, 3.8], rtol=1e-6)
    for copy in two_replicas.experimental_local_results(ema.variables[0].value):
        np.testing.assert_allclose(copy.numpy(), [1.9, 3.8], rtol=1e-6)
