"""Servers that cannot be asked, each with its remedy: of another protocol, without the model, by TLS, with a token."""

import concurrent.futures
import contextlib
import http.server
import ssl
import threading

import grpc
import pytest
from serving_fixtures import make_certificate

from ccsn_tf.errors import UserError
from ccsn_tf.serving.client.client import Client, ServingError

KINDS = ("grpcs://{}", "grpcs://{}/v2", "https://{}", "https://{}/v2")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with certificates of localhost and of another host, their keys, a token and another."""
    folder = tmp_path_factory.mktemp("tls")
    for name, host in (("right", "localhost"), ("other", "other.example")):
        make_certificate(folder, name, host)
    (folder / "token").write_text("s3cret\n")
    (folder / "wrong").write_text("guess")
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404 if self.headers["Authorization"] == "Bearer s3cret" else 401)

    def log_message(self, format, *args):
        """Says nothing."""


class Refusing(grpc.GenericRpcHandler):
    def service(self, details):
        allowed = ("authorization", "Bearer s3cret") in details.invocation_metadata
        code = grpc.StatusCode.NOT_FOUND if allowed else grpc.StatusCode.UNAUTHENTICATED
        return grpc.unary_unary_rpc_method_handler(lambda request, context: context.abort(code, "no"))


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Handshakes that fail are what is tried here."""


@contextlib.contextmanager
def servers(files, name):
    """{scheme: port} of servers with a certificate that ask for the token, and then know no model."""
    key, certificate = ((files / f"{name}.{suffix}") for suffix in ("key", "crt"))
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    by_grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=[Refusing()])
    port = by_grpc.add_secure_port("localhost:0", credentials)
    by_grpc.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    by_http = QuietServer(("localhost", 0), Handler)
    by_http.socket = context.wrap_socket(by_http.socket, server_side=True)
    threading.Thread(target=by_http.serve_forever, daemon=True).start()
    yield {"grpcs": port, "https": by_http.server_address[1]}
    by_http.shutdown()
    by_http.server_close()
    by_grpc.stop(None)


def refusal(server, *files, model="ccsn", attempts=2):
    """What the client says that it was told, in one sentence."""
    client = Client(server, model, 5, attempts, *map(str, files))
    with pytest.raises(ServingError) as caught:
        client.metadata()
    client.close()
    assert "\n" not in str(caught.value) and server in str(caught.value)
    return caught.value


def test_certificates_and_tokens(files):
    with servers(files, "right") as right, servers(files, "other") as other:
        for kind in KINDS:
            server, elsewhere = (kind.format(f"localhost:{ports[kind.split(':')[0]]}") for ports in (right, other))
            certificate, token = files / "right.crt", files / "token"
            assert refusal(server, certificate, token).code == "NOT_FOUND", kind
            for wrong in (files / "wrong", ""):
                error = refusal(server, certificate, wrong)
                assert error.code == "UNAUTHENTICATED" and "--token_file" in str(error), kind
            # Not trusted, not in the system's store, and of another host.
            for address, ca in ((server, files / "other.crt"), (server, ""), (elsewhere, files / "other.crt")):
                error = refusal(address, ca, token)
                assert error.code == "UNAUTHENTICATED" and "--ca_file" in str(error), (kind, ca)


def test_tls_where_there_is_none_and_the_other_way_round(files, stand_in):
    plain = {"grpcs": stand_in.grpc_port, "https": stand_in.rest_port}
    for kind in KINDS:
        error = refusal(kind.format(f"localhost:{plain[kind.split(':')[0]]}"), files / "right.crt", files / "token")
        assert "TLS" in str(error), kind
    with servers(files, "right") as ports:
        for server in (f"localhost:{ports['grpcs']}", f"http://localhost:{ports['https']}"):
            assert "grpcs:// or https://" in str(refusal(server))


def test_another_protocol(stand_in):
    by_grpc, by_http = f"localhost:{stand_in.grpc_port}", f"localhost:{stand_in.rest_port}"
    for server in (f"{by_grpc}/v2", f"http://{by_http}/v2"):
        assert "another protocol" in str(refusal(server)) and "/v2" in str(refusal(server)), server
    for server in (by_http, f"{by_http}/v2", f"http://{by_grpc}", f"http://{by_grpc}/v2"):
        assert "http://" in str(refusal(server)), server


def test_no_such_model_and_no_server(stand_in, unused_port):
    for prefix, port in (("", stand_in.grpc_port), ("http://", stand_in.rest_port)):
        error = refusal(f"{prefix}localhost:{port}", model="other")
        assert error.code == "NOT_FOUND" and "--model" in str(error)
        error = refusal(f"{prefix}localhost:{unused_port}")
        assert error.code == "UNAVAILABLE" and "start it" in str(error)


@pytest.mark.parametrize(
    "server, ca, token, words",
    [
        *((server, "", "", "--server=.*is no address") for server in ("localhost", ":8500", "a:70000", "ftp://a:1")),
        ("https://localhost:8501/v3", "", "", "--server=.*is no address"),
        ("localhost:8500", "right.crt", "", "--ca_file is for TLS"),
        ("http://localhost:8501", "", "token", "--token_file is for TLS"),
        ("https://localhost:8501", "absent", "", r"--ca_file=.*absent cannot be read"),
        ("https://localhost:8501", "token", "", r"--ca_file=.*token holds no certificates"),
        ("https://localhost:8501", "", "right.crt", r"--token_file=.*right.crt holds no token"),
    ],
)
def test_mistakes(files, server, ca, token, words):
    with pytest.raises(UserError, match=words):
        Client(server, "ccsn", 5, 2, str(files / ca) if ca else "", str(files / token) if token else "")
