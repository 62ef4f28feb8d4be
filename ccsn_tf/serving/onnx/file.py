"""Reading ONNX files of ours."""

from __future__ import annotations

import pathlib

import onnx
from google.protobuf.message import DecodeError

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.session import parse_metadata


def read_onnx(path: str) -> tuple[bytes, onnx.ModelProto, dict]:
    """A file's content, the model in it, and our metadata.

    Raises:
        UserError: no such file, not an ONNX file, or not one of ours.
    """
    try:
        content = pathlib.Path(path).read_bytes()
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"{path} is missing: name a file that export/to_onnx.py wrote.") from None
    except (DecodeError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is damaged or no ONNX file ({reason}): export it again with export/to_onnx.py."
        ) from None
    return content, model, parse_metadata({entry.key: entry.value for entry in model.metadata_props}, path)
