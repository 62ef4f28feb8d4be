"""The client where things go wrong on the way, alone and from 64 threads at once."""

import collections
import contextlib
import itertools
import random
import socket
import threading

import callers
import numpy as np
import pytest
import serving_requests
from breaking_proxy import BreakingProxy
from serving_stand_in import StandIn

from ccsn_tf.serving.client.client import Client, ServingError


class Script:
    """Faults in a given order, one a prediction, then none."""

    def __init__(self):
        self.left, self.asked = [], 0

    def __call__(self):
        self.asked += 1
        return self.left.pop(0) if self.left else None


@pytest.fixture(scope="module")
def faulty(exported):
    """(a stand-in, its script of faults)."""
    script = Script()
    with StandIn(str(exported.folder), fault=script, slow=0.3, over_long=3.0) as server:
        yield server, script


@pytest.fixture(params=["grpc", "rest"])
def address(faulty, request):
    server, script = faulty
    script.left, script.asked = [], 0
    return f"localhost:{server.grpc_port}" if request.param == "grpc" else f"http://localhost:{server.rest_port}"


@pytest.fixture(scope="module")
def request_inputs(exported):
    return serving_requests.jpegs(exported.metadata)


def test_a_server_that_turns_callers_away_is_asked_again(faulty, address, request_inputs):
    script, client = faulty[1], Client(address, attempts=4)
    expected = client.predict("jpeg", request_inputs)["scores"]
    script.left, script.asked = ["unavailable", "exhausted", "lost"], 0
    np.testing.assert_array_equal(client.predict("jpeg", request_inputs)["scores"], expected)
    assert script.asked == 4
    script.left, script.asked = ["exhausted"] * 4, 0
    with pytest.raises(ServingError, match="too much to do"):
        client.predict("jpeg", request_inputs)
    assert script.asked == 4


def test_a_slow_answer_is_waited_for_but_not_for_ever(faulty, address, request_inputs):
    script = faulty[1]
    script.left = ["slow", "over_long"]
    assert Client(address, timeout=10).predict("jpeg", request_inputs)["scores"].shape == (1, 3)
    with pytest.raises(ServingError, match="--timeout") as caught:
        Client(address, timeout=0.5).predict("jpeg", request_inputs)
    assert caught.value.code == "DEADLINE_EXCEEDED" and script.asked == 2


def test_a_refused_request_is_not_repeated(faulty, address, exported):
    with pytest.raises(ServingError, match="INVALID_ARGUMENT"):
        Client(address).predict("jpeg", serving_requests.jpegs(exported.metadata, frame=b"no picture"))
    assert faulty[1].asked == 1


def test_a_broken_connection_is_made_anew(faulty, address, request_inputs):
    """The reset comes while the server works on the request."""
    server, script = faulty
    proxy = BreakingProxy(server.grpc_port if address.startswith("localhost") else server.rest_port)
    client = Client(address.rsplit(":", 1)[0] + f":{proxy.port}", timeout=10)
    expected = client.predict("jpeg", request_inputs)["scores"]
    script.left, script.asked = ["slow"], 0
    timer = threading.Timer(0.15, proxy.reset)
    timer.start()
    np.testing.assert_array_equal(client.predict("jpeg", request_inputs)["scores"], expected)
    timer.join()
    assert script.asked == 2
    client.close()
    proxy.close()


def test_a_server_that_comes_back_is_found(exported, request_inputs, unused_port):
    client = Client(f"localhost:{unused_port}", timeout=20, attempts=9)
    answers = []
    caller = threading.Thread(target=lambda: answers.append(client.predict("jpeg", request_inputs)))
    caller.start()
    with StandIn(str(exported.folder), grpc_port=unused_port):
        caller.join()
    assert answers and answers[0]["scores"].shape == (1, 3)


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", "UNAVAILABLE", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "INTERNAL", "is that a model server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "INTERNAL", "no outputs"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n{"outputs": {"scores": [{}]}}', "INTERNAL", "tensors"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops", "INTERNAL", "HTTP status 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b" " * 70_000_000, "OUT_OF_RANGE", "longer than"),
        (b"\x00\x01\x02 hello\r\n\r\n", "INTERNAL", "does not speak HTTP"),
        (b"", "UNAVAILABLE", "cannot be reached"),
    ],
    ids=["cut", "list", "empty", "objects", "error", "endless", "binary", "silent"],
)
def test_strange_answers(reply, code, words, request_inputs):
    """A server that reads a request, sends `reply`, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                    with connection:
                        received = b""
                        while not received.endswith(b"}}"):
                            received += connection.recv(2**16)
                        connection.sendall(reply)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        client = Client(f"http://localhost:{listener.getsockname()[1]}", timeout=20, attempts=2)
        with pytest.raises(ServingError, match=words) as caught:
            client.predict("jpeg", request_inputs)
        assert caught.value.code == code
        listener.shutdown(socket.SHUT_RDWR)


def test_a_trickle_does_not_outlast_the_deadline(request_inputs):
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(2**16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stopped.wait(0.1):
                    connection.sendall(b" ")

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(ServingError, match="did not answer within 1 s"):
            Client(f"http://localhost:{listener.getsockname()[1]}", timeout=1).predict("jpeg", request_inputs)
        stopped.set()


@pytest.mark.slow
def test_64_callers_for_two_minutes(exported, tmp_path):
    """No wrong answer; every request answered or reported, for a reason that was injected; nothing left behind.

    A fifth of the requests goes wrong in one way or another; connections are broken every few seconds.
    """
    rng, lock, injected = random.Random(0), threading.Lock(), collections.Counter()
    kinds = itertools.cycle(("slow", "over_long", "unavailable", "exhausted", "lost"))

    def fault():
        with lock:
            kind = next(kinds) if rng.random() < 0.2 else None
            injected[kind] += 1
        return kind

    def reset(proxies):
        injected["reset"] += sum(proxy.reset() for proxy in proxies)

    with StandIn(str(exported.folder), fault=fault, slow=0.3, over_long=6.0) as server:
        with contextlib.suppress(ServingError):  # the first run of a signature takes seconds
            Client(f"localhost:{server.grpc_port}").predict("jpeg", serving_requests.jpegs(exported.metadata))
        ports = server.grpc_port, server.rest_port
        report = callers.run(ports, "localhost:{}", str(exported.path), 120, tmp_path, reset)
    print(report, injected)
    assert all(injected[kind] for kind in ("slow", "over_long", "unavailable", "exhausted", "lost", "reset"))
