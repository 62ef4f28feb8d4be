"""The exported model in TensorFlow's C++ loader and session, which is what TensorFlow Serving runs it with."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import frames_requests
import kept_models
import numpy as np
import pytest
import serving_requests
import tensorflow as tf

from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.serving.client.config import ARRAY_SIGNATURES, JPEG_SIGNATURES
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.saved_model.fresh_process import Request, read_answers, write_requests
from ccsn_tf.serving.saved_model.verify import LIMITS, compare

SOURCES = pathlib.Path(__file__).parents[2] / "loader"


@pytest.fixture(scope="module")
def loader(request):
    """The program, compiled (half a minute) where pytest's cache has none of these sources and this TensorFlow."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler (g++) on the PATH")
    sources = b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file())
    key = hashlib.sha256(sources + tf.version.GIT_VERSION.encode() + sys.executable.encode()).hexdigest()[:16]
    program = request.config.cache.mkdir("loader") / key
    if program.exists():
        return program
    beside = program.with_suffix(f".{os.getpid()}")
    command = ["bash", str(SOURCES / "build_loader.sh"), str(beside)]
    built = subprocess.run(
        command, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return beside.rename(program)


def run(loader, model_dir, folder, requests):
    write_requests(folder, requests)
    result = subprocess.run([loader, model_dir, folder], capture_output=True, text=True, errors="replace", check=False)
    assert result.returncode == 0, result.stderr
    return read_answers(folder)


@pytest.mark.parametrize("fixture", ["exported", "exported_frames"])
def test_real_clips_agree_with_keras_and_after_each_hostile_request_the_next_is_answered(
    loader, request, fixture, tmp_path
):
    """Here nobody checks what is fed before the graph does: no Python, and no more than the server's own session."""
    exported = request.getfixturevalue(fixture)
    metadata, source = exported.metadata, exported.metadata["flow_source"]
    with clips_to_try(exported.config, tuple(exported.model.classes), 3, must_be_real=True) as clips:
        arrays, jpegs = clips.arrays(2), clips.jpegs(2)
    outputs = kept_models.as_exported(exported.model)(arrays)
    for stream in ("spatial", "temporal"):
        outputs[f"{stream}_scores"] = softmax(outputs[f"{stream}_logits"])
    good = [Request(name, arrays) for name in ARRAY_SIGNATURES[source]] + [Request(JPEG_SIGNATURES[source], jpegs)]
    if source == "graph":
        hostile = frames_requests.hostile(metadata)
    else:
        hostile = {name: (bad, "") for name, bad in serving_requests.hostile(metadata).items()}
    # By the signature that costs least; by all of the network at the end.
    after = Request("answer", {stream: np.ones((1, 2, 96), np.float32) for stream in ("spatial", "temporal")})
    between = [each for bad, _ in hostile.values() for each in (bad, after)]
    answers = run(loader, exported.path, tmp_path, [*good, *between, good[0]])
    for answer in (*answers[: len(good)], answers[-1]):
        assert not answer.error and compare(answer, outputs, metadata) <= LIMITS[source]
    refused, answered = (answers[len(good) + offset : -1 : 2] for offset in (0, 1))
    for (name, (_, reason)), bad, next_one in zip(hostile.items(), refused, answered, strict=True):
        assert bad.error.startswith(("INVALID_ARGUMENT", "NOT_FOUND")), (name, bad)
        assert re.search(reason, " ".join(bad.error.split())), (name, bad)
        np.testing.assert_array_equal(next_one.outputs["scores"], answered[0].outputs["scores"])


def test_a_folder_without_a_model(loader, tmp_path):
    result = subprocess.run([loader, tmp_path, tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "load_and_run: NOT_FOUND" in result.stderr
    assert subprocess.run([loader], capture_output=True, check=False).returncode == 2
