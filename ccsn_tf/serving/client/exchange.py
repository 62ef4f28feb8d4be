"""Requests and answers as files: how an exported model is tried in another process, in Python or in C++.

A folder holds `requests.txt`, a line a request (number, signature, names of the inputs), the inputs as `<number>.in.
<name>`, and receives the answers: `<number>.out.<name>`, or `<number>.error` with the reason. Tensors are serialised
`tensorflow.TensorProto`s. `run.py` and `tests/loader/load_and_run.cc` are the other side.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto


@dataclasses.dataclass(frozen=True)
class Request:
    """One call of a signature: `inputs` name -> array; strings as bytes in an object array."""

    signature: str
    inputs: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back: `outputs` name -> array, or `error`, the reason why there are none."""

    outputs: dict[str, np.ndarray]
    error: str = ""


def write_requests(folder: pathlib.Path, requests: Sequence[Request]) -> None:
    """Writes requests into an empty folder."""
    lines = []
    for number, request in enumerate(requests):
        lines.append(" ".join([f"{number:04d}", request.signature, *request.inputs]))
        for name, value in request.inputs.items():
            path = folder / f"{number:04d}.in.{name}"
            path.write_bytes(tf.make_tensor_proto(value).SerializeToString())
    (folder / "requests.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_answers(folder: pathlib.Path) -> list[Answer]:
    """Reads the answers, in the order of the requests; a request without any has an error that says so."""
    answers = []
    for line in (folder / "requests.txt").read_text(encoding="utf-8").splitlines():
        number = line.split()[0]
        error = folder / f"{number}.error"
        outputs = {path.name.split(".", 2)[2]: _read(path) for path in folder.glob(f"{number}.out.*")}
        if error.is_file():
            answers.append(Answer({}, error.read_text(encoding="utf-8", errors="replace")))
        else:
            answers.append(Answer(outputs, "" if outputs else "no answer"))
    return answers


def _read(path):
    return tf.make_ndarray(TensorProto.FromString(path.read_bytes()))
