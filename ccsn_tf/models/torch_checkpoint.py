"""Reads PyTorch checkpoints without PyTorch, and without running any code that a file may hold."""

import collections
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ccsn_tf.errors import UserError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}


def read_torch_checkpoint(path) -> dict[str, np.ndarray]:
    """Reads a PyTorch state dict, by itself or as the entry `state_dict` of what a training program has saved.

    Both of `torch.save`'s formats are read: the zip archive of PyTorch 1.6 and later, and the file of consecutive
    pickles before that. Little-endian, dense tensors of float16, float32, float64 or int64. Whatever else a training
    program has put beside the weights is passed over.

    Args:
        path: file written by `torch.save(model.state_dict(), path)` or `torch.save({"state_dict": ...}, path)`.

    Returns:
        dict of name -> contiguous array of its own memory, in the file's order.

    Raises:
        UserError: no such file, or it holds anything else; the sentence names the file.
    """
    try:
        with open(path, "rb") as file:
            state, storages = _read_archive(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        return {name: _array(tensor, storages[tensor.key]) for name, tensor in state.items()}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; give the path of a PyTorch checkpoint.") from error
    except Exception as error:  # a damaged pickle can raise almost anything
        raise UserError(
            f"{path} is no readable PyTorch state dict ({error}); write it with torch.save(model.state_dict(), ...)."
        ) from error


class _Tensor(NamedTuple):
    """A view of the storage `key`, whose dtype may be a `_Foreign` class; offset and strides count elements."""

    key: str
    dtype: Any
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Foreign:
    """Stands for an object of a class that is not known here: takes what the pickle gives it, and does nothing."""

    origin = ""

    def __init__(self, *arguments, **named):
        pass

    def _ignore(self, *arguments, **named):
        return self

    __call__ = __setstate__ = __setitem__ = append = extend = _ignore


class _Unpickler(pickle.Unpickler):
    """Knows the few globals of a state dict; every other becomes a `_Foreign`, so that no foreign code runs.

    Attributes:
        dtypes: key -> dtype of every storage that was referred to.
    """

    def __init__(self, file):
        super().__init__(file, encoding="latin1")  # of Python 2, whose strings may hold bytes
        self.dtypes = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(*storage, offset, shape, strides)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return np.dtype(_STORAGE_DTYPES[name])
        return type(name, (_Foreign,), {"origin": f"{module}.{name}"})

    def persistent_load(self, pid):
        kind, dtype, key, _device, _count, *view = pid
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"unknown reference {pid}")
        self.dtypes[key] = dtype
        return key, dtype


def _read_archive(file: BinaryIO) -> tuple[Mapping[str, _Tensor], dict[str, bytes]]:
    """The zip format: `<top>/data.pkl`, and one member `<top>/data/<key>` a storage."""
    with zipfile.ZipFile(file) as archive:
        top = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        if f"{top}byteorder" in archive.namelist() and archive.read(f"{top}byteorder") != b"little":
            raise ValueError("it is big-endian")
        with archive.open(f"{top}data.pkl") as pickled:
            state = _state_dict(_Unpickler(pickled).load())
        return state, {key: archive.read(f"{top}data/{key}") for key in {tensor.key for tensor in state.values()}}


def _read_legacy(file: BinaryIO) -> tuple[Mapping[str, _Tensor], dict[str, bytes]]:
    """The older format: magic number, version, platform, state dict and storage keys pickled; then the storages."""
    file.seek(0)
    if _Unpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("its magic number is not PyTorch's")
    _version, platform = (_Unpickler(file).load() for _ in range(2))
    if not platform["little_endian"]:
        raise ValueError("it is big-endian")
    unpickler = _Unpickler(file)
    state, storages = _state_dict(unpickler.load()), {}
    for key in _Unpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = file.read(count * _known(unpickler.dtypes[key]).itemsize)
    return state, storages


def _state_dict(content) -> Mapping[str, _Tensor]:
    """The named tensors of a checkpoint."""
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping):
        raise ValueError("it holds something other than named tensors")
    for name, value in state.items():
        if not isinstance(value, _Tensor):
            kind = value.origin if isinstance(value, _Foreign) else type(value).__name__
            raise ValueError(f"it holds something other than named tensors: {name} is of {kind}")
    return state


def _known(dtype) -> np.dtype:
    if not isinstance(dtype, np.dtype):
        raise ValueError(f"a tensor is stored as {getattr(dtype, 'origin', dtype)}")
    return dtype


def _array(tensor: _Tensor, storage: bytes) -> np.ndarray:
    flat = np.frombuffer(storage, _known(tensor.dtype))
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (math.prod(tensor.shape) and last >= flat.size):
        raise ValueError("a tensor reaches outside its storage")  # as_strided itself checks nothing
    strides = [stride * flat.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides).copy()
