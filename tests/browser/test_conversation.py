"""A whole conversation at the page."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from playwright.async_api import expect

from services.inference.engine.fake import FakeEngine
from tests.browser.house import Reader, box, said, say, scripted

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

MARKDOWN = """Sow **peas** early:

1. Soak them.
2. Sow them 5 cm deep.

```python
def rows(seeds):
    return seeds // 40
```

| Sort | Days |
|---|---:|
| Early | 60 |

That is all."""


@pytest.fixture
def engine() -> FakeEngine:
    return scripted(
        {
            "sow peas": MARKDOWN,
            "capital": "Paris.",
            "others": "My **red** beans grow by the door",
            "Draw": (f"Number {n}" for n in itertools.count(1)),
        }
    )


@pytest.fixture
def gateway_settings() -> dict[str, object]:
    return {"recall_min_word_share": 0.3}


async def test_it_is_streamed_shown_as_markdown_and_kept_over_a_reload(reader: Reader):
    page = await reader.open()
    await expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
    await say(page, "When do I sow peas?")
    reply = page.locator(".reply")
    await expect(reply.locator("strong")).to_have_text("peas")
    await expect(reply.locator("ol li")).to_have_count(2)
    await expect(reply.locator("td[align=right]")).to_have_text("60")
    await expect(reply.locator("pre code .hljs-keyword").first).to_have_text("def")
    await expect(reply.locator(".figures")).to_have_text(re.compile("tokens/s · .* tokens"))
    await say(page, "What is the capital of France?")
    before = await said(page)
    assert before[0] == "When do I sow peas?"
    assert before[2:] == ["What is the capital of France?", "Paris."]

    await page.reload()
    await expect(page.locator(".message")).to_have_count(4)
    assert await said(page) == before
    await expect(page.get_by_role("heading", level=1)).to_have_text("When do I sow peas?")


async def test_a_reload_keeps_what_was_not_sent_yet(reader: Reader):
    page = await reader.open()
    await box(page).fill("Half a thought")
    await page.reload()
    await expect(box(page)).to_have_value("Half a thought")


async def test_code_is_copied_by_its_button(reader: Reader):
    page = await reader.open(permissions=["clipboard-read", "clipboard-write"])
    await say(page, "When do I sow peas?")
    await page.get_by_role("button", name="Copy code").click()
    assert await page.evaluate("navigator.clipboard.readText()") == "def rows(seeds):\n    return seeds // 40"


async def test_a_reply_is_written_anew(reader: Reader):
    page = await reader.open()
    await say(page, "Draw a number")
    await page.get_by_role("button", name="Regenerate").click()
    await expect(page.locator(".reply:not(.writing) .prose")).to_have_text("Number 2")
    await page.reload()
    await expect(page.locator(".message")).to_have_count(2)
    assert await said(page) == ["Draw a number", "Number 2"]


async def test_a_message_is_edited_and_what_followed_it_no_longer_counts(reader: Reader):
    page = await reader.open()
    await say(page, "What is the capital of Spain?")
    await say(page, "Thanks")
    await page.locator(".said").first.hover()
    await page.get_by_role("button", name="Edit and send anew").first.click()
    editor = page.get_by_role("textbox", name="Your message, said anew")
    await editor.fill("What is the capital of France?")
    await editor.press("Enter")
    await expect(page.locator(".message")).to_have_count(2)
    await expect(page.locator(".reply:not(.writing)")).to_be_visible()
    assert await said(page) == ["What is the capital of France?", "Paris."]
    await page.reload()
    await expect(page.locator(".message")).to_have_count(2)
    assert await said(page) == ["What is the capital of France?", "Paris."]


async def test_what_was_recalled_stands_beside_the_reply_and_opens_where_it_was_said(reader: Reader):
    page = await reader.open()
    await say(page, "My tomatoes grow on the balcony")
    await page.get_by_role("button", name="New chat").click()
    await expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
    await say(page, "Where do my tomatoes grow?")
    recalled = page.get_by_role("complementary", name="Recalled").get_by_role("link", name=re.compile("balcony"))
    column, aside = await page.locator(".reply .prose").bounding_box(), await recalled.bounding_box()
    assert aside["x"] >= column["x"] + column["width"]
    await page.reload()
    await recalled.click()
    await expect(page.locator(".message.flashed")).to_contain_text("My tomatoes grow on the balcony")
    await expect(page.locator(".message.flashed")).to_be_focused()


async def test_what_mattered_most_is_shown_of_what_was_recalled_and_the_rest_on_demand(reader: Reader):
    page = await reader.open()
    said_before = (
        "My beans grow by the wall",
        "And the others?",
        "My black beans grow by the shed",
        "My old beans grow by it",
    )
    for text in said_before:
        await say(page, text)
        await page.get_by_role("button", name="New chat").click()
        await expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
    await say(page, "Where do my red beans grow by now?")
    recalled = page.get_by_role("complementary", name="Recalled")
    await expect(recalled.get_by_role("link")).to_have_count(3)
    await expect(recalled.get_by_role("link").first).to_contain_text("My red beans grow by the door")
    await recalled.get_by_text("1 more").click()
    await expect(recalled.get_by_role("link")).to_have_count(4)


async def test_conversations_are_renamed_exported_and_deleted(reader: Reader):
    page = await reader.open()
    await say(page, "What is the capital?")
    actions = page.locator(".bar").get_by_role("button", name=re.compile("Actions for"))
    await actions.click()
    await page.get_by_role("menuitem", name="Rename").click()
    await page.get_by_label("Title").fill("Capitals")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Capitals")
    await expect(page.get_by_role("link", name="Capitals")).to_be_visible()

    async with page.expect_download() as saving:
        await actions.click()
        await page.get_by_role("menuitem", name="Export as JSON Lines").click()
    saved = await saving.value
    assert saved.suggested_filename == "Capitals.jsonl"
    lines = [json.loads(line) for line in (await saved.path()).read_text(encoding="utf-8").splitlines()]
    assert [next(iter(line)) for line in lines] == ["conversation", "message", "message"]
    assert lines[2]["message"]["reply_to"] == 1

    await actions.click()
    await page.get_by_role("menuitem", name="Delete").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_role("link", name="Capitals")).to_have_count(0)
    await expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()


async def test_everything_said_is_found_with_the_keyboard(reader: Reader):
    page = await reader.open()
    await say(page, "My tomatoes grow on the balcony")
    await page.keyboard.press("Control+Shift+O")
    await expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
    await page.keyboard.press("Control+K")
    await expect(page.get_by_role("combobox", name="Find in everything said")).to_be_focused()
    await page.keyboard.type("balcony")
    await expect(page.get_by_role("option").first).to_contain_text("balcony")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("option", selected=True)).to_contain_text("You")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.flashed")).to_contain_text("balcony")


async def test_what_was_found_is_scrolled_below_the_box_and_has_no_markup(reader: Reader):
    page = await reader.open(viewport={"width": 1280, "height": 400})
    for _ in range(4):
        await say(page, "When do I sow peas?")
    await page.keyboard.press("Control+K")
    await page.keyboard.type("sow peas")
    await expect(page.get_by_text("9 results")).to_be_visible()
    for _ in range(8):
        await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("option").last).to_be_in_viewport(ratio=0.9)
    await expect(page.get_by_role("combobox")).to_be_in_viewport(ratio=0.9)
    await expect(page.get_by_role("option").filter(has_text="Soak them.")).to_have_count(4)
    await expect(page.get_by_role("option").filter(has_text="**")).to_have_count(0)


async def test_instructions_and_sampling_reach_the_model(reader: Reader, engine: FakeEngine):
    page = await reader.open()
    await page.get_by_role("button", name="Settings").click()
    await page.get_by_label("Instructions for the model").fill("Answer briefly.")
    await page.get_by_label("Temperature").fill("0.25")
    await page.get_by_label("Most tokens").fill("1")
    await page.get_by_role("button", name="Close").click()
    await say(page, "Hi")
    assert engine.text_of(engine.requests[0].prompt).startswith("\n<system>Answer briefly.\n<user>Hi")
    assert engine.requests[0].sampling.temperature == pytest.approx(0.25)
    await expect(page.locator(".reason")).to_have_text("Cut at the longest length that your settings allow.")


async def test_a_message_too_long_goes_back_into_the_box(reader: Reader):
    page = await reader.open()
    text = "word " * 5000
    await box(page).fill(text)
    await box(page).press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("This is too long")
    await expect(box(page)).to_have_value(text)
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.get_by_role("alert")).to_have_count(0)
