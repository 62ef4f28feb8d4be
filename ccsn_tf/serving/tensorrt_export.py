"""From an ONNX file of ours to an engine that was checked, and run where there is a GPU for it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import types
from collections.abc import Callable

import onnx

from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file, write_text
from ccsn_tf.serving.cuda import Cuda, Gpu, find_gpu
from ccsn_tf.serving.onnx_products import product_precisions
from ccsn_tf.serving.onnx_session import parse_metadata
from ccsn_tf.serving.tensorrt_build import DEFAULT_CAPABILITIES, BuildSettings, build
from ccsn_tf.serving.tensorrt_layers import check_precision
from ccsn_tf.serving.tensorrt_module import is_rtx
from ccsn_tf.serving.tensorrt_run import FORMAT, description_path
