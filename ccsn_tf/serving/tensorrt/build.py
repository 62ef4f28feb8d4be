"""An ONNX file to a TensorRT engine: one code path for the two TensorRTs.

They are `tensorrt`, 10 or 11, which builds on the GPU that it builds for, and `tensorrt_rtx`, which needs none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import pathlib
import types

from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file
from ccsn_tf.serving import optional
from ccsn_tf.serving.tensorrt.cuda import Gpu

MODULES = ("tensorrt", "tensorrt_rtx")

# Where nothing else is asked for and no GPU is there to build for: RTX 30, 40, 50 and A100.
DEFAULT_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")

_BOUNDS = ("min", "opt", "max")


def load_tensorrt(name: str = "auto") -> types.ModuleType:
    """One of `MODULES`; "auto": the first that is installed.

    Raises:
        UserError: it is not installed.
    """
    if name == "auto":
        with contextlib.suppress(UserError):
            return load_tensorrt("tensorrt")
    if name != "tensorrt":
        return optional("tensorrt_rtx", "tensorrt")
    try:
        return importlib.import_module("tensorrt")
    except Exception as error:  # the package on PyPI is a stub, which may fail in ways of its own
        raise UserError(
            f"--module=tensorrt cannot be imported ({error}): pip install tensorrt; or use --module=tensorrt_rtx."
        ) from None


def is_rtx(trt: types.ModuleType) -> bool:
    """Whether it is TensorRT for RTX, which is told the GPUs to build for."""
    return hasattr(trt, "ComputeCapability")


def logger_of(trt: types.ModuleType) -> object:
    """A logger that keeps the `errors` that it is told of; empty to begin with.

    It is the same one each time: while anything that TensorRT made is alive, it ignores any other logger.
    """
    log = _logger(trt)
    log.errors.clear()
    return log


@functools.cache
def _logger(trt):
    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)
            self.errors = []

        def log(self, severity, message):
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def first_line(messages: list[str]) -> str:
    """The first of TensorRT's messages, as a part of a sentence."""
    return " ".join(messages[0].split())[:600] if messages else "it gives no reason"


@dataclasses.dataclass(frozen=True)
class BuildSettings:
    """What an engine is built for.

    Args:
        batch, segments: (least, most likely, most) that a call may have; the engine is tuned for the middle ones.
        workspace_mb: memory that it may use beside weights and activations; 0: as TensorRT decides.
        timing_cache: file with timings of kernels, read and written anew; "": none. Not with RTX.
        compute_capabilities: of the GPUs to build for, as "8.6"; RTX only.
        tf32: let float32 products round their factors to 19 bits (TensorFloat-32), TensorRT's own default.
    """

    batch: tuple[int, int, int] = (1, 1, 8)
    segments: tuple[int, int, int] = (1, 3, 25)
    workspace_mb: int = 0
    timing_cache: str = ""
    compute_capabilities: tuple[str, ...] = ()
    tf32: bool = False

    def __post_init__(self):
        for name, values in (("batch", self.batch), ("segments", self.segments)):
            if not 1 <= values[0] <= values[1] <= values[2]:
                words = ", ".join(f"--{which}_{name}={value}" for which, value in zip(_BOUNDS, values, strict=True))
                raise UserError(f"{words} must be in ascending order, from 1 on.")


