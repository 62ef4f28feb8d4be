"""The files for TensorFlow Serving, as far as they can be checked without it and without Docker."""

import pathlib
import subprocess

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

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


def test_the_model_config_is_one():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((FOLDER / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("ccsn", "/models/ccsn", "tensorflow")


def test_servers_find_what_they_are_told_to_read_and_merge_no_requests(compose, pod):
    """Which TensorFlow Serving would fail, all of them, where they differ in K."""
    (container,) = pod["containers"]
    for server in (compose["cpu"], compose["gpu"]):
        mounted = {volume.split(":")[-2]: volume for volume in server["volumes"]}
        assert "/models/ccsn" in mounted and all(volume.endswith(":ro") for volume in mounted.values())
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
