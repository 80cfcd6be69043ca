"""The images and the compose file fit the services and each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.launch.cli import DEFAULT_HTTP_PORT, DOORS
from deploy.launch.places import CHECKOUT
from services.gateway.identity import ChosenIdentity
from services.gateway.settings import GatewaySettings
from services.inference.settings import InferenceSettings
from services.memory.settings import MemorySettings
from services.rpc.settings import StartupError, variable_name
from services.rpc.wait import parse_target

COMPOSE = CHECKOUT / "docker-compose.yml"
SETTINGS = {"gateway": GatewaySettings, "memory": MemorySettings, "inference": InferenceSettings}
PORTS = {door.name: door.default_port for door in DOORS}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


def dockerfile(service: str) -> str:
    return (CHECKOUT / "deploy" / f"Dockerfile.{service}").read_text(encoding="utf-8")


def room(service: dict[str, Any]) -> str:
    return service["build"]["dockerfile"].rsplit(".", 1)[-1]


def known_variables(service: str) -> set[str]:
    return {variable_name(field) for field in SETTINGS[service].model_fields}


def has_compose() -> bool:
    docker = shutil.which("docker")
    return docker is not None and (
        subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not has_compose(), reason="needs a docker client with compose")
@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_accepts_the_file(profile):
    subprocess.run(["docker", "compose", "--profile", profile, "config", "--quiet"], cwd=CHECKOUT, check=True)


def test_only_the_gateway_is_published_and_only_on_loopback(services):
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    ports = (PORTS["gateway"], DEFAULT_HTTP_PORT)
    assert published == {"gateway": [f"127.0.0.1:{port}:{port}" for port in ports]}


def test_only_a_gateway_that_is_published_on_loopback_is_open_to_anyone(services):
    opened = {name for name, service in services.items() if "CHATBOT_OPEN_TO_ANYONE" in service["environment"]}
    assert opened == {"gateway"}
    assert all(published.startswith("127.0.0.1:") for published in services["gateway"]["ports"])
    assert "CHATBOT_OPEN_TO_ANYONE" not in dockerfile("gateway")


def test_a_gateway_in_its_container_starts_because_the_compose_file_says_so_and_only_then(services, tmp_path):
    bound = {"bind_host": "0.0.0.0", "data_dir": tmp_path}
    with pytest.raises(StartupError, match="CHATBOT_BIND_HOST"):
        ChosenIdentity(GatewaySettings(**bound))
    opened = services["gateway"]["environment"]["CHATBOT_OPEN_TO_ANYONE"]
    ChosenIdentity(GatewaySettings(**bound, open_to_anyone=opened))


def test_every_variable_of_a_container_is_a_setting_of_its_service(services):
    for service in services.values():
        ours = {name for name in service["environment"] if name.startswith("CHATBOT_")}
        assert ours <= known_variables(room(service))


def test_the_gateway_reaches_the_others_under_names_that_the_network_knows(services):
    environment = services["gateway"]["environment"]
    assert environment["CHATBOT_MEMORY_ADDRESS"] == f"dns:///memory:{PORTS['memory']}"
    assert environment["CHATBOT_INFERENCE_ADDRESS"] == f"dns:///inference:{PORTS['inference']}"
    assert "memory" in services
    for name in ("inference-cpu", "inference-gpu"):
        assert services[name]["networks"]["default"]["aliases"] == ["inference"]


def test_the_gateway_starts_when_the_others_are_healthy_whichever_profile_is_chosen(services):
    waits_for = services["gateway"]["depends_on"]
    assert {name: wait["condition"] for name, wait in waits_for.items()} == dict.fromkeys(
        ("memory", "inference-cpu", "inference-gpu"), "service_healthy"
    )
    for name, wait in waits_for.items():
        assert wait.get("required", True) is not bool(services[name].get("profiles"))


def test_the_gpu_profile_runs_gemma_in_8_bits_on_one_gpu(services):
    gpu = services["inference-gpu"]
    assert gpu["environment"]["CHATBOT_MODEL"] == "${CHATBOT_MODEL:-google/gemma-3-1b-it}"
    assert gpu["environment"]["CHATBOT_WEIGHTS"] == "${CHATBOT_WEIGHTS:-bnb-int8}"
    assert gpu["environment"]["HF_TOKEN"] == "${HF_TOKEN:-}"  # noqa: S105 (passed through)
    assert gpu["build"]["args"]["LOCK"] == "cuda"
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_the_cpu_profile_runs_the_model_that_comes_along_as_a_cpu_does_it_best(services):
    cpu = services["inference-cpu"]
    assert cpu["environment"]["CHATBOT_MODEL"] == "${CHATBOT_MODEL:-}"
    assert cpu["environment"]["CHATBOT_WEIGHTS"] == "${CHATBOT_WEIGHTS:-auto}"
    assert cpu["build"]["args"]["LOCK"] == "cpu"


def test_containers_come_back_cannot_write_their_root_and_gain_no_rights(services):
    for service in services.values():
        assert service["restart"] == "unless-stopped"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_every_volume_that_is_used_is_declared():
    whole = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    used = {v.split(":")[0] for service in whole["services"].values() for v in service.get("volumes", [])}
    assert used == set(whole["volumes"])


def test_build_arguments_are_those_of_the_dockerfile(services):
    for service in services.values():
        declared = set(re.findall(r"^ARG (\w+)", dockerfile(room(service)), re.MULTILINE))
        assert set(service["build"].get("args", {})) <= declared


@pytest.mark.parametrize("service", SETTINGS)
def test_an_image_copies_what_exists_and_what_the_build_context_lets_in(service):
    let_in = {
        line.removeprefix("!")
        for line in (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    sources = re.findall(r"^COPY (?!--from)(\S+) ", dockerfile(service), re.MULTILINE)
    assert sources
    for source in sources:
        assert (CHECKOUT / source).exists()
        assert Path(source).parts[0] in let_in


@pytest.mark.parametrize("service", SETTINGS)
def test_an_image_is_unprivileged_hash_checked_and_asks_its_own_health(service):
    text = dockerfile(service)
    door = next(door for door in DOORS if door.name == service)
    assert re.search(r"^USER (?!root)\w+$", text, re.MULTILINE)
    assert "--require-hashes --no-deps" in text
    assert f"EXPOSE {door.default_port}\n" in text
    assert f'ENTRYPOINT ["python", "-m", "services.{service}"]' in text
    probe = re.search(rf'"--once", "({service}=[^"]+)"', text)
    assert probe is not None
    target = parse_target(probe[1])
    assert (target.address, target.service) == (f"127.0.0.1:{door.default_port}", door.health)


@pytest.mark.parametrize("service", SETTINGS)
def test_an_image_sets_variables_that_are_settings(service):
    assigned = set(re.findall(r"\b(CHATBOT_\w+)=", dockerfile(service)))
    bound_by = "CHATBOT_BIND_HOST" if service == "gateway" else "CHATBOT_INTERNAL_BIND_HOST"
    assert {name for name in assigned if name.endswith("BIND_HOST")} == {bound_by}
    assert assigned <= known_variables(service)


@pytest.mark.parametrize("service", SETTINGS)
def test_an_image_that_keeps_data_keeps_it_in_its_volume(service):
    assert "CHATBOT_DATA_DIR=/data " in dockerfile(service)
    assert "\nVOLUME /data\n" in dockerfile(service)


@pytest.mark.parametrize("service", SETTINGS)
def test_images_stand_on_a_pinned_slim_python(service):
    bases = re.findall(r"^FROM (\S+)", dockerfile(service), re.MULTILINE)
    assert set(bases) == {"python:3.11-slim-bookworm"}
