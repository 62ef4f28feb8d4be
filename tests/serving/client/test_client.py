"""The client against the stand-in and, where one is given, against TensorFlow Serving.

That is the server at CCSN_TF_SERVING_ADDRESS (gRPC) and CCSN_TF_SERVING_REST_ADDRESS, both host:port, which serves
CCSN_TF_SERVING_MODEL_DIR (an --export_dir) as "ccsn".
"""

import asyncio
import json
import os
import pathlib
import shutil
import subprocess
import sys

import kept_models
import numpy as np
import pytest
import serving_requests
import videos
from serving_stand_in import StandIn

from ccsn_tf.data.video import VideoError
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import predict_video
from ccsn_tf.serving import versions
from ccsn_tf.serving.client.client import AsyncClient, Client, ServingError
from ccsn_tf.serving.client.clip_input import jpeg_inputs
from ccsn_tf.serving.metadata import client_config

GIVEN = "CCSN_TF_SERVING_ADDRESS"
HOSTILE = ("serving_default: floats", "serving_default: no flow", "jpeg: truncated", "jpeg: 17 scans", "jpeg: no clip")
HOSTILE += ("jpeg: one rank less", "jpeg: clips beyond the limit", "metadata: floats", "no such signature")


@pytest.fixture(scope="module", params=["stand-in", "given"] if GIVEN in os.environ else ["stand-in"])
def service(request, exported):
    """(gRPC address, REST address, folder of the version that is served there)."""
    if request.param == "given":
        found = versions(os.environ["CCSN_TF_SERVING_MODEL_DIR"])
        return os.environ[GIVEN], os.environ["CCSN_TF_SERVING_REST_ADDRESS"], found[max(found)]
    server = request.getfixturevalue("stand_in")
    return f"localhost:{server.grpc_port}", f"localhost:{server.rest_port}", exported.path


@pytest.fixture(scope="module", params=["grpc", "rest"])
def client(service, request):
    made = Client(service[0] if request.param == "grpc" else f"http://{service[1]}", timeout=60)
    yield made
    made.close()


@pytest.fixture(scope="module")
def metadata(service):
    return json.loads(pathlib.Path(service[2], "assets.extra", "ccsn.json").read_text())


@pytest.fixture(scope="module")
def expected(service):
    """A function of a signature and inputs: what the same SavedModel answers, run here."""
    signatures = kept_models.load_saved_model(str(service[2])).signatures
    return lambda name, inputs: {key: value.numpy() for key, value in signatures[name](**inputs).items()}


def test_answers_are_the_model_s(client, metadata, expected):
    assert client.metadata() == metadata
    for signature in ("jpeg", "serving_default", "embed"):
        make = serving_requests.jpegs if signature == "jpeg" else serving_requests.arrays
        inputs = make(metadata, clips=2, segments=2)
        answer, wanted = client.predict(signature, inputs), expected(signature, inputs)
        assert answer.keys() == wanted.keys()
        for name, value in wanted.items():
            if value.dtype == object:
                assert answer[name].tolist() == [[label.decode() for label in row] for row in value]
            else:
                np.testing.assert_allclose(answer[name], value, atol=1e-6)
                assert answer[name].dtype == value.dtype


def test_a_video_is_classified(client, metadata, expected, exported, moving_video):
    answer = client.classify_video(moving_video)
    inputs = jpeg_inputs(moving_video, client_config(metadata), metadata["segments"])
    wanted = expected("jpeg", {name: value[None] for name, value in inputs.items()})
    np.testing.assert_allclose(answer["scores"], wanted["scores"][0], atol=1e-6)
    assert answer["top_labels"][0] == metadata["classes"][int(np.argmax(answer["scores"]))]
    of_one = client.classify_video(moving_video, segments=1)["scores"]
    assert np.abs(of_one - answer["scores"]).max() > 1e-5
    if metadata == exported.metadata:
        of_keras = predict_video(moving_video, kept_models.make_forward(exported.model), exported.config)
        for scores, stream in (("scores", "fused"), ("spatial_scores", "spatial"), ("temporal_scores", "temporal")):
            np.testing.assert_allclose(answer[scores], of_keras[stream], atol=0.02)  # but for the JPEGs


