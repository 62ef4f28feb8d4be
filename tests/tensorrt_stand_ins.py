"""Stand-ins for what cannot be run here: NVIDIA's driver, and `tensorrt` 10 and 11, which build on a GPU only.

The driver's stand-in keeps a GPU's memory in this process. An engine of a TensorRT's stand-in is the ONNX file itself:
it computes with ONNX Runtime from and to the memory that it is given. They show that our side of the conversation is
right, and nothing about NVIDIA's.
"""

import ctypes
import enum
import types

import numpy as np
import onnx
import onnxruntime

from ccsn_tf.serving.onnx.graph import shape_of

OUT_OF_MEMORY = 2
NUMPY = {onnx.TensorProto.UINT8: np.uint8, onnx.TensorProto.FLOAT: np.float32}


class Driver:
    """libcuda with one GPU; `blocks` {address: memory}, `calls` the names of what was called."""

    def __init__(self, name="Stand-in GPU", capability="8.6", fail="", status=OUT_OF_MEMORY):
        self._name, self._capability = name, capability
        self._fail, self._status = fail, status
        self.blocks, self.calls = {}, []

    def __getattr__(self, name):
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append(name)
            if name == self._fail:
                return self._status
            getattr(self, f"_{name}", lambda *_: None)(*arguments)
            return 0

        return call

    def cuGetErrorString(self, status, text):  # noqa: N802
        text._obj.value = b"out of memory" if status == OUT_OF_MEMORY else None

    def _cuDeviceGetName(self, buffer, size, device):  # noqa: N802
        buffer.value = self._name.encode()[: size - 1]

    def _cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        value._obj.value = int(self._capability.split(".")[attribute - 75])

    def _cuDevicePrimaryCtxRetain(self, context, device):  # noqa: N802
        context._obj.value = 1

    def _cuStreamCreate(self, stream, flags):  # noqa: N802
        stream._obj.value = 2

    def _cuMemAlloc_v2(self, pointer, size):  # noqa: N802
        block = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(block)
        self.blocks[ctypes.addressof(block)] = block

    def _cuMemFree_v2(self, pointer):  # noqa: N802
        del self.blocks[pointer.value]

    def _cuMemcpyHtoDAsync_v2(self, pointer, memory, size, stream):  # noqa: N802
        assert size.value <= len(self.blocks[pointer.value]) and stream.value == 2
        ctypes.memmove(pointer.value, memory, size.value)

    def _cuMemcpyDtoHAsync_v2(self, memory, pointer, size, stream):  # noqa: N802
        assert size.value <= len(self.blocks[pointer.value]) and stream.value == 2
        ctypes.memmove(memory, pointer.value, size.value)


def tensorrt(version="10.13.3", **faults):
    """A module like `tensorrt`, of 10 (networks are strongly typed on request) or 11 (always).

    Args:
        version: of it.
        faults: `loads=False`, engines do not; `takes_cache=False`, timing caches are not taken.

    Returns:
        The module; `made` holds the builder configurations.
    """
    made = []
    flags = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1} if version.startswith("10.") else {"EXPLICIT_BATCH": 0}

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class Builder:
        def __init__(self, log):
            self._log = log

        def create_network(self, given):
            assert given == (1 << 1 if "STRONGLY_TYPED" in flags else 0), "the network would be weakly typed"
            return Network()

        def create_builder_config(self):
            made.append(BuilderConfig(faults.get("takes_cache", True)))
            return made[-1]

        def create_optimization_profile(self):
            return Profile()

        def build_serialized_network(self, network, config):
            assert network.content and {t.name for t in network.inputs} == set(config.profile.shapes)
            return b"PLAN" + network.content

    class OnnxParser:
        num_errors = 0

        def __init__(self, network, log):
            self._network = network

        def parse(self, content):
            self._network.read(content)
            return True

    class Runtime:
        def __init__(self, log):
            self._log = log

        def deserialize_cuda_engine(self, plan):
            if not faults.get("loads", True):
                self._log.log(ILogger.ERROR, "Stand-in:\n no memory")
                return None
            return Engine(plan.removeprefix(b"PLAN"))

    module = types.ModuleType("tensorrt")
    enums = {
        "NetworkDefinitionCreationFlag": flags,
        "BuilderFlag": {"TF32": 7},
        "MemoryPoolType": {"WORKSPACE": 0},
    }
    for name, members in enums.items():
        setattr(module, name, enum.IntEnum(name, members))
    for made_class in (ILogger, Builder, OnnxParser, Runtime):
        setattr(module, made_class.__name__, made_class)
    module.__version__, module.get_nv_onnx_parser_version, module.made = version, lambda: 101300, made
    return module


class Network:
    content = b""

    def read(self, content):
        self.content, graph = content, onnx.load_model_from_string(content).graph
        self.inputs, self._outputs = ([_tensor(value) for value in part] for part in (graph.input, graph.output))
        self.num_inputs, self.num_outputs = len(self.inputs), len(self._outputs)

    def get_input(self, index):
        return self.inputs[index]

    def get_output(self, index):
        return self._outputs[index]


def _tensor(value):
    names = {onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.FLOAT: "FLOAT"}
    shape = tuple(-1 if size is None else size for size in shape_of(value))
    dtype = types.SimpleNamespace(name=names[value.type.tensor_type.elem_type])
    return types.SimpleNamespace(name=value.name, shape=shape, dtype=dtype)


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, least, usual, most):
        self.shapes[name] = (least, usual, most)


class BuilderConfig:
    """What was set: `cleared`, `pools`, `cache`, `profile`."""

    __slots__ = ("cache", "cleared", "pools", "profile", "takes_cache")

    def __init__(self, takes_cache):
        self.takes_cache, self.cleared, self.pools, self.cache = takes_cache, [], {}, None

    def clear_flag(self, flag):
        self.cleared.append(flag.name)

    def set_memory_pool_limit(self, pool, size):
        self.pools[pool.name] = size

    def create_timing_cache(self, content):
        return types.SimpleNamespace(serialize=lambda: content + b"timed;")

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        self.cache = cache
        return self.takes_cache

    def get_timing_cache(self):
        return self.cache

    def add_optimization_profile(self, profile):
        self.profile = profile


class Engine:
    def __init__(self, content):
        self._content = content

    def create_execution_context(self):
        return Context(onnxruntime.InferenceSession(self._content, providers=["CPUExecutionProvider"]))


class Context:
    def __init__(self, session):
        self._session, self._shapes, self._addresses = session, {}, {}

    def set_input_shape(self, name, shape):
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name):
        (shape,) = (output.shape for output in self._session.get_outputs() if output.name == name)
        return (next(iter(self._shapes.values()))[0], *shape[1:])

    def execute_async_v3(self, stream):
        assert stream == 2
        inputs = {}
        for name, shape in self._shapes.items():
            memory = (ctypes.c_uint8 * int(np.prod(shape))).from_address(self._addresses[name])
            inputs[name] = np.frombuffer(memory, np.uint8).reshape(shape)
        names = [output.name for output in self._session.get_outputs()]
        for name, value in zip(names, self._session.run(names, inputs), strict=True):
            ctypes.memmove(self._addresses[name], value.ctypes.data, value.nbytes)
        return True
