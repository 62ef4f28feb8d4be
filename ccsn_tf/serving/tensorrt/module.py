"""The two TensorRTs: `tensorrt`, which builds on the GPU that it builds for, and `tensorrt_rtx`, which needs none."""

from __future__ import annotations

import contextlib
import functools
import importlib
import types

from ccsn_tf.errors import UserError
from ccsn_tf.serving.packages import optional

MODULES = ("tensorrt", "tensorrt_rtx")


def load_tensorrt(name: str = "auto") -> types.ModuleType:
    """One of `MODULES`; "auto": the first that is installed.

    Raises:
        UserError: it is not installed.
    """
    if name == "tensorrt":
        return _full_tensorrt("; or use --module=tensorrt_rtx")
    if name == "auto":
        with contextlib.suppress(UserError):
            return _full_tensorrt("")
    return optional("tensorrt_rtx", "tensorrt")


def _full_tensorrt(other):
    try:
        return importlib.import_module("tensorrt")
    except Exception as error:  # the package on PyPI is a stub, which may fail in ways of its own
        raise UserError(f"--module=tensorrt cannot be imported ({error}): pip install tensorrt{other}.") from None


def is_rtx(trt: types.ModuleType) -> bool:
    """Whether it is TensorRT for RTX, which is told the GPUs to build for."""
    return hasattr(trt, "ComputeCapability")


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


def logger_of(trt: types.ModuleType) -> object:
    """A logger that keeps the `errors` that it is told of; empty to begin with.

    It is the same one each time: while anything that TensorRT made is alive, it ignores any other logger.
    """
    log = _logger(trt)
    log.errors.clear()
    return log
