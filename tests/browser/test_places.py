"""The page where it is not at home: in another country, at another address, at a conversation that is not there."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.house import AT_HOME, Reader, said, say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def gateway_settings() -> dict[str, object]:
    return {"gateway_http_hosts": AT_HOME}


@pytest.mark.parametrize(("locale", "clock"), [("en-GB", r"^\d\d:\d\d$"), ("en-US", r"^\d?\d:\d\d\s[AP]M$")])
async def test_times_are_written_as_in_the_readers_country(reader: Reader, locale: str, clock: str):
    page = await reader.open(locale=locale)
    await say(page, "Hello")
    await expect(page.locator(".reply time")).to_have_text(re.compile(clock))


async def test_it_works_over_plain_http_under_a_name_of_the_house(reader: Reader):
    reader.address = reader.address.replace("127.0.0.1", AT_HOME)
    page = await reader.open()
    assert not await page.evaluate("isSecureContext")
    await say(page, "Hello")
    assert await said(page) == ["Hello", "Hello there."]
    await page.locator(".reply").get_by_role("button", name="Copy reply").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()


async def test_a_conversation_that_is_not_there_leads_to_a_new_one(reader: Reader):
    page = await reader.open("/#/conversations/gone")
    await expect(page.get_by_role("alert")).to_contain_text("There is no such conversation.")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Chat")
    await expect(page.get_by_role("textbox")).to_have_count(0)
    await page.get_by_role("alert").get_by_role("button", name="New chat").click()
    await say(page, "Hello")
    assert await said(page) == ["Hello", "Hello there."]
