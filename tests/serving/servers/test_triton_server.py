"""NVIDIA's server itself, with a repository as we generate it, asked by our client."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import re
import shutil
import socket
import time
import urllib.request

import callers
import numpy as np
import pytest
import serving_requests

from ccsn_tf.data.views import InputForm
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.serving.agreement import as_exported
from ccsn_tf.serving.client.client import Client, ServingError
from ccsn_tf.serving.client.clip_input import VideoFile, network_input
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.servers.local_triton import install, served
from ccsn_tf.serving.servers.triton import TritonSettings, make_repository

CALLERS, REQUESTS = 16, 200


class Server:
    """A Triton on ports of its own that can be ended and started again; `ports` are those of HTTP, gRPC, metrics."""

    def __init__(self, repository, installed, log):
        self._arguments, self._stack = (repository, installed), contextlib.ExitStack()
        self._log = log
        with contextlib.ExitStack() as stack:
            probes = [stack.enter_context(socket.socket()) for _ in range(3)]
            for probe in probes:
                probe.bind(("127.0.0.1", 0))
            self.ports = [probe.getsockname()[1] for probe in probes]

    def start(self):
        file = self._stack.enter_context(self._log.open("ab"))
        self._process = self._stack.enter_context(served(*self._arguments, self.ports, file))

    def start_if_dead(self):
        """Whether it was: Triton takes its Python process for dead if that gets no core for a second, and ends."""
        if dead := self._process.poll() is not None:
            self.stop()
            self.start()
        return dead

    def stop(self):
        self._stack.close()


@pytest.fixture(scope="module")
def server(request, onnx_export, tmp_path_factory):
    """Triton with version 1 of the small model; `repository` is its folder."""
    try:
        installed = install(request.config.cache.mkdir("triton"))
    except UserError as error:
        pytest.skip(f"no Triton to test with: {error}")
    folder = tmp_path_factory.mktemp("triton")
    make_repository(str(onnx_export("fp32").path), str(folder / "models"), SETTINGS)
    made = Server(folder / "models", installed, folder / "log")
    made.repository = folder / "models"
    made.start()
    yield made
    made.stop()


# 8 clips of 6 segments; requests wait long enough to meet, however busy the machine is.
SETTINGS = TritonSettings(device="cpu", max_segments=48, queue_delay_us=20_000)


@pytest.fixture(scope="module")
def metadata(onnx_export):
    return OnnxModel(str(onnx_export("fp32").path)).metadata


@pytest.fixture(params=["http", "grpc"])
def client(server, request):
    server.start_if_dead()
    made = Client(f"{request.param}://localhost:{server.ports[request.param == 'grpc']}/v2", timeout=60)
    yield made
    made.close()


@pytest.fixture(scope="module")
def clips(metadata, workdir_config):
    """(inputs, what Keras makes of them) of one to three clips of one to six segments, neighbours of the same K."""
    from ccsn_tf.models.build import load_model

    keras = as_exported(load_model(f"{workdir_config.train.workdir}/model.keras"))
    made = [serving_requests.arrays(metadata, clips, segments) for segments in (1, 2, 3, 6) for clips in (1, 2, 3)]
    return [(inputs, keras(inputs)) for inputs in made]


def right(client, inputs, expected):
    answer = client.predict("serving_default", inputs)
    return all(np.abs(answer[name] - value).max() <= 1e-5 for name, value in expected.items())


def test_many_callers_get_what_keras_says(server, client, clips):
    """Of mixed K: Triton joins requests, as its own count of runs says, and never those of different K."""
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
            answers = [pool.submit(right, client, *clips[number % len(clips)]) for number in range(REQUESTS)]
        if not server.start_if_dead():
            break
    assert [answer.result() for answer in answers] == [True] * REQUESTS
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports[2]}/metrics") as answer:
        text = answer.read().decode()
    counts = {
        name: float(re.search(rf"^nv_inference_{name}{{.*}} ([0-9.e+]+)$", text, re.M)[1])
        for name in ("request_success", "exec_count")
    }
    assert counts["request_success"] >= REQUESTS and counts["request_success"] > counts["exec_count"]


def test_a_video_is_named_as_keras_does(server, client, metadata, workdir_config, moving_video):
    from ccsn_tf.models.build import load_model
    from ccsn_tf.serving.metadata import client_config

    answer = client.classify_video(moving_video)
    inputs = network_input(VideoFile("", moving_video), client_config(metadata), metadata["segments"])
    assert inputs.keys() == InputForm(workdir_config.model).shapes(()).keys()
    keras = as_exported(load_model(f"{workdir_config.train.workdir}/model.keras"))
    expected = {name: value[0] for name, value in keras({name: each[None] for name, each in inputs.items()}).items()}
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(answer["temporal_scores"], softmax(expected["temporal_logits"]), atol=1e-5)
    order = np.argsort(-answer["scores"])[: metadata["top_k"]]
    assert answer["top_labels"].tolist() == [metadata["classes"][index] for index in order]
    assert answer["top_scores"].tolist() == answer["scores"][order].tolist()
    limits = {**metadata["limits"], "segments_a_request": 48, "segments_a_clip": 6}
    assert client.metadata() == {**metadata, "limits": limits}


def test_bad_requests_get_a_reason_and_harm_nobody(client, clips, metadata):
    good = serving_requests.arrays(metadata)
    bad = {
        "one rank less": {**good, "rgb": good["rgb"][0]},
        "larger pictures": serving_requests.arrays(metadata, image_size=2 * metadata["image_size"]),
        "floats": serving_requests.arrays(metadata, dtype="float32"),
        "strings": serving_requests.jpegs(metadata),
        "no clip": serving_requests.arrays(metadata, clips=0),
        "no segment": serving_requests.arrays(metadata, segments=0),
        "too many clips": serving_requests.arrays(metadata, clips=9),
        "too many segments": serving_requests.arrays(metadata, segments=7),
        "other clips": {**good, "flow": serving_requests.arrays(metadata, clips=2)["flow"]},
        "other segments": {**good, "flow": serving_requests.arrays(metadata, segments=1)["flow"]},
        "no flow": {"rgb": good["rgb"]},
        "one more": {**good, "audio": good["rgb"]},
    }
    for name, inputs in bad.items():
        with pytest.raises(ServingError, match=r"refuses the request \([A-Z_]+: .") as caught:
            print(name, client.predict("serving_default", inputs))
        assert len(str(caught.value)) < 2000 and "\n" not in str(caught.value), name
        assert right(client, *clips[0]), name
    with pytest.raises(ServingError, match="serving_default"):
        client.predict("jpeg", serving_requests.jpegs(metadata))


def test_what_is_not_there(server):
    with pytest.raises(ServingError, match=r"does not serve other .*--model"):
        Client(f"http://localhost:{server.ports[0]}/v2", model="other", timeout=20).metadata()
    with pytest.raises(ServingError, match=r"/v2"):  # asked as TensorFlow Serving
        Client(f"http://localhost:{server.ports[0]}", timeout=20).metadata()


@pytest.mark.parametrize("client", ["http"], indirect=True)
def test_a_restart_is_waited_for(server, client, clips):
    """By callers that are under way, and by one that comes meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        server.stop()
        client.attempts = 60
        waiting = [pool.submit(right, client, *clips[number]) for number in range(4)]
        server.start()
        assert all(each.result() for each in waiting)
    assert right(client, *clips[-1])


