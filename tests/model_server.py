"""Something that serves an exported model as "ccsn": the stand-in, or a TensorFlow Serving where there is one.

That is the server at CCSN_TF_SERVING_ADDRESS (gRPC) and CCSN_TF_SERVING_REST_ADDRESS, both host:port, which serves
CCSN_TF_SERVING_MODEL_DIR (an --export_dir) as "ccsn"; or else the `tensorflow_model_server` on the PATH.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
import tensorflow as tf

REAL_SERVER = None
if "CCSN_TF_SERVING_ADDRESS" in os.environ:
    REAL_SERVER = "address"
elif shutil.which("tensorflow_model_server"):
    REAL_SERVER = "binary"


@dataclasses.dataclass(frozen=True)
class Service:
    """Addresses, host:port, and the folder of the version that is served there."""

    grpc: str
    rest: str
    path: pathlib.Path

    @property
    def metadata(self):
        """What is written beside the model."""
        return json.loads((self.path / "assets.extra" / "ccsn.json").read_text())

    def expected(self, signature, inputs):
        """The answer of the same SavedModel, run here."""
        outputs = _loaded(str(self.path)).signatures[signature](**inputs)
        return {name: value.numpy() for name, value in outputs.items()}


@functools.cache
def _loaded(path):
    return tf.saved_model.load(path)


def given_server():
    """The server that the environment names."""
    versions = pathlib.Path(os.environ["CCSN_TF_SERVING_MODEL_DIR"]).glob("[0-9]*")
    newest = max(versions, key=lambda version: int(version.name))
    return Service(os.environ["CCSN_TF_SERVING_ADDRESS"], os.environ["CCSN_TF_SERVING_REST_ADDRESS"], newest)


@contextlib.contextmanager
def started_server(folder, log):
    """Starts the `tensorflow_model_server` on the PATH; yields its gRPC and REST addresses."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], two.getsockname()[1]
    options = [f"--port={ports[0]}", f"--rest_api_port={ports[1]}", "--model_name=ccsn", f"--model_base_path={folder}"]
    with (
        log.open("wb") as file,
        subprocess.Popen(["tensorflow_model_server", *options], stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        try:
            _wait(f"http://127.0.0.1:{ports[1]}/v1/models/ccsn", log)
            yield tuple(f"localhost:{port}" for port in ports)
        finally:
            process.terminate()


def _wait(status, log):
    for _ in range(120):
        with contextlib.suppress(OSError), urllib.request.urlopen(status) as answer:
            if b"AVAILABLE" in answer.read():
                return
        time.sleep(0.5)
    pytest.fail(f"tensorflow_model_server is not ready after a minute:\n{log.read_text(errors='replace')}")
