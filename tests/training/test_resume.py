import keras
import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.training.resume import load_state, save_state


def make(units=3):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dropout(0.5)])
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def variables(units=3):
    model, optimizer = make(units)
    return [*model.variables, *optimizer.variables]


def test_everything_comes_back(tmp_path):
    model, optimizer = make()
    optimizer.apply([keras.ops.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    model(np.ones((2, 4), "float32"), training=True)  # moves the dropout's random state
    saved, loaded = [*model.variables, *optimizer.variables], variables()
    save_state(tmp_path / "s.npz", saved, {"epoch": 3, "rows": [{"loss": 0.1}]})
    assert load_state(tmp_path / "s.npz", loaded) == {"epoch": 3, "rows": [{"loss": 0.1}]}
    for mine, theirs in zip(saved, loaded, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_other_model_is_refused(tmp_path):
    save_state(tmp_path / "s.npz", variables(), {})
    with pytest.raises(UserError, match="of another model"):
        load_state(tmp_path / "s.npz", variables(units=5))


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_damaged_file_is_named(tmp_path, keep):
    path = tmp_path / "s.npz"
    save_state(path, variables(), {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"s\.npz is damaged"):
        load_state(path, variables())
