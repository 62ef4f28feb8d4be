import keras
import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.training.checkpoints import load_state, save_state


def make(units=3):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dropout(0.5)])
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def test_everything_comes_back(tmp_path):
    model, optimizer = make()
    optimizer.apply([keras.ops.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    model(np.ones((2, 4), "float32"), training=True)  # moves the dropout's random state
    save_state(tmp_path / "s.npz", model, optimizer, {"epoch": 3, "rows": [{"loss": 0.1}]})
    other, other_optimizer = make()
    assert load_state(tmp_path / "s.npz", other, other_optimizer) == {"epoch": 3, "rows": [{"loss": 0.1}]}
    pairs = zip([*model.variables, *optimizer.variables], [*other.variables, *other_optimizer.variables], strict=True)
    for mine, theirs in pairs:
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_other_model_is_refused(tmp_path):
    save_state(tmp_path / "s.npz", *make(), {})
    with pytest.raises(UserError, match="of another model"):
        load_state(tmp_path / "s.npz", *make(units=5))


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_damaged_file_is_named(tmp_path, keep):
    path = tmp_path / "s.npz"
    save_state(path, *make(), {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"s\.npz is damaged"):
        load_state(path, *make())
