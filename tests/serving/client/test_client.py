"""The client against the stand-in and, where there is one, against TensorFlow Serving."""

import shutil

import numpy as np
import pytest
import serving_requests
import videos
from model_server import REAL_SERVER
from serving_stand_in import StandIn

from ccsn_tf.data.video import VideoError
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import make_forward, predict_video
from ccsn_tf.serving.client.client import Client, ServingError, jpeg_inputs
from ccsn_tf.serving.client.config import client_config

# JSON has one kind of integers, and the server takes the inputs that it knows; and half a minute of digits.
HARMLESS_OVER_REST = (
    "wide integers",
    "one more",
    "too many clips",
    "default: too many segments",
    "embed: too many segments",
)


@pytest.fixture(scope="module", params=["grpc", "rest"])
def client(service, request):
    address = service.grpc if request.param == "grpc" else f"http://{service.rest}"
    made = Client(address, timeout=60)
    yield made
    made.close()


def agree(answer, expected):
    for name, value in expected.items():
        if value.dtype == object:
            assert answer[name].tolist() == [[label.decode() for label in row] for row in value]
        else:
            np.testing.assert_allclose(answer[name], value, atol=1e-6)
            assert answer[name].dtype == value.dtype
    assert answer.keys() == expected.keys()


def test_the_real_server_is_among_them():
    if REAL_SERVER is None:
        pytest.skip("no tensorflow_model_server on the PATH, and CCSN_TF_SERVING_ADDRESS is not set: stand-in only")


def test_metadata_comes_from_the_server(client, service):
    assert client.metadata() == service.metadata


@pytest.mark.parametrize("signature", ["jpeg", "serving_default", "embed"])
def test_answers_are_the_model_s(client, service, signature):
    make = serving_requests.jpegs if signature == "jpeg" else serving_requests.arrays
    inputs = make(service.metadata, clips=2, segments=2)
    agree(client.predict(signature, inputs), service.expected(signature, inputs))


def test_a_video_is_classified(client, service, moving_video):
    answer = client.classify_video(moving_video)
    inputs = jpeg_inputs(moving_video, client_config(service.metadata), service.metadata["segments"])
    expected = service.expected("jpeg", {name: value[None] for name, value in inputs.items()})
    np.testing.assert_allclose(answer["scores"], expected["scores"][0], atol=1e-6)
    assert answer["top_labels"][0] == service.metadata["classes"][int(np.argmax(answer["scores"]))]
    assert answer["scores"].sum() == pytest.approx(1, abs=1e-5)


def test_the_answer_is_that_of_predict_but_for_the_jpegs(exported, stand_in, moving_video):
    answer = Client(f"localhost:{stand_in.grpc_port}").classify_video(moving_video)
    expected = predict_video(moving_video, make_forward(exported.model), exported.config)
    for scores, stream in (("scores", "fused"), ("spatial_scores", "spatial"), ("temporal_scores", "temporal")):
        np.testing.assert_allclose(answer[scores], expected[stream], atol=0.02)


def test_the_number_of_segments_can_be_chosen(client, service, moving_video):
    one, eight = client.classify_video(moving_video, segments=1), client.classify_video(moving_video, segments=8)
    assert np.abs(one["scores"] - eight["scores"]).max() > 1e-5


def test_bad_videos_are_the_user_s_matter(client, tmp_path):
    with pytest.raises(VideoError, match="does not exist"):
        client.classify_video(str(tmp_path / "absent.mp4"))
    short = videos.write_video(tmp_path / "short.avi", videos.moving()[:3])
    with pytest.raises(VideoError, match="3 frames"):
        client.classify_video(str(short))


def test_hostile_requests_get_a_reason_and_harm_nobody(client, service):
    good = serving_requests.jpegs(service.metadata)
    expected = service.expected("jpeg", good)["scores"]
    for name, request in serving_requests.hostile(service.metadata).items():
        if client.server.startswith("http") and name.endswith(HARMLESS_OVER_REST):
            continue
        with pytest.raises(ServingError, match=r"refuses the request \([A-Z]+_[A-Z]+: .") as caught:
            print(name, client.predict(request.signature, request.inputs))
        assert caught.value.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION"), name
        assert len(str(caught.value)) < 2000 and "\n" not in str(caught.value), name
        np.testing.assert_allclose(client.predict("jpeg", good)["scores"], expected, atol=1e-6)


def test_another_model_s_name(client):
    other = Client(client.server, model="other", timeout=20)
    with pytest.raises(ServingError, match=r"does not serve other .*--model") as caught:
        other.metadata()
    assert caught.value.code == "NOT_FOUND"


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
            with pytest.raises(UserError, match=r"has no metadata of ours .*: name a model that export/saved_model.py"):
                Client(address).classify_video(moving_video)


@pytest.mark.parametrize(
    "server", ["", "localhost", "localhost:", "localhost:x", ":8500", "ftp://a:1", "http://a", "a:70000"]
)
def test_addresses_that_are_none(server):
    with pytest.raises(UserError, match="is no address: give host:port"):
        Client(server)


def test_without_a_server(unused_port):
    for address in (f"localhost:{unused_port}", f"http://localhost:{unused_port}"):
        with pytest.raises(ServingError, match=r"cannot be reached .*: start it, name another --server"):
            Client(address, timeout=5, attempts=2).metadata()


def test_a_port_of_the_other_protocol(stand_in):
    with pytest.raises(ServingError):
        Client(f"localhost:{stand_in.rest_port}", timeout=5, attempts=2).metadata()
    for address in (f"localhost:{stand_in.grpc_port}/v2", f"http://localhost:{stand_in.rest_port}/v2"):
        with pytest.raises(ServingError, match=r"refuses the request|another protocol .*/v2"):
            Client(address, timeout=5, attempts=2).metadata()
    with pytest.raises(ServingError, match="does not speak HTTP"):
        Client(f"http://localhost:{stand_in.grpc_port}", timeout=5, attempts=2).metadata()
