"""The exported model in TensorFlow's C++ loader and session, which is what TensorFlow Serving runs it with."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import frames_requests
import keras
import numpy as np
import pytest
import serving_requests
import tensorflow as tf

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
def test_agrees_with_keras_on_real_clips(loader, request, fixture, tmp_path):
    exported = request.getfixturevalue(fixture)
    with clips_to_try(exported.config, tuple(exported.model.classes), 3, must_be_real=True) as clips:
        arrays, jpegs = clips.arrays(2), clips.jpegs(2)
    outputs = {name: value.numpy() for name, value in exported.model(arrays, training=False).items()}
    for scores, logits in (("scores", "logits"), ("spatial_scores", "spatial_logits")):
        outputs[scores] = keras.ops.convert_to_numpy(keras.ops.softmax(outputs[logits]))
    outputs["temporal_scores"] = keras.ops.convert_to_numpy(keras.ops.softmax(outputs["temporal_logits"]))
    source = exported.metadata["flow_source"]
    requests = [Request(name, arrays) for name in ARRAY_SIGNATURES[source]] + [Request(JPEG_SIGNATURES[source], jpegs)]
    answers = run(loader, exported.path, tmp_path, requests)
    assert not any(answer.error for answer in answers)
    assert all(compare(answer, outputs, exported.metadata) <= LIMITS[source] for answer in answers)


@pytest.mark.parametrize("fixture", ["exported", "exported_frames"])
def test_hostile_requests_are_refused_and_the_next_is_answered(loader, request, fixture, tmp_path):
    """Here nobody checks what is fed before the graph does: no Python, and no more than the server's own session."""
    exported = request.getfixturevalue(fixture)
    metadata = exported.metadata
    if metadata["flow_source"] == "graph":
        hostile, good = frames_requests.hostile(metadata), frames_requests.frames(metadata)
    else:
        hostile = {name: (bad, "") for name, bad in serving_requests.hostile(metadata).items()}
        good = serving_requests.arrays(metadata)
    good = Request("serving_default", good)
    answers = run(loader, exported.path, tmp_path, [each for bad, _ in hostile.values() for each in (bad, good)])
    reference = answers[1].outputs["scores"]
    for (name, (_, reason)), refused, answered in zip(hostile.items(), answers[::2], answers[1::2], strict=True):
        assert refused.error.startswith(("INVALID_ARGUMENT", "NOT_FOUND")), (name, refused)
        assert re.search(reason, " ".join(refused.error.split())), (name, refused)
        np.testing.assert_array_equal(answered.outputs["scores"], reference)


def test_a_folder_without_a_model(loader, tmp_path):
    result = subprocess.run([loader, tmp_path, tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "load_and_run: NOT_FOUND" in result.stderr
    assert subprocess.run([loader], capture_output=True, check=False).returncode == 2
