"""The page of a gateway that has API keys: who comes in, as whom, and until when."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from services.inference.engine.fake import FakeEngine
from tests.browser.house import Reader, box, said, say, scripted
from tests.support.keys import Keys

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def engine() -> FakeEngine:
    return scripted({"tomato": "A tomato, noted."})


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys" / "keys.json")


@pytest.fixture
def anna(keys: Keys) -> str:
    return keys.add("anna")


@pytest.fixture
def gateway_settings(keys: Keys, anna: str) -> dict[str, object]:
    return {"api_keys_file": keys.file.path}


async def show(page: Page, key: str) -> None:
    """Gives the page a key that it asks for."""
    asked = page.get_by_label("API key")
    await expect(asked).to_be_focused()
    await asked.fill(key)
    await asked.press("Enter")


async def test_a_key_opens_the_page_and_a_wrong_one_does_not(reader: Reader, anna: str):
    page = await reader.open()
    await show(page, anna[:-1] + ("0" if anna[-1] != "0" else "1"))
    await expect(page.get_by_role("alert")).to_contain_text("This key is not known here")
    await show(page, anna)
    await expect(page.get_by_label("API key")).to_have_count(0)
    await say(page, "I grow a tomato")
    await page.reload()
    await expect(page.get_by_label("API key")).to_have_count(0)
    await expect(page.locator(".bubble")).to_have_text("I grow a tomato")


async def test_where_a_key_is_revoked_the_page_asks_for_another_and_loses_nothing_that_was_said(
    reader: Reader, keys: Keys, anna: str
):
    page = await reader.open()
    await show(page, anna)
    await say(page, "I grow a tomato")
    keys.revoke("anna")
    await box(page).fill("And what of a second tomato?")
    await box(page).press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("This key is not known here, or no longer valid.")
    await show(page, keys.add("anna"))
    await expect(page.locator(".reply:not(.writing) .tools")).to_have_count(2)
    assert await said(page) == [
        "I grow a tomato",
        "A tomato, noted.",
        "And what of a second tomato?",
        "A tomato, noted.",
    ]


async def test_two_users_with_a_key_each_see_nothing_of_one_another(reader: Reader, keys: Keys, anna: str):
    mine = await reader.open()
    await show(mine, anna)
    await say(mine, "My secret is a tomato")
    theirs = await reader.open(mine.url.removeprefix(reader.address))
    await show(theirs, keys.add("boris"))
    await expect(theirs.get_by_role("alert")).to_contain_text("There is no such conversation.")
    await theirs.goto(reader.address)
    await expect(theirs.get_by_text("Conversations you have will be listed here.")).to_be_visible()
    await theirs.keyboard.press("Control+K")
    await theirs.keyboard.type("tomato")
    await expect(theirs.get_by_text("Nothing was found.")).to_be_visible()
    assert "tomato" not in await theirs.content()
    await theirs.keyboard.press("Escape")
    await say(theirs, "Hello")
    await mine.reload()
    await expect(mine.locator(".reply .prose")).to_have_count(1)
    assert await said(mine) == ["My secret is a tomato", "A tomato, noted."]
