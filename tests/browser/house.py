"""The three real services with scripted models behind the page, and the page as a test uses it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request

from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.inference.engine.fake import FakeEngine
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.memory.embedder.fake import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.server import Server

AT_HOME = "chat.example"
"""A name that the browser finds on this machine, and takes for another."""


def scripted(replies: dict[str, str | Iterator[str]], **options: object) -> FakeEngine:
    """Returns an engine that answers by what the last message has in it, with an iterator's next, or says hello."""

    def reply(prompt: str) -> list[str]:
        said = prompt.rpartition("\n<user>")[2]
        text = next((reply for key, reply in replies.items() if key in said), "Hello there.")
        return re.findall(r"\s*\S+|\s+$", text if isinstance(text, str) else next(text))

    return FakeEngine(reply, **options)


@contextlib.asynccontextmanager
async def running_house(folder: Path, engine: FakeEngine, **settings: object) -> AsyncIterator[str]:
    """Runs the services; yields the address of the page."""
    async with contextlib.AsyncExitStack() as running:

        async def run(service: object, settings: object) -> int:
            server = Server(service, settings)
            await server.bind()
            running.push_async_callback(server.stop, 0)
            await server.start()
            return server.port

        inference = InferenceSettings(data_dir=folder, inference_grpc_port=0)
        memory = MemorySettings(data_dir=folder, memory_grpc_port=0)
        inference_port = await run(InferenceService(inference, load_engine=lambda *_: engine), inference)
        memory_port = await run(MemoryService(memory, embedder=EmbedderThreads(FakeEmbedder())), memory)
        gateway_settings = GatewaySettings(
            data_dir=folder,
            gateway_grpc_port=0,
            gateway_http_port=0,
            inference_address=f"127.0.0.1:{inference_port}",
            memory_address=f"127.0.0.1:{memory_port}",
            reply_reserve_tokens=50,
            **settings,
        )
        gateway = GatewayService(gateway_settings)
        await run(gateway, gateway_settings)
        yield gateway.http.address


@dataclass
class Reader:
    """Somebody with a browser, and all that it asked for and complained of."""

    browser: Browser
    address: str
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)

    async def open(self, path: str = "/", **options: object) -> Page:
        """Opens the page in a browser of its own, with nothing kept from others."""
        options = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, **options}
        context = await self.browser.new_context(**options)
        context.set_default_timeout(15_000)
        context.on("request", self._on_request)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._on_console)
        self.pages.append(page)
        await page.goto(self.address + path)
        return page

    def _on_request(self, request: Request) -> None:
        self.requests.append(request)

    def _on_console(self, line: ConsoleMessage) -> None:
        # The browser notes answers with an error's status by itself; what the page makes of them is seen on it.
        # And what protects on https only, it notes where there is none.
        noted = ("Failed to load resource:", "The Cross-Origin-Opener-Policy header has been ignored")
        if line.type in {"error", "warning"} and not line.text.startswith(noted):
            self.complaints.append(line.text)

    @property
    def hosts(self) -> set[str]:
        """Every place that was asked for something."""
        return {urlsplit(request.url).netloc for request in self.requests}

    async def leave(self) -> None:
        for page in self.pages:
            await page.context.close()


def box(page: Page) -> Locator:
    """Returns what messages are written in."""
    return page.get_by_role("textbox", name=re.compile("Your message$|Ваше сообщение$"))


async def say(page: Page, text: str) -> None:
    """Says something and waits for the whole reply."""
    replies = page.locator(".reply:not(.writing)")
    before = await replies.count()
    await box(page).fill(text)
    await box(page).press("Enter")
    await replies.nth(before).locator(".tools").wait_for()


async def said(page: Page) -> list[str]:
    """Returns what stands in the conversation: the text of each message."""
    return [
        (await each.locator(".bubble, .prose").inner_text()).strip() for each in await page.locator(".message").all()
    ]