def test_many_are_awaited_at_once(stand_in, moving_video):
    async def ask():
        client = AsyncClient(f"localhost:{stand_in.grpc_port}", calls=3)
        answers = await asyncio.gather(*(client.classify_video(moving_video, segments) for segments in (1, 2, 3, 1)))
        await client.close()
        return answers

    first, *others, last = asyncio.run(ask())
    np.testing.assert_array_equal(first["scores"], last["scores"])
    assert all(np.abs(other["scores"] - first["scores"]).max() > 1e-5 for other in others)


def test_bad_videos_are_the_user_s_matter(client, tmp_path):
    with pytest.raises(VideoError, match="does not exist"):
        client.classify_video(str(tmp_path / "absent.mp4"))
    short = videos.write_video(tmp_path / "short.avi", videos.moving()[:3])
    with pytest.raises(VideoError, match="3 frames"):
        client.classify_video(str(short))


def test_hostile_requests_get_a_reason_and_harm_nobody(client, metadata, expected):
    good, requests = serving_requests.jpegs(metadata), serving_requests.hostile(metadata)
    wanted = expected("jpeg", good)["scores"]
    for name in HOSTILE:
        with pytest.raises(ServingError, match=r"refuses the request \([A-Z]+_[A-Z]+: .") as caught:
            print(name, client.predict(requests[name].signature, requests[name].inputs))
        assert caught.value.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION"), name
        assert len(str(caught.value)) < 2000 and "\n" not in str(caught.value), name
        np.testing.assert_allclose(client.predict("jpeg", good)["scores"], wanted, atol=1e-6)


def test_a_new_version_brings_its_own_metadata(exported, moving_video, tmp_path):
    """A client that knows version 1 must not send input made for it to version 2."""
    shutil.copytree(exported.path, tmp_path / "1")
    with StandIn(str(tmp_path)) as server:
        clients = [Client(f"localhost:{server.grpc_port}"), Client(f"http://localhost:{server.rest_port}")]
        before = [client.classify_video(moving_video)["scores"] for client in clients]
        (tmp_path / "1").rename(tmp_path / "2")
        server.reload()
        for client, scores in zip(clients, before, strict=True):
            np.testing.assert_allclose(client.classify_video(moving_video)["scores"], scores, atol=1e-6)
            assert client._known[0] == 2


def test_a_model_of_somebody_else(tmp_path, moving_video):
    import tensorflow as tf

    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.double)
    with StandIn(str(tmp_path)) as server:
        for address in (f"localhost:{server.grpc_port}", f"http://localhost:{server.rest_port}"):
            with pytest.raises(UserError, match="has no metadata of ours"):
                Client(address).classify_video(moving_video)


def test_the_script_needs_no_tensorflow(stand_in, moving_video):
    """What `pip install .` brings is enough: everything else is as if it were not there."""
    code = """if True:
        import runpy, sys

        extras = {"tensorflow", "keras", "tensorflow_serving", "jinja2", "onnx", "onnxruntime", "matplotlib", "h5py"}

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in extras:
                    raise ModuleNotFoundError(name, name=name)

        sys.meta_path.insert(0, Absent())
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
    """
    script = pathlib.Path(__file__).parents[3] / "scripts" / "query.py"
    for server in (f"localhost:{stand_in.grpc_port}", f"http://localhost:{stand_in.rest_port}"):
        command = [sys.executable, "-c", code, script, f"--server={server}", "--json", moving_video]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert result.returncode == 0, result.stderr
        (top, _) = json.loads(result.stdout)["top"]
        assert top["class"] == Client(server).classify_video(moving_video)["top_labels"][0]
