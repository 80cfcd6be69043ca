"""The page before the three services as they are run, with the model and the embedder that come along."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect

from tests.browser.house import Reader, box
from tests.e2e.stack import SERVICES, Stack, free_ports

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    http_port, *ports = free_ports(1 + len(SERVICES))
    running = Stack(tmp_path_factory.mktemp("stack"), dict(zip(SERVICES, ports, strict=True)), http_port)
    try:
        running.start()
        yield running
    finally:
        running.kill()


async def test_it_replies_and_everything_is_there_after_a_restart(browser: Browser, stack: Stack):
    reader = Reader(browser, f"http://127.0.0.1:{stack.http_port}")
    page = await reader.open()
    await expect(page.locator(".model")).to_contain_text("SmolLM2")
    await box(page).fill("What is the capital of France?")
    await box(page).press("Enter")
    await page.locator(".reply:not(.writing) .tools").wait_for(timeout=60_000)
    reply = await page.locator(".reply .prose").inner_text()
    assert "Paris" in reply
    stack.stop()
    stack.start()
    await page.reload()
    await expect(page.locator(".reply .prose")).to_have_text(reply)
    await reader.leave()
    assert reader.hosts == {f"127.0.0.1:{stack.http_port}"}
