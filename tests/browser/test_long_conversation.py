"""A conversation of hundreds of messages: read from its end, by pages backwards."""

from __future__ import annotations

import json

import httpx
import pytest
from playwright.async_api import expect

from services.inference.engine.fake import FakeEngine
from tests.browser.house import Reader, box, say, scripted

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LINES = "\n\n".join(f"Line {number} of a long reply." for number in range(120))


@pytest.fixture
def engine() -> FakeEngine:
    return scripted({"long": LINES}, pause_after=400)


async def long_conversation(address: str) -> str:
    """Stores a conversation of 600 messages; returns its name."""
    async with httpx.AsyncClient(base_url=f"{address}/api/v1/ChatService/", timeout=60) as client:
        created = await client.post("CreateConversation", json={"conversation": {"title": "Long"}})
        name = created.json()["conversation"]["name"]
        messages = [
            {"role": role, "content": f"{word} number {number}. " + "It goes on for a while. " * 8}
            for number in range(300)
            for role, word in (("ROLE_USER", "Question"), ("ROLE_ASSISTANT", "Answer"))
        ]
        appended = await client.post("AppendMessages", json={"conversation": name, "messages": messages})
        assert appended.status_code == 200, json.dumps(appended.json())
        return name


async def test_it_opens_at_its_end_and_goes_back_by_pages_keeping_the_place(reader: Reader):
    name = await long_conversation(reader.address)
    page = await reader.open(f"/#/{name}")
    await expect(page.get_by_text("Answer number 299.")).to_be_in_viewport()
    assert await page.locator(".message").count() < 100
    scroller = page.locator("#scroller")
    # Up by screens, as a reader goes: a message that is on the screen stays where it is when older ones come.
    for _ in range(400):
        before = await page.locator(".message").count()
        if before == 600:
            break
        moved = await scroller.evaluate(
            """async (element) => {
                element.scrollTop = Math.max(1, element.scrollTop - element.clientHeight);
                const marks = [...element.querySelectorAll("[data-message]")];
                const mark = marks.find((each) => each.getBoundingClientRect().bottom > 100);
                const top = mark.getBoundingClientRect().top;
                const count = marks.length;
                for (let frame = 0; frame < 60; frame += 1) {
                    await new Promise(requestAnimationFrame);
                    if (element.querySelectorAll("[data-message]").length > count) break;
                    if (element.scrollTop > 600) break;
                }
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
                return Math.abs(mark.getBoundingClientRect().top - top);
            }"""
        )
        assert moved < 3
    assert await page.locator(".message").count() == 600
    await expect(page.get_by_role("button", name="To the latest message")).to_be_visible()
    await page.get_by_role("button", name="To the latest message").click()
    await expect(page.get_by_text("Answer number 299.")).to_be_in_viewport()


async def test_it_opens_at_a_message_far_back(reader: Reader):
    name = await long_conversation(reader.address)
    page = await reader.open(f"/#/{name}/41")
    await expect(page.locator(".message.flashed")).to_contain_text("Question number 20.")
    await expect(page.locator(".message.flashed")).to_be_in_viewport()


async def test_what_is_written_is_followed_until_the_reader_scrolls_up(reader: Reader, engine: FakeEngine):
    page = await reader.open()
    await box(page).fill("a long one")
    await box(page).press("Enter")
    await expect(page.locator(".message").get_by_text("Line 60 of")).to_be_in_viewport()
    await page.locator("#scroller").hover()
    await page.mouse.wheel(0, -600)
    await expect(page.get_by_role("button", name="To the latest message")).to_be_visible()
    top = await page.locator("#scroller").evaluate("e => e.scrollTop")
    engine.resume.set()
    await page.locator(".reply:not(.writing) .tools").wait_for()
    assert await page.locator("#scroller").evaluate("e => e.scrollTop") == top
    await page.get_by_role("button", name="To the latest message").click()
    await expect(page.locator(".message").get_by_text("Line 119 of")).to_be_in_viewport()


async def test_a_message_far_up_that_is_edited_comes_into_sight_and_stays(reader: Reader, engine: FakeEngine):
    engine.resume.set()
    page = await reader.open()
    await say(page, "a long one")
    await expect(page.locator(".message").get_by_text("Line 119 of")).to_be_in_viewport()
    await box(page).press("ArrowUp")
    editor = page.get_by_role("textbox", name="Your message, said anew")
    await expect(editor).to_be_focused()
    await expect(page.get_by_role("button", name="To the latest message")).to_be_visible()
    await expect(editor).to_be_in_viewport()
