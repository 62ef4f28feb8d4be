"""Answers the requests of a folder (see exchange.py) with a SavedModel, and nothing but TensorFlow.

    python -I run.py MODEL_DIR FOLDER

A program of its own: it imports nothing of this package, and makes sure that neither the package nor Keras is there,
so that what works here works on a machine that has TensorFlow only.
"""

import pathlib
import sys

# An import of either now fails, wherever it is installed.
sys.modules["ccsn_tf"] = None
sys.modules["keras"] = None

import tensorflow as tf  # noqa: E402
from tensorflow.core.framework.tensor_pb2 import TensorProto  # noqa: E402


def main(model_dir, folder):
    model, folder = tf.saved_model.load(model_dir), pathlib.Path(folder)
    for line in (folder / "requests.txt").read_text(encoding="utf-8").splitlines():
        number, signature, *names = line.split()
        inputs = {name: _tensor(folder / f"{number}.in.{name}") for name in names}
        try:
            outputs = model.signatures[signature](**inputs)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            (folder / f"{number}.error").write_text(str(error), encoding="utf-8", errors="replace")
            continue
        for name, value in outputs.items():
            (folder / f"{number}.out.{name}").write_bytes(tf.io.serialize_tensor(value).numpy())


def _tensor(path):
    return tf.constant(tf.make_ndarray(TensorProto.FromString(path.read_bytes())))


if __name__ == "__main__":
    main(*sys.argv[1:])
