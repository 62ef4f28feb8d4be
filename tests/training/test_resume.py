import keras
import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.training.resume import load_state, save_state


def test_a_damaged_file_and_one_of_another_model_are_refused(tmp_path):
    path, saved = tmp_path / "s.npz", [keras.Variable(np.ones(3, "float32"))]
    save_state(path, saved, {"epoch": 3})
    with pytest.raises(UserError, match=r"s\.npz is of another model"):
        load_state(path, [keras.Variable(np.ones(5, "float32"))])
    content = path.read_bytes()
    for keep in (0, 10, 200):
        path.write_bytes(content[:keep])
        with pytest.raises(UserError, match=r"s\.npz is damaged"):
            load_state(path, saved)
