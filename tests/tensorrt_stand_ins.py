"""Stand-ins for what cannot be run here: a GPU by `cuda.core`, and `tensorrt` 10 and 11, which build on a GPU only.

The first keeps a GPU's memory in this process. An engine of a TensorRT's stand-in is the ONNX file itself:
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


class Core:
    """`cuda.core` with one GPU, whose memory is in this process; `open` holds the buffers and streams not closed."""

    def __init__(self, name="Stand-in GPU", capability=(8, 6), fail=""):
        self._device = types.SimpleNamespace(
            name=name,
            compute_capability=capability,
            set_current=lambda: None,
            create_stream=lambda: Closing(self, handle=2, sync=lambda: None),
            allocate=self._allocate,
        )
        self._fail, self.open = fail, []

    def Device(self, number):  # noqa: N802
        assert number == 0
        if self._fail == "Device":
            raise RuntimeError("no NVIDIA driver")
        return self._device

    def LegacyPinnedMemoryResource(self):  # noqa: N802
        return types.SimpleNamespace(allocate=lambda size: Buffer(self, size))

    def _allocate(self, size, *, stream):
        assert stream in self.open
        if self._fail == "allocate":
            raise MemoryError("CUDA_ERROR_OUT_OF_MEMORY:\n no more")
        return Buffer(self, size)


class Closing(types.SimpleNamespace):
    def __init__(self, core, **attributes):
        super().__init__(**attributes)
        self.core = core
        core.open.append(self)

    def __eq__(self, other):
        return self is other

    def close(self):
        self.core.open.remove(self)


class Buffer(Closing):
    def __init__(self, core, size):
        super().__init__(core, size=size, memory=np.zeros(size, np.int8))
        self.handle = self.memory.ctypes.data

    def __dlpack__(self, **options):
        return self.memory.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.memory.__dlpack_device__()

    def copy_from(self, source, *, stream):
        assert stream in self.core.open and source.size == self.size
        self.memory[:] = source.memory


def tensorrt(version="10.13.3", **faults):
    """A module like `tensorrt`, of 10 (networks are strongly typed on request) or 11 (always).

    Args:
        version: of it.
        faults: `loads=False`, engines do not; `gpu=False`, there is none.

    Returns:
        The module; `made` holds the builder configurations.
    """
    made = []
    flags = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1} if version.startswith("10.") else {"EXPLICIT_BATCH": 0}

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class Builder:
        def __init__(self, log):
            if not faults.get("gpu", True):
                log.log(ILogger.ERROR, "Stand-in:\n no CUDA")
                raise TypeError("factory function returned nullptr")

        def create_network(self, given):
            assert given == (1 << 1 if "STRONGLY_TYPED" in flags else 0), "the network would be weakly typed"
            return Network()

        def create_builder_config(self):
            made.append(BuilderConfig())
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
    module.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", flags)
    module.BuilderFlag = enum.IntEnum("BuilderFlag", {"TF32": 7})
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
    """What was set: `cleared`, `profile`."""

    def __init__(self):
        self.cleared = []

    def clear_flag(self, flag):
        self.cleared.append(flag.name)

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
