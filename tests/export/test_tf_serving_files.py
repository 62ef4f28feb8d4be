"""The files for TensorFlow Serving, as far as they can be checked without it and without Docker."""

import pathlib
import re
import shutil
import socket
import subprocess

import pytest
import yaml
from serving_fixtures import make_certificate

from ccsn_tf.serving.client.client import Client, ServingError

FOLDER = pathlib.Path(__file__).parents[2] / "export" / "tf_serving"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def pod():
    deployment, service = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]
    assert service["spec"]["selector"] == pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    return pod["spec"]


def test_servers_find_what_they_are_told_to_read_and_merge_no_requests(compose, pod):
    """Which TensorFlow Serving would fail, all of them, where they differ in K."""
    (container,) = pod["containers"]
    for server in (compose["cpu"], compose["gpu"]):
        mounted = {volume.split(":")[-2]: volume for volume in server["volumes"]}
        assert f"/models/{server['environment']['MODEL_NAME']}" in mounted and all(
            volume.endswith(":ro") for volume in mounted.values()
        )
        assert all((FOLDER / volume.split(":")[0]).is_file() for volume in mounted.values() if volume[:2] == "./")
        assert {option.partition("=")[2] for option in server["command"] if "=/" in option} <= set(mounted)
        assert server["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    for command in (compose["cpu"]["command"], compose["gpu"]["command"], container["args"]):
        assert not any("batching" in option for option in command)
        assert any(option.startswith("--xla_") for option in command)
        paths = [pathlib.Path(option.partition("=")[2]).name for option in command if "=/" in option]
        assert all((FOLDER / name).is_file() for name in paths)


def test_containers_can_do_little(compose, pod):
    for name, service in compose.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and not service["user"].startswith("0"), name
        assert name == "proxy" or service["mem_limit"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert container["resources"]["limits"]["memory"]
    assert {f"{kind}Probe" for kind in ("startup", "readiness", "liveness")} <= set(container)


def test_the_health_check_tells_ready_from_not(compose, stand_in, unused_port):
    program, *arguments = compose["cpu"]["healthcheck"]["test"][1:]
    arguments = [argument.replace("$$", "$") for argument in arguments]
    for port, ready in ((stand_in.rest_port, True), (unused_port, False), (stand_in.grpc_port, False)):
        result = subprocess.run(
            [program, *arguments],
            env={"REST_PORT": str(port), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert (result.returncode == 0) == ready, (port, result)


def test_nginx_adds_tls_and_asks_for_the_token(stand_in, moving_video, tmp_path):
    """The proxy as it is, but for folder and ports; where nginx 1.25.1 or newer is installed."""
    if (nginx := shutil.which("nginx")) is None:
        pytest.skip("no nginx on the PATH")
    make_certificate(tmp_path, "server")
    (tmp_path / "token.conf").write_text('"Bearer s3cret" 1;\n')
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "guess").write_text("guess\n")
    with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as other:
        ports = [each.getsockname()[1] for each in (one, other)]
    text = re.sub("/(tls|tmp)/", f"{tmp_path}/", (FOLDER / "nginx.conf").read_text())
    for ours, theirs in (("server:8500", stand_in.grpc_port), ("server:8501", stand_in.rest_port)):
        text = text.replace(ours, f"127.0.0.1:{theirs}")
    (tmp_path / "nginx.conf").write_text(text.replace("8443", str(ports[0])).replace("8444", str(ports[1])))
    command = [nginx, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-g", "daemon off; user root;"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for address in (f"grpcs://localhost:{ports[0]}", f"https://localhost:{ports[1]}"):
                ca_file = str(tmp_path / "server.crt")
                client = Client(address, attempts=9, ca_file=ca_file, token_file=str(tmp_path / "token"))
                assert client.classify_video(moving_video)["scores"].shape == (3,)
                with pytest.raises(ServingError, match="--token_file"):
                    Client(address, ca_file=ca_file, token_file=str(tmp_path / "guess")).metadata()
        finally:
            process.terminate()