def versions(server):
    """What the server says is ready."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{server.ports[0]}/v2/models/ccsn") as it,
    ):
        return [int(version) for version in json.load(it)["versions"]]
    return []


def wait_for(condition):
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it did not come about within half a minute")


@pytest.mark.parametrize("client", ["grpc"], indirect=True)
def test_a_new_version_takes_over_and_goes(server, client, onnx_export, moving_video):
    """A client that made its input for the first asks again; the second's metadata are its own."""
    before, first = client.classify_video(moving_video)["scores"], client.metadata()
    make_repository(str(onnx_export("fp16").path), str(server.repository), dataclasses.replace(SETTINGS, version=2))
    wait_for(lambda: versions(server) == [2])
    after = client.classify_video(moving_video)["scores"]
    assert client.metadata()["precision"] == "fp16" and first["precision"] == "fp32"
    assert 0 < np.abs(after - before).max() < 0.01
    shutil.rmtree(server.repository / "ccsn" / "2")
    wait_for(lambda: versions(server) == [1])
    np.testing.assert_array_equal(client.classify_video(moving_video)["scores"], before)
    assert client.metadata() == first


@pytest.mark.slow
def test_64_callers_for_two_minutes(server, onnx_export, tmp_path):
    """As of TensorFlow Serving's protocol: connections break or are held up, and the server restarts once."""
    server.start_if_dead()
    injected = collections.Counter()
    kinds = itertools.cycle(("reset", "slow", "reset", "over_long", "reset", "restart", *["reset", "slow"] * 100))

    def harm(proxies):
        injected[kind := next(kinds)] += 1
        if kind == "restart":
            server.stop()
            server.start()
        for proxy in proxies:
            if kind == "reset":
                proxy.reset()
            elif kind != "restart":
                proxy.hold({"slow": 0.3, "over_long": 6.0}[kind])
        injected["died"] += server.start_if_dead()

    ports, model = (server.ports[1], server.ports[0]), str(onnx_export("fp32").path)
    print(callers.run(ports, "localhost:{}/v2", model, 120, tmp_path, harm), injected)
    assert all(injected[kind] for kind in ("reset", "slow", "over_long", "restart"))
