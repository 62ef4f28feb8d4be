"""A real Triton on this machine, without Docker and without a GPU: to try a repository of `triton.make_repository`.

The wheel `nvidia-pytriton` carries NVIDIA's server with its Python backend alone. As the backend `onnxruntime` it is
given one in Python, `local_triton_model`, so that a repository is served as it is. Not for production: each call
copies its tensors between processes.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import IO

from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process, whole_folder

# Triton 2.51, which wants numpy 1: hence a folder of its own. What else they name is for their clients.
PACKAGES = ("nvidia-pytriton==0.7.0", "onnxruntime==1.23.2", "numpy==1.26.4")

_INTERFACES = ("http", "grpc", "metrics")
_LOAD_SECONDS = 600.0  # a model that computes flow, on a busy core, takes more than two minutes to warm up


def install(folder: str | pathlib.Path) -> pathlib.Path:
    """Installs Triton below a folder, unless it is there.

    Returns:
        Where, to be given to `served`.

    Raises:
        UserError: pip cannot install it here.
    """
    target = pathlib.Path(folder, PACKAGES[0])
    with only_process(folder, patience=600):
        if not target.is_dir():
            with whole_folder(target) as beside:
                options = ["--quiet", "--no-deps", "--no-compile", "--target", str(beside)]
                command = [sys.executable, "-m", "pip", "install", *options, *PACKAGES]
                result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
                if result.returncode:
                    reason = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
                    raise UserError(f"Triton cannot be installed in {folder} ({reason}): serve it by Docker.")
                _complete(beside / "pytriton" / "tritonserver")
    return target


@contextlib.contextmanager
def served(
    repository: str | pathlib.Path, installed: pathlib.Path, ports: Sequence[int], log: IO
) -> Iterator[subprocess.Popen]:
    """Serves a repository to this machine until the block ends; yields the process once its models are ready.

    Args:
        repository: the folder, its models for the CPU; versions that appear or go are noticed within a second or two.
        installed: from `install`.
        ports: of HTTP, gRPC and metrics.
        log: a file that receives what the server says.

    Raises:
        UserError: a port is taken, the server ends, or it is not ready after ten minutes.
    """
    for port in ports:  # the server finds out when its models are loaded
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise UserError(f"Port {port} cannot be used ({error.strerror}): choose another --http_port.") from None
    server = installed / "pytriton" / "tritonserver"
    options = {f"{kind}-address": "127.0.0.1" for kind in _INTERFACES}
    options |= {f"{kind}-port": port for kind, port in zip(_INTERFACES, ports, strict=True)}
    options |= {"model-repository": repository, "model-control-mode": "poll", "repository-poll-secs": 1}
    options |= {"backend-directory": server / "backends"}
    command = [str(server / "bin" / "tritonserver"), *(f"--{name}={value}" for name, value in options.items())]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(installed / "nvidia_pytriton.libs"),
        "PATH": f"{sys.base_prefix}/bin:{os.environ['PATH']}",  # where its Python looks for its own library
    }
    shutil.copy(
        pathlib.Path(__file__).with_name("local_triton_model.py"), server / "backends" / "onnxruntime" / "model.py"
    )
    with subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment) as process:
        try:
            _wait(process, f"http://127.0.0.1:{ports[0]}/v2/health/ready")
            yield process
        finally:
            process.terminate()


def _complete(server):
    """Makes the Python backend usable by this Python."""
    stub, version = "triton_python_backend_stub", ".".join(map(str, sys.version_info[:2]))
    shutil.copy(server / "python_backend_stubs" / version / stub, server / "backends" / "python" / stub)
    (server / "bin" / "tritonserver").chmod(0o755)
    (server / "backends" / "onnxruntime").mkdir()


def _wait(process, url):
    deadline = time.monotonic() + _LOAD_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    why = "is not ready after ten minutes" if process.poll() is None else f"ended with status {process.returncode}"
    raise UserError(f"Triton {why}: see its log.")
