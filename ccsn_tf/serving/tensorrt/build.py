"""An ONNX file to a TensorRT engine: one code path for TensorRT 10, 11 and TensorRT for RTX, the module passed in."""

from __future__ import annotations

import dataclasses
import pathlib
import types

from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file
from ccsn_tf.serving.tensorrt.cuda import Gpu
from ccsn_tf.serving.tensorrt.module import is_rtx, logger_of

# Where nothing else is asked for and no GPU is there to build for: RTX 30, 40, 50 and A100.
DEFAULT_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")


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


_BOUNDS = ("min", "opt", "max")


@dataclasses.dataclass(frozen=True)
class Built:
    """An engine: `plan`, its content; `inputs` and `outputs` {name: {"dtype", "shape", ...}}."""

    plan: bytes
    inputs: dict[str, dict]
    outputs: dict[str, dict]


def build(trt: types.ModuleType, model: bytes, settings: BuildSettings) -> Built:
    """Builds an engine in the types that the graph has (strongly typed).

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        model: content of an ONNX file.
        settings: what to build for.

    Raises:
        UserError: a setting that this TensorRT does not have, a graph that it does not take, or a failed build.
    """
    log = logger_of(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)] or log.errors
        raise UserError(f"{trt.__name__} does not take the ONNX file: {_first_line(reasons)}")
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
    cache = _read_timing_cache(trt, config, settings.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:  # which is how TensorRT fails
        raise UserError(f"{trt.__name__} cannot build an engine: {_first_line(log.errors)}")
    plan = bytes(plan)
    if cache is not None:
        _write_timing_cache(config, settings.timing_cache)
    outputs = {}
    for tensor in map(network.get_output, range(network.num_outputs)):
        outputs[tensor.name] = {"dtype": tensor.dtype.name, "shape": list(tensor.shape)}
    return Built(plan, inputs, outputs)


def _network_flags(trt):
    """Strongly typed, which TensorRT 10 has to be asked for and later ones always are."""
    known = trt.NetworkDefinitionCreationFlag.__members__
    return 1 << int(known["STRONGLY_TYPED"]) if "STRONGLY_TYPED" in known else 0


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
    unknown = [capability for capability in wanted if capability not in known]
    if unknown:
        raise UserError(
            f"--compute_capability={','.join(unknown)} is not among those that {trt.__name__} {trt.__version__} builds "
            f"for: {', '.join(known)}."
        )
    return wanted or ((gpu.capability,) if gpu and gpu.capability in known else DEFAULT_CAPABILITIES)


def _known_capabilities(trt):
    members = trt.ComputeCapability.__members__.items()
    return {f"{name[2:-1]}.{name[-1]}": member for name, member in members if name.startswith("SM")}


def _add_profile(builder, config, network, settings):
    """One optimization profile, which every input with a dynamic axis needs."""
    profile, inputs = builder.create_optimization_profile(), {}
    for tensor in map(network.get_input, range(network.num_inputs)):
        shape = tuple(tensor.shape)
        bounds = [(*both, *shape[2:]) for both in zip(settings.batch, settings.segments, strict=True)]
        profile.set_shape(tensor.name, *bounds)
        inputs[tensor.name] = {
            "dtype": tensor.dtype.name,
            "shape": list(shape),
            "profile": {name: list(bound) for name, bound in zip(_BOUNDS, bounds, strict=True)},
        }
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


def _write_timing_cache(config, path):
    with whole_file(path) as beside:
        beside.write_bytes(bytes(config.get_timing_cache().serialize()))


def _first_line(messages):
    return " ".join(messages[0].split())[:600] if messages else "it gives no reason."
