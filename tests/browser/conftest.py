"""A browser, and the page of the real gateway in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from services.inference.engine.fake import FakeEngine
from tests.browser.house import AT_HOME, Reader, running_house, scripted

AXE = Path(__file__).parents[2] / ".ci" / "node_modules" / "axe-core" / "axe.min.js"
_MISSING = "the tests of the page need Chromium: apt-get install chromium, or put chromium on PATH"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, started once."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip(_MISSING)
    # Chromium's sandbox does not start for root.
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    # A name that is not loopback to the browser, as a gateway at home has one for a phone.
    arguments.append(f"--host-resolver-rules=MAP {AT_HOME} 127.0.0.1")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, args=arguments)
        yield running
        await running.close()


@pytest.fixture
def engine() -> FakeEngine:
    """The engine behind the page; a test module overrides it to script other replies."""
    return scripted({})


@pytest.fixture
def gateway_settings() -> dict[str, object]:
    """Settings of the gateway that a test module wants otherwise."""
    return {}


@pytest_asyncio.fixture(loop_scope="session")
async def reader(
    browser: Browser, tmp_path: Path, engine: FakeEngine, gateway_settings: dict[str, object]
) -> AsyncIterator[Reader]:
    """Somebody at the page. Whatever the test is about, the page asks only its own server and complains of nothing."""
    async with running_house(tmp_path, engine, **gateway_settings) as address:
        someone = Reader(browser, address)
        yield someone
        await someone.leave()
    assert someone.hosts <= {someone.address.removeprefix("http://")}
    assert someone.complaints == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    if not AXE.exists():
        pytest.skip("the tests of accessibility need axe-core: run `npm ci` in .ci")
    return AXE.read_text(encoding="utf-8")
