"""The two TensorRTs: `tensorrt`, which builds on the GPU that it builds for, and `tensorrt_rtx`, which needs none."""

from __future__ import annotations

import types

from ccsn_tf.errors import UserError
from ccsn_tf.serving.packages import optional

MODULES = ("tensorrt", "tensorrt_rtx")


def load_tensorrt(name: str = "auto") -> types.ModuleType:
    """One of `MODULES`; "auto": the first that is installed.

    Raises:
        UserError: it is not installed.
    """
    if name != "auto":
        return optional(name, "tensorrt")
    for candidate in MODULES:
        try:
            return optional(candidate, "tensorrt")
        except UserError as error:
            reason = error
    raise reason


def is_rtx(trt: types.ModuleType) -> bool:
    """Whether it is TensorRT for RTX, which is told the GPUs to build for."""
    return hasattr(trt, "ComputeCapability")


def logger_of(trt: types.ModuleType) -> object:
    """A logger that keeps what it is told: `messages`, and those of them that are `errors`."""

    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)
            self.messages, self.errors = [], []

        def log(self, severity, message):
            self.messages.append(message)
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()
