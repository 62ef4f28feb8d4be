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
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import ARRAY_SIGNATURES, JPEG_SIGNATURES
from ccsn_tf.serving.saved_model import verify
from ccsn_tf.serving.saved_model.export import export_saved_model
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


def run(loader, model_dir, folder, requests, callers=1):
    write_requests(folder, requests)
    command = [loader, model_dir, folder, str(callers)]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
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


@pytest.mark.parametrize(
    ("fixture", "arrays"), [("exported", serving_requests.arrays), ("exported_frames", frames_requests.frames)]
)
def test_callers_at_once_may_differ_in_segments(loader, request, fixture, arrays, tmp_path):
    """With what our files for TensorFlow Serving make of it: the session itself, and none that merges requests."""
    exported = request.getfixturevalue(fixture)
    clips = [arrays(exported.metadata, *size) for size in ((1, 2), (2, 3), (1, 25))]
    requests = [Request("serving_default", clip) for clip in 4 * clips]
    answers, keras = run(loader, exported.path, tmp_path, requests, callers=8), kept_models.as_exported(exported.model)
    limit, wanted = LIMITS[exported.metadata["flow_source"]], [keras(clip)["scores"] for clip in clips]
    for number, answer in enumerate(answers):
        assert not answer.error
        np.testing.assert_allclose(answer.outputs["scores"], wanted[number % len(clips)], atol=limit)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # two downloads of 230 MB
def test_older_tensorflow_answers_alike(exported, exported_frames, tmp_path, monkeypatch):
    """As 2.21 does, of which each export proves that it is right: that of TensorFlow Serving's images, for one."""
    compiled = export_saved_model(exported_frames.config, str(tmp_path / "xla"), xla=True, check=False, warmup=False)
    asked = []
    for made in (exported, exported_frames):
        source = made.metadata["flow_source"]
        with clips_to_try(made.config, tuple(made.metadata["classes"]), 3, must_be_real=True) as clips:
            arrays, jpegs = clips.arrays(2), clips.jpegs(2)
        features = {stream: np.ones((3, 2, 96), np.float32) for stream in ("spatial", "temporal")}
        requests = [Request(JPEG_SIGNATURES[source], jpegs), Request("answer", features)]
        requests += [Request(name, arrays) for name in ARRAY_SIGNATURES[source]]
        requests += [Request("snippet", {name: value[:, 0] for name, value in arrays.items()})]
        asked.append((made.path, [Request("metadata", {"request": np.zeros(1, np.int32)}), *requests]))
    asked.append((compiled.path, [Request("frames", arrays)]))
    wanted = [verify.ask(str(path), requests) for path, requests in asked]
    for version in ("2.19.1", "2.20.0"):
        python = tmp_path / version / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", tmp_path / version], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-compile", f"tensorflow-cpu=={version}"], check=True)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(python))
            found = [verify.ask(str(path), requests) for path, requests in asked]
        for (path, _), ours, theirs in zip(asked, wanted, found, strict=True):
            assert not any(answer.error for answer in (*ours, *theirs))
            pairs = [
                (a.outputs[name], b.outputs[name]) for a, b in zip(ours, theirs, strict=True) for name in a.outputs
            ]
            assert all(np.array_equal(a, b) for a, b in pairs if a.dtype == object)
            apart = max(float(np.abs(a - b).max()) for a, b in pairs if a.dtype != object)
            print(f"{version}, {path.relative_to(path.parents[1])}: {len(ours)} signatures, {apart:.1e} apart")
            assert apart <= LIMITS["stored" if path == exported.path else "graph"]
        shutil.rmtree(tmp_path / version)
