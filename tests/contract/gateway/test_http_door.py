"""The HTTP door: what holds for every request, whichever room answers it."""

from __future__ import annotations

import socket

import httpx
import pytest

from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.rpc.server import Server
from services.rpc.settings import StartupError
from tests.contract.gateway.house import House


async def test_the_model_that_is_loaded_is_listed(house: House, http: httpx.AsyncClient):
    listed = (await http.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["fake"]
    assert (await http.get("/v1/models/fake")).json() == listed["data"][0]


async def test_a_model_that_is_not_there_is_not_found(http: httpx.AsyncClient):
    answer = await http.get("/v1/models/org/other")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


async def test_a_path_where_nothing_is_answers_as_an_error(http: httpx.AsyncClient):
    answer = await http.get("/v1/nothing")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert (await http.delete("/v1/models")).status_code == 405


async def test_health_tells_whether_a_chat_would_be_answered(house: House, http: httpx.AsyncClient):
    assert (await http.get("/health")).json() == {"status": "ok", "model": "fake"}
    await house.servers["inference"].stop(0)
    down = await http.get("/health")
    assert down.status_code == 503
    assert int(down.headers["retry-after"]) >= 1
    assert down.json()["error"]["code"] == "inference_unavailable"
    assert (await http.get("/health/live")).status_code == 200


async def test_metrics_count_requests_by_route_and_never_by_path(http: httpx.AsyncClient):
    await http.get("/v1/models/some-secret")
    text = (await http.get("/metrics")).text
    assert 'chatbot_http_requests_total{outcome="MODEL_NOT_FOUND",route="/v1/models/{model:path}"} 1.0' in text
    assert "secret" not in text


async def test_plain_addresses_and_localhost_are_this_servers_names(http: httpx.AsyncClient):
    for host in ["localhost", "a.localhost:8080", "127.0.0.1:1", "[::1]:80", "192.168.1.4", "LOCALHOST."]:
        assert (await http.get("/health/live", headers={"host": host})).status_code == 200


async def test_a_request_addressed_to_another_name_is_refused(http: httpx.AsyncClient):
    for host in ["evil.example", "127.0.0.1.evil.example:8080", "", "[::1", "localhost.evil.example"]:
        answer = await http.get("/health/live", headers={"host": host})
        assert answer.status_code == 421
        assert answer.json()["error"]["code"] == "host_not_allowed"


async def test_a_page_of_another_origin_is_refused(http: httpx.AsyncClient):
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{http.base_url.port}.evil.example"):
        answer = await http.post("/v1/chat/completions", headers={"origin": origin}, json={})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


async def test_a_page_of_this_server_may_call_it(http: httpx.AsyncClient):
    origin = str(http.base_url).rstrip("/")
    assert (await http.get("/v1/models", headers={"origin": origin})).status_code == 200


async def test_allowed_names_and_origins_may(house: House, tmp_path):
    settings = GatewaySettings(
        data_dir=tmp_path,
        gateway_grpc_port=0,
        gateway_http_port=0,
        memory_address=f"127.0.0.1:{house.servers['memory'].port}",
        inference_address=f"127.0.0.1:{house.servers['inference'].port}",
        gateway_http_hosts="Chat.Example",
        gateway_http_origins="https://page.example, http://localhost:3000",
    )
    service = GatewayService(settings)
    server = Server(service, settings)
    await server.bind()
    try:
        await server.start()
        async with httpx.AsyncClient(base_url=service.http.address) as client:
            headers = {"host": "chat.example", "origin": "https://page.example"}
            answer = await client.get("/v1/models", headers=headers)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == "https://page.example"
            asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-conversation"}
            preflight = await client.options("/v1/chat/completions", headers=headers | asked)
            assert preflight.status_code == 200
            assert "x-conversation" in preflight.headers["access-control-allow-headers"].lower()
    finally:
        await server.stop(0)


async def test_a_taken_port_is_told_with_the_variable_that_sets_it(house: House, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = GatewaySettings(data_dir=tmp_path, gateway_grpc_port=0, gateway_http_port=taken.getsockname()[1])
        server = Server(GatewayService(settings), settings)
        await server.bind()
        with pytest.raises(StartupError, match="CHATBOT_GATEWAY_HTTP_PORT"):
            await server.start()
        await server.stop(0)
