"""Requests and answers as files: how an exported model is tried in another process, in Python or in C++.

    python -I fresh_process.py MODEL_DIR FOLDER

answers the requests of a folder with a SavedModel and nothing but TensorFlow, so that what works here works on a
machine that has no more; `tests/loader/load_and_run.cc` does it in C++. A folder holds `requests.txt`, a line a request
(number, signature, names of the inputs), the inputs as `<number>.in.<name>`, and receives the answers:
`<number>.out.<name>`, or `<number>.error` with the reason. Tensors are serialised `tensorflow.TensorProto`s.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

if __name__ == "__main__":  # an import of either now fails, wherever it is installed
    sys.modules["ccsn_tf"] = sys.modules["keras"] = None

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
            (folder / f"{number:04d}.in.{name}").write_bytes(tf.make_tensor_proto(value).SerializeToString())
    (folder / "requests.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_answers(folder: pathlib.Path) -> list[Answer]:
    """Reads the answers, in the order of the requests; a request without any has an error that says so."""
    answers = []
    for number, *_ in _requests(folder):
        error = folder / f"{number}.error"
        outputs = {path.name.split(".", 2)[2]: _read(path) for path in folder.glob(f"{number}.out.*")}
        if error.is_file():
            answers.append(Answer({}, error.read_text(encoding="utf-8", errors="replace")))
        else:
            answers.append(Answer(outputs, "" if outputs else "no answer"))
    return answers


def answer_all(model_dir: str, folder: pathlib.Path) -> None:
    """Answers the requests of a folder with the SavedModel in `model_dir`."""
    model = tf.saved_model.load(model_dir)
    for number, signature, *names in _requests(folder):
        inputs = {name: tf.constant(_read(folder / f"{number}.in.{name}")) for name in names}
        try:
            outputs = model.signatures[signature](**inputs)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            (folder / f"{number}.error").write_text(str(error), encoding="utf-8", errors="replace")
            continue
        for name, value in outputs.items():
            (folder / f"{number}.out.{name}").write_bytes(tf.io.serialize_tensor(value).numpy())


def _requests(folder):
    return [line.split() for line in (folder / "requests.txt").read_text(encoding="utf-8").splitlines()]


def _read(path):
    return tf.make_ndarray(TensorProto.FromString(path.read_bytes()))


if __name__ == "__main__":
    answer_all(sys.argv[1], pathlib.Path(sys.argv[2]))
