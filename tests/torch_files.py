"""Writes PyTorch's files without PyTorch."""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class Storage:
    def __init__(self, key, data):
        self.key, self.data = key, np.asarray(data)


class Tensor:
    """A view of a storage; offset and strides in elements, as PyTorch counts them."""

    kind = "_rebuild_tensor_v2"

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
        return (
            (getattr(self.torch._utils, thing.kind), thing.arguments) if isinstance(thing, Tensor) else NotImplemented
        )


@pytest.fixture
def torch(monkeypatch):
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in (*STORAGES.values(), "CharStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
        exec(f"def {name}(*arguments): raise AssertionError('ran')", utils.__dict__)
        getattr(utils, name).__module__ = "torch._utils"
    torch._utils, torch.view = utils, ()
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def storages_of(thing):
    """The storages of all tensors in nested dicts, each once."""
    if isinstance(thing, Storage):
        return [thing]
    parts = thing.values() if isinstance(thing, dict) else getattr(thing, "arguments", ())[:1]
    return list({storage.key: storage for part in parts for storage in storages_of(part)}.values())


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


def tensors(arrays):
    """{name: array} as the state dict of a module."""
    state = collections.OrderedDict()
    for number, (name, array) in enumerate(arrays.items()):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        state[name] = Tensor(Storage(str(number), array.reshape(-1)), 0, array.shape, strides)
    return state
