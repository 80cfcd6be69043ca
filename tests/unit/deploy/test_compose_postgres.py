"""The compose file that adds PostgreSQL fits the one it is laid over, and the memory service."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
import yaml
from pydantic import SecretStr

from deploy.launch.places import CHECKOUT
from services.memory.settings import MemorySettings
from services.memory.store.postgres import _OLDEST_VERSION
from services.memory.store.postgres_address import parse_address
from services.rpc.settings import variable_name

BASE, OVER = "docker-compose.yml", "docker-compose.postgres.yml"
PASSWORD = "${CHATBOT_DATABASE_PASSWORD:?choose one}"  # noqa: S105 (passed through)


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((CHECKOUT / OVER).read_text(encoding="utf-8"))["services"]


def test_memory_is_given_the_database_that_the_server_makes(services):
    server = services["postgres"]["environment"]
    assert server["POSTGRES_PASSWORD"] == PASSWORD
    (variable, url), *others = services["memory"]["environment"].items()
    assert not others
    assert variable == variable_name("database_url")
    assert "database_url" in MemorySettings.model_fields
    address = parse_address(SecretStr(url.replace(PASSWORD, "word")))
    assert (address.parameters["user"], address.parameters["dbname"]) == (
        server["POSTGRES_USER"],
        server["POSTGRES_DB"],
    )
    assert address.parameters["host"] in services
    assert services["memory"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_the_server_is_of_a_version_that_will_do_and_gains_no_rights(services):
    server = services["postgres"]
    assert int(server["image"].split(":")[1].split("-")[0]) >= _OLDEST_VERSION
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert server["user"] == "postgres"
    assert "ports" not in server


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs a docker client with compose")
def test_compose_accepts_both_together():
    version = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if version.returncode != 0:
        pytest.skip("needs a docker client with compose")
    command = ["docker", "compose", "-f", BASE, "-f", OVER, "--profile", "cpu", "config", "--quiet"]
    environment = {**os.environ, "CHATBOT_DATABASE_PASSWORD": "word"}
    subprocess.run(command, cwd=CHECKOUT, check=True, env=environment)
