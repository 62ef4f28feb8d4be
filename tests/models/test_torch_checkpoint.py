"""PyTorch's checkpoints read without PyTorch."""

import collections
import pathlib
import pickle

import numpy as np
import pytest
from torch_files import Storage, Tensor, tensors, write_legacy, write_zip

from ccsn_tf.errors import UserError
from ccsn_tf.models.torch_checkpoint import read_torch_checkpoint

WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy])


def small_state():
    shared = Storage("0", np.arange(12, dtype="float32"))
    state = collections.OrderedDict(
        plain=Tensor(shared, 0, (3, 4), (4, 1)),
        transposed=Tensor(shared, 0, (4, 3), (1, 4)),
        tail=Tensor(shared, 6, (2, 3), (3, 1)),
        expanded=Tensor(shared, 5, (2, 2), (0, 1)),
        empty=Tensor(shared, 12, (0, 4), (4, 1)),
        scalar=Tensor(Storage("1", np.array([2**40], "int64")), 0, (), ()),
        half=Tensor(Storage("2", np.array([0.5, -2.0], "float16")), 0, (2,), (1,)),
        double=Tensor(Storage("3", np.array([1 / 3], "float64")), 0, (1,), (1,)),
    )
    state._metadata = {"": {"version": 1}}  # as in Module.state_dict()
    return state


@WRITERS
def test_reads_both_formats(tmp_path, torch, write):
    write(tmp_path / "net.pth", small_state(), torch)
    read = read_torch_checkpoint(tmp_path / "net.pth")
    assert list(read) == list(small_state())
    np.testing.assert_array_equal(read["plain"], np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(read["transposed"], np.arange(12).reshape(3, 4).T)
    np.testing.assert_array_equal(read["tail"], np.arange(6, 12).reshape(2, 3))
    np.testing.assert_array_equal(read["expanded"], [[5, 6], [5, 6]])
    assert read["empty"].shape == (0, 4)
    assert read["scalar"].shape == () and read["scalar"] == 2**40
    assert [read[name].dtype for name in ("plain", "half", "double")] == [np.float32, np.float16, np.float64]
    assert read["double"][0] == 1 / 3
    read["plain"][:] = 0  # memory of its own, in C order
    assert read["tail"][0, 0] == 6 and read["transposed"].flags.c_contiguous


class Touch:
    """Unpickled by the ordinary `pickle`, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@WRITERS
def test_runs_no_foreign_code(tmp_path, torch, write):
    victim = tmp_path / "victim"
    write(tmp_path / "net.pth", {"a": Touch(victim)}, torch)
    with pytest.raises(UserError, match=r"net\.pth is no readable .*: a is of __builtin__\.getattr"):
        read_torch_checkpoint(tmp_path / "net.pth")
    assert not victim.exists()


FLOATS = Storage("0", np.zeros(12, "float32"))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": Tensor(FLOATS, 6, (3, 3), (3, 1))}, "outside its storage"),
        ({"a": Tensor(FLOATS, -1, (2,), (1,))}, "outside its storage"),
        ([1, 2], "other than named tensors"),
        ({"state_dict": {"a": 3}}, "other than named tensors: a is of int"),
        ({"a": Tensor(Storage("0", np.zeros(2, "int8")), 0, (2,), (1,))}, r"torch\.CharStorage"),
    ],
)
def test_anything_but_a_state_dict_is_refused(tmp_path, torch, state, message):
    write_zip(tmp_path / "net.pth", state, torch)
    with pytest.raises(UserError, match=message):
        read_torch_checkpoint(tmp_path / "net.pth")


def test_damaged_missing_and_big_endian_files_are_named(tmp_path, torch):
    write_legacy(tmp_path / "cut.pth", small_state(), torch)
    data = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[:-4])
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "number.pth").write_bytes(pickle.dumps(7))
    write_legacy(tmp_path / "big.pth", small_state(), torch, little_endian=False)
    torch.view = ()
    write_zip(tmp_path / "big_zip.pth", small_state(), torch, byteorder=b"big")
    for name in ("cut", "text", "number", "big", "big_zip", "missing"):
        with pytest.raises(UserError, match=rf"{name}\.pth"):
            read_torch_checkpoint(tmp_path / f"{name}.pth")


@WRITERS
def test_what_a_training_program_saves_beside_the_weights_is_passed_over(tmp_path, torch, write):
    victim = tmp_path / "victim"
    state = tensors({"a": np.arange(6, dtype="float32").reshape(2, 3), "b": np.arange(2)})
    moments = Tensor(Storage("9", np.zeros(3, "float32")), 0, (3,), (1,))
    content = {
        "epoch": 80,
        "best_prec1": np.float64(0.5),
        "meta": {"victim": Touch(victim), "config": pathlib.PurePosixPath("x")},
        "optimizer": {"state": {0: {"momentum_buffer": moments}}},
        "state_dict": state,
    }
    write(tmp_path / "net.pth", content, torch)
    read = read_torch_checkpoint(tmp_path / "net.pth")
    assert list(read) == ["a", "b"]
    np.testing.assert_array_equal(read["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(read["b"], [0, 1])
    assert not victim.exists()


def test_the_oldest_form_of_tensors_and_parameters(tmp_path, torch):
    old = Tensor(Storage("0", np.arange(3, dtype="float32")), 0, (3,), (1,))
    old.kind, old.arguments = "_rebuild_tensor", old.arguments[:4]
    parameter = Tensor(None, 0, (), ())
    parameter.kind, parameter.arguments = "_rebuild_parameter", (old, True, collections.OrderedDict())
    write_legacy(tmp_path / "net.pth", {"a": old, "b": parameter}, torch)
    read = read_torch_checkpoint(tmp_path / "net.pth")
    np.testing.assert_array_equal(read["a"], [0, 1, 2])
    np.testing.assert_array_equal(read["b"], [0, 1, 2])
