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
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def test_the_model_config_is_one():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((FOLDER / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("ccsn", "/models/ccsn", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1


def test_prometheus_is_switched_on():
    """Its message, MonitoringConfig, is in no wheel."""
    assert 'prometheus_config { enable: true, path: "/metrics" }' in (FOLDER / "monitoring.config").read_text()


@pytest.fixture(scope="module")
def manifest():
    return list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))


def test_compose_mounts_what_the_server_is_told_to_read(compose):
    assert set(compose["services"]) == {"cpu", "gpu", "proxy"}
    for name in ("cpu", "gpu"):
        service = compose["services"][name]
        assert service["profiles"] == [name]
        mounted = {volume.split(":")[-2]: volume for volume in service["volumes"]}
        assert "/models/ccsn" in mounted and all(volume.endswith(":ro") for volume in service["volumes"])
        for option in service["command"]:
            value = option.partition("=")[2]
            assert not value.startswith("/") or value in mounted, option
        for volume in service["volumes"]:
            if volume.startswith("./"):
                assert (FOLDER / volume.split(":")[0]).is_file()
        assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
        assert service["image"].endswith("-gpu") == (name == "gpu") == ("deploy" in service)


def test_no_server_merges_requests(compose, manifest):
    """It would fail those that differ in K, all of them."""
    servers = [compose["services"][name]["command"] for name in ("cpu", "gpu")]
    servers.append(manifest[0]["spec"]["template"]["spec"]["containers"][0]["args"])
    for command in servers:
        assert not any("batching" in option for option in command)
        assert any(option.startswith("--xla_") for option in command)
        assert "--enable_grpc_healthcheck_service=true" in command


def test_containers_can_do_little(compose, manifest):
    for name, service in compose["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and not service["user"].startswith("0"), name
        assert name == "proxy" or service["mem_limit"]
    pod = manifest[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert container["resources"]["limits"]["memory"]


def test_the_manifest_mounts_what_it_reads_and_is_probed(manifest):
    deployment, service = manifest
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert service["spec"]["selector"] == pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["spec"]["volumes"]}
    assert {f"{kind}Probe" for kind in ("startup", "readiness", "liveness")} <= set(container)
    for option in container["args"]:
        value = option.partition("=")[2]
        assert not value.startswith("/") or (FOLDER / pathlib.Path(value).name).is_file(), option


def test_the_health_check_tells_ready_from_not(compose, stand_in, unused_port):
    program, *arguments = compose["services"]["cpu"]["healthcheck"]["test"][1:]
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
