"""TLS and tokens: servers that ask for both and, once they have them, say that they know no model."""

import concurrent.futures
import contextlib
import http.server
import ssl
import subprocess
import threading

import grpc
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.serving.client.client import Client, ServingError

KINDS = ("grpcs://{}", "grpcs://{}/v2", "https://{}", "https://{}/v2")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with certificates of localhost and of another host, their keys, a token and another."""
    folder = tmp_path_factory.mktemp("tls")
    for name, host in (("right", "localhost"), ("other", "other.example")):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}"]
        command += ["-addext", f"subjectAltName=DNS:{host}", "-keyout", f"{folder}/{name}.key"]
        subprocess.run([*command, "-out", f"{folder}/{name}.crt"], check=True, capture_output=True)
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
    """{scheme: port} of servers with a certificate."""
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


def refusal(kind, ports, files, ca="right", token="token"):
    """What the client says that it was told."""
    server = kind.format(f"localhost:{ports[kind.split(':')[0]]}")
    files = [str(files / f"{ca}.crt") if ca else "", str(files / token) if token else ""]
    client = Client(server, "ccsn", 5, 2, *files)
    with pytest.raises(ServingError) as caught:
        client.metadata()
    client.close()
    assert "\n" not in str(caught.value)
    return caught.value


def test_both_are_given_and_taken(files):
    with servers(files, "right") as ports:
        for kind in KINDS:
            assert refusal(kind, ports, files).code == "NOT_FOUND", kind
            for token in ("wrong", ""):
                error = refusal(kind, ports, files, token=token)
                assert error.code == "UNAUTHENTICATED" and "--token_file" in str(error), kind
            for ca in ("other", ""):
                error = refusal(kind, ports, files, ca=ca)
                assert error.code in ("UNAUTHENTICATED", "UNAVAILABLE"), kind
                assert "certificate" in str(error).lower() and "--ca_file" in str(error), kind


def test_a_certificate_of_another_host(files):
    with servers(files, "other") as ports:
        for kind in KINDS:
            error = refusal(kind, ports, files, ca="other")
            assert error.code in ("UNAUTHENTICATED", "UNAVAILABLE") and "--ca_file" in str(error), kind


def test_tls_where_there_is_none_and_the_other_way_round(files, stand_in):
    plain = {"grpcs": stand_in.grpc_port, "https": stand_in.rest_port}
    for kind in KINDS:
        assert "TLS" in str(refusal(kind, plain, files)), kind
    with servers(files, "right") as ports:
        for server in (f"localhost:{ports['grpcs']}", f"http://localhost:{ports['https']}"):
            with pytest.raises(ServingError, match=r"cannot be reached.*grpcs:// or https://"):
                Client(server, timeout=5, attempts=2).metadata()


@pytest.mark.parametrize(
    "server, ca, token, words",
    [
        ("localhost:8500", "right.crt", "", "--ca_file is for TLS"),
        ("http://localhost:8501", "", "token", "--token_file is for TLS"),
        ("https://localhost:8501", "absent", "", r"--ca_file=.*absent cannot be read"),
        ("https://localhost:8501", "token", "", r"--ca_file=.*token holds no certificates"),
        ("https://localhost:8501", "", "right.crt", r"--token_file=.*right.crt holds no token"),
        ("https://localhost:8501/v3", "", "", "--server=.*is no address"),
        ("ftp://localhost:21", "", "", "--server=.*is no address"),
    ],
)
def test_mistakes(files, server, ca, token, words):
    with pytest.raises(UserError, match=words):
        Client(server, "ccsn", 5, 2, str(files / ca) if ca else "", str(files / token) if token else "")