def capabilities_for(trt: types.ModuleType, settings: BuildSettings, gpu: Gpu | None) -> tuple[str, ...]:
    """The compute capabilities to build for: those asked for, else this machine's GPU's, else the usual ones.

    Returns:
        As "8.6"; none for the TensorRT that builds for the GPU that it runs on.

    Raises:
        UserError: this TensorRT cannot build for them, or needs a GPU that is not there.
    """
    wanted = tuple(dict.fromkeys(settings.compute_capabilities))
    if not is_rtx(trt):
        if wanted:
            raise UserError(
                f"--compute_capability={','.join(wanted)}: {trt.__name__} builds for the GPU that it runs on: leave "
                "the flag out, or use --module=tensorrt_rtx."
            )
        if gpu is None:
            raise UserError(f"{trt.__name__} builds on a GPU, and there is none here: use --module=tensorrt_rtx.")
        return ()
    known = _known_capabilities(trt)
    if unknown := [capability for capability in wanted if capability not in known]:
        raise UserError(
            f"--compute_capability={','.join(unknown)} is not among those that {trt.__name__} {trt.__version__} builds "
            f"for: {', '.join(known)}."
        )
    return wanted or ((gpu.capability,) if gpu and gpu.capability in known else DEFAULT_CAPABILITIES)


def _known_capabilities(trt):
    members = trt.ComputeCapability.__members__.items()
    return {f"{name[2:-1]}.{name[-1]}": member for name, member in members if name.startswith("SM")}


def build(trt: types.ModuleType, model: bytes, settings: BuildSettings) -> tuple[bytes, dict, dict]:
    """Builds an engine in the types that the graph has (strongly typed).

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        model: content of an ONNX file.
        settings: what to build for.

    Returns:
        The engine's content; its inputs, {name: {"dtype", "shape", "profile"}}, and outputs, {name: {"dtype",
        "shape"}}.

    Raises:
        UserError: a setting that this TensorRT does not have, a graph that it does not take, or a failed build.
    """
    log = logger_of(trt)
    builder = trt.Builder(log)
    typed = trt.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")  # TensorRT 11 has nothing else
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)] or log.errors
        raise UserError(f"{trt.__name__} does not take the ONNX file: {first_line(reasons)}.")
    config = builder.create_builder_config()
    if not settings.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.workspace_mb:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mb << 20)
    if settings.compute_capabilities:
        config.num_compute_capabilities = len(settings.compute_capabilities)
    for index, capability in enumerate(settings.compute_capabilities):
        config.set_compute_capability(_known_capabilities(trt)[capability], index)
    inputs = _add_profile(builder, config, network, settings)
    cache = _read_timing_cache(trt, config, settings.timing_cache)  # alive while it is used
    plan = builder.build_serialized_network(network, config)
    if plan is None:  # which is how TensorRT fails
        raise UserError(f"{trt.__name__} cannot build an engine: {first_line(log.errors)}.")
    if cache is not None:
        with whole_file(settings.timing_cache) as beside:
            beside.write_bytes(bytes(config.get_timing_cache().serialize()))
    outputs = {}
    for tensor in map(network.get_output, range(network.num_outputs)):
        outputs[tensor.name] = {"dtype": tensor.dtype.name, "shape": list(tensor.shape)}
    return bytes(plan), inputs, outputs


def _add_profile(builder, config, network, settings):
    """One optimization profile, which every input with a dynamic axis needs."""
    profile, inputs = builder.create_optimization_profile(), {}
    for tensor in map(network.get_input, range(network.num_inputs)):
        shape = tuple(tensor.shape)
        bounds = [(*both, *shape[2:]) for both in zip(settings.batch, settings.segments, strict=True)]
        profile.set_shape(tensor.name, *bounds)
        named = {name: list(bound) for name, bound in zip(_BOUNDS, bounds, strict=True)}
        inputs[tensor.name] = {"dtype": tensor.dtype.name, "shape": list(shape), "profile": named}
    config.add_optimization_profile(profile)
    return inputs


def _read_timing_cache(trt, config, path):
    if not path:
        return None
    if is_rtx(trt):
        raise UserError(
            f"--timing_cache={path}: {trt.__name__} times no kernels and keeps no cache; leave the flag out."
        )
    there = pathlib.Path(path)
    cache = config.create_timing_cache(there.read_bytes() if there.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        raise UserError(
            f"--timing_cache={path} was written by another TensorRT or for another GPU: delete it, or name another."
        )
    return cache
