"""An ONNX file to a TensorRT engine: one code path for the two TensorRTs.

They are `tensorrt`, 10 or 11, which builds on the GPU that it builds for, and `tensorrt_rtx`, which needs none.
"""

import contextlib
import dataclasses
import functools
import importlib
import types
from collections.abc import Callable

from ccsn_tf.errors import UserError
from ccsn_tf.serving import optional

MODULES = ("tensorrt", "tensorrt_rtx")

# Where nothing else is asked for and no GPU is there to build for: RTX 30, 40 and 50.
DEFAULT_CAPABILITIES = ("8.6", "8.9", "12.0")

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
        return optional("tensorrt_rtx", "tensorrt-rtx")
    try:
        return importlib.import_module("tensorrt")
    except Exception as error:  # the package on PyPI is a stub, which may fail in ways of its own
        raise UserError(
            f"--module=tensorrt cannot be imported ({error}): pip install -e '.[tensorrt]', or use "
            "--module=tensorrt_rtx."
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
        compute_capabilities: of the GPUs to build for, as "8.6"; TensorRT for RTX only.
    """

    batch: tuple[int, int, int] = (1, 1, 8)
    segments: tuple[int, int, int] = (1, 8, 25)
    compute_capabilities: tuple[str, ...] = ()

    def __post_init__(self):
        for name, values in (("batch", self.batch), ("segments", self.segments)):
            if not 1 <= values[0] <= values[1] <= values[2]:
                words = ", ".join(f"--{which}_{name}={value}" for which, value in zip(_BOUNDS, values, strict=True))
                raise UserError(f"{words} must be in ascending order, from 1 on.")


def capabilities_for(trt: types.ModuleType, wanted: tuple[str, ...], here: str | None) -> tuple[str, ...]:
    """The compute capabilities to build for: those `wanted`, else that of the GPU `here`, else the usual ones.

    Returns:
        As "8.6"; none for the TensorRT that builds for the GPU that it runs on.

    Raises:
        UserError: this TensorRT cannot build for them.
    """
    if not is_rtx(trt):
        if wanted:
            raise UserError(
                f"--compute_capability={','.join(wanted)}: {trt.__name__} builds for the GPU that it runs on: leave "
                "the flag out, or use --module=tensorrt_rtx."
            )
        return ()
    known = _known_capabilities(trt)
    if unknown := [capability for capability in wanted if capability not in known]:
        raise UserError(
            f"--compute_capability={','.join(unknown)} is not among those that {trt.__name__} {trt.__version__} builds "
            f"for: {', '.join(known)}."
        )
    return tuple(dict.fromkeys(wanted)) or ((here,) if here in known else DEFAULT_CAPABILITIES)


def _known_capabilities(trt):
    members = trt.ComputeCapability.__members__.items()
    return {f"{name[2:-1]}.{name[-1]}": member for name, member in members if name.startswith("SM")}


def build(trt: types.ModuleType, model: bytes, settings: BuildSettings) -> tuple[bytes, dict, dict]:
    """Builds an engine in the types that the graph has (strongly typed), without TensorFloat-32.

    Args:
        model: content of an ONNX file.

    Returns:
        The engine's content; its inputs, {name: {"dtype", "shape", "profile"}}, and outputs, {name: {"dtype",
        "shape"}}.

    Raises:
        UserError: no GPU for the TensorRT that needs one, a graph that it does not take, or a failed build.
    """
    log = logger_of(trt)
    builder = made(trt.Builder, log)
    if builder is None:
        reason = first_line(log.errors)
        raise UserError(f"{trt.__name__} cannot start ({reason}): it needs a GPU; use --module=tensorrt_rtx.")
    typed = trt.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")  # TensorRT 11 has nothing else
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)] or log.errors
        raise UserError(f"{trt.__name__} does not take the ONNX file: {first_line(reasons)}.")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if settings.compute_capabilities:
        config.num_compute_capabilities = len(settings.compute_capabilities)
    for index, capability in enumerate(settings.compute_capabilities):
        config.set_compute_capability(_known_capabilities(trt)[capability], index)
    profile, inputs = builder.create_optimization_profile(), {}  # which every input with a dynamic axis needs
    for tensor in map(network.get_input, range(network.num_inputs)):
        shape = tuple(tensor.shape)
        bounds = [(*both, *shape[2:]) for both in zip(settings.batch, settings.segments, strict=True)]
        profile.set_shape(tensor.name, *bounds)
        named = {name: list(bound) for name, bound in zip(_BOUNDS, bounds, strict=True)}
        inputs[tensor.name] = {"dtype": tensor.dtype.name, "shape": list(shape), "profile": named}
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:  # which is how TensorRT fails
        raise UserError(f"{trt.__name__} cannot build an engine: {first_line(log.errors)}.")
    outputs = {}
    for tensor in map(network.get_output, range(network.num_outputs)):
        outputs[tensor.name] = {"dtype": tensor.dtype.name, "shape": list(tensor.shape)}
    return bytes(plan), inputs, outputs


def made(maker: Callable, log: object) -> object | None:
    """A `Builder` or `Runtime` of TensorRT, None where it cannot start: without a GPU, for one."""
    try:
        return maker(log)
    except TypeError:  # of pybind11, whose factory got no object
        return None
