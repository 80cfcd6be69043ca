"""What happens when a reply does not simply come to its end."""

from __future__ import annotations

import pytest
from playwright.async_api import Route, expect

from services.inference.engine.fake import FakeEngine
from tests.browser.house import Reader, box, said, say, scripted

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def engine() -> FakeEngine:
    return scripted({"count": "one two three four five six"}, pause_after=3)


@pytest.mark.parametrize("how", ["escape", "button"])
async def test_a_reply_that_is_stopped_is_kept_as_far_as_it_got(reader: Reader, engine: FakeEngine, how: str):
    page = await reader.open()
    await box(page).fill("Please count")
    await box(page).press("Enter")
    await expect(page.locator(".writing .prose")).to_have_text("one two three")
    if how == "escape":
        await page.keyboard.press("Escape")
    else:
        await page.get_by_role("button", name="Stop").click()
    await expect(page.locator(".reason")).to_have_text("Stopped.")
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    await expect(page.locator('.reply[data-message="2"]')).to_be_visible()
    await page.reload()
    await expect(page.locator(".reason")).to_have_text("Stopped.")
    assert await said(page) == ["Please count", "one two three"]
    engine.resume.set()
    await say(page, "Go on")
    assert len(await said(page)) == 4


async def test_a_new_conversation_has_its_title_while_its_first_reply_is_written(reader: Reader):
    page = await reader.open()
    await box(page).fill("Please count")
    await box(page).press("Enter")
    await expect(page.locator(".writing .prose")).to_have_text("one two three")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Please count")
    await expect(page.get_by_role("link", name="Please count")).to_be_visible()
    await page.keyboard.press("Escape")


async def test_a_connection_that_is_lost_is_told_and_what_was_said_is_kept(reader: Reader, engine: FakeEngine):
    page = await reader.open()
    await page.route("**/ChatService/Chat", lambda route: route.abort("connectionreset"), times=1)
    await box(page).fill("Please count")
    await box(page).press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("The connection was lost.")
    await expect(page.get_by_text("The server cannot be reached")).to_be_visible()
    engine.resume.set()
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(".reply:not(.writing) .prose")).to_have_text("one two three four five six")
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_busy_conversation_is_waited_for(reader: Reader, engine: FakeEngine):
    page = await reader.open()
    await box(page).fill("Please count")
    await box(page).press("Enter")
    await expect(page.locator(".writing .prose")).to_have_text("one two three")
    # The same conversation in another tab, while the reply is being written in the first.
    other = await page.context.new_page()
    await other.goto(page.url)
    await expect(other.locator(".said")).to_be_visible()
    await box(other).fill("Me too, count")
    await box(other).press("Enter")
    await expect(other.locator(".status")).to_contain_text("Another reply is being written in this conversation.")
    engine.resume.set()
    await expect(other.locator(".reply:not(.writing) .prose").last).to_have_text("one two three four five six")
    await other.reload()
    await expect(other.locator(".message")).to_have_count(4)


async def test_a_model_that_is_loading_is_waited_for(reader: Reader, engine: FakeEngine):
    engine.resume.set()
    page = await reader.open()
    loading = {"error": {"message": "…", "reason": "MODEL_LOADING", "metadata": {}, "retryAfter": 0.1}}
    await page.route("**/ChatService/Chat", lambda route: route.fulfill(status=503, json=loading), times=1)
    await box(page).fill("Please count")
    await box(page).press("Enter")
    await expect(page.locator(".status")).to_contain_text("The model is still loading.")
    await expect(page.locator(".reply:not(.writing) .prose")).to_have_text("one two three four five six")


async def test_a_key_is_asked_for_sent_and_forgotten_with_the_tab(reader: Reader, engine: FakeEngine):
    engine.resume.set()
    shown: list[str | None] = []

    async def guard(route: Route) -> None:
        shown.append(await route.request.header_value("authorization"))
        if shown[-1] == "Bearer right":
            await route.continue_()
        else:
            await route.fulfill(status=401, json={"error": {"message": "…", "reason": "UNAUTHENTICATED"}})

    page = await reader.open()
    await page.route("**/ChatService/**", guard)
    await page.reload()
    key = page.get_by_label("API key")
    await expect(key).to_be_focused()
    await key.fill("wrong")
    await key.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("This key is not known here")
    await key.fill("right")
    await key.press("Enter")
    await expect(key).to_have_count(0)
    await say(page, "Please count")
    assert {"Bearer wrong", "Bearer right"} <= set(shown)
    assert "right" not in await page.evaluate("Object.values(localStorage).join()")
    assert await page.context.cookies() == []
