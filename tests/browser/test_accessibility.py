"""The page for everybody: checked by axe-core, by keyboard, on a phone, in both languages."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from services.inference.engine.fake import FakeEngine
from tests.browser.house import Reader, box, say, scripted

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

REPLY = """### Peas

Some *text* with `code` and a [link](https://example.org).

> Quoted.

```python
def rows(seeds: int) -> str:  # a comment
    return f"{seeds // 40} rows"
```

| A | B |
|---|---|
| 1 | 2 |
"""
WIDE = (
    "unbreakable" * 20
    + "\n\n```text\n"
    + "wide " * 60
    + "\n```\n\n| "
    + " | ".join(["heading"] * 12)
    + " |\n"
    + "|---" * 12
    + "|"
)


@pytest.fixture
def engine() -> FakeEngine:
    return scripted({"peas": REPLY, "wide": WIDE, "горох": "Сейте **горох** рано."})


@pytest.fixture
def gateway_settings() -> dict[str, object]:
    return {"recall_min_word_share": 0.2}


async def faults(page: Page, axe: str) -> list[str]:
    """Returns what axe-core finds that is serious or critical."""
    await page.evaluate(axe)
    found = await page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{fault['id']}: {node['html']} {node['failureSummary']}"
        for fault in found
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_fault_anywhere(reader: Reader, axe: str, scheme: str):
    page = await reader.open(color_scheme=scheme, reduced_motion="reduce")
    await expect(page.get_by_text("Conversations you have will be listed here.")).to_be_visible()
    assert await faults(page, axe) == []
    await say(page, "peas are green")
    await page.keyboard.press("Control+Shift+O")
    await expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
    await say(page, "peas are green again")
    await expect(page.get_by_role("complementary", name="Recalled")).to_be_visible()
    await expect(page.locator(".hljs-comment")).to_be_visible()
    await page.locator(".said").hover()
    assert await faults(page, axe) == []
    await page.get_by_role("button", name="Edit and send anew").click()
    assert await faults(page, axe) == []
    await page.keyboard.press("Escape")
    await page.locator(".bar").get_by_role("button", name="Actions for").click()
    assert await faults(page, axe) == []
    await page.get_by_role("menuitem", name="Delete").click()
    assert await faults(page, axe) == []
    await page.keyboard.press("Escape")
    await page.keyboard.press("Control+K")
    await page.keyboard.type("peas")
    await expect(page.get_by_role("option").first).to_be_visible()
    assert await faults(page, axe) == []
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Settings").click()
    assert await faults(page, axe) == []


async def test_axe_finds_no_serious_fault_on_a_phone(reader: Reader, axe: str):
    page = await reader.open(viewport={"width": 375, "height": 720}, has_touch=True, reduced_motion="reduce")
    await say_by_button(page, "peas are green")
    assert await faults(page, axe) == []
    await page.get_by_role("button", name="Show conversations").click()
    await expect(page.get_by_role("link", name="peas are green")).to_be_visible()
    assert await faults(page, axe) == []


async def say_by_button(page: Page, text: str) -> None:
    await box(page).fill(text)
    await page.get_by_role("button", name="Send", exact=True).click()
    await page.locator(".reply:not(.writing) .tools").wait_for()


async def test_everything_is_reached_by_keyboard_and_the_focus_comes_back(reader: Reader):
    page = await reader.open()
    await say(page, "peas are green")
    await page.locator("body").evaluate("() => document.activeElement.blur()")
    reached = []
    for _ in range(40):
        await page.keyboard.press("Tab")
        reached.append(
            await page.evaluate(
                "() => { const e = document.activeElement; return e.getAttribute('aria-label') || e.innerText }"
            )
        )
    for needed in (
        "Skip to the message box",
        "New chat",
        "Find in everything said",
        "peas are green",
        "Settings",
        "Copy code",
        "Copy reply",
        "Regenerate",
        "Edit and send anew",
        "Your message",
    ):
        assert needed in reached

    settings = page.get_by_role("button", name="Settings")
    await settings.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(settings).to_be_focused()

    actions = page.locator(".bar").get_by_role("button", name="Actions for")
    await actions.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(actions).to_be_focused()

    await box(page).focus()
    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_role("textbox", name="Your message, said anew")).to_be_focused()


async def test_replies_are_read_out_by_paragraph(reader: Reader):
    page = await reader.open()
    await say(page, "peas are green")
    region = page.locator("#announcements[aria-live=polite]")
    await expect(region).to_contain_text("Some text with code and a link.")
    await expect(region).to_contain_text("def rows(seeds: int) -> str:")
    assert await region.locator("p").count() <= 8


@pytest.mark.parametrize("width", [320, 375, 768])
async def test_nothing_is_wider_than_a_narrow_screen(reader: Reader, width: int):
    page = await reader.open(viewport={"width": width, "height": 720}, has_touch=True)
    for text in ("wide", "unbreakable" * 20):
        await box(page).fill(text)
        await page.get_by_role("button", name="Send", exact=True).click()
        await expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    await page.locator(".reply:not(.writing) .tools").nth(1).wait_for()
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    for element in ("#scroller", ".foot", ".transcript"):
        assert await page.locator(element).evaluate("e => e.scrollWidth - e.clientWidth") <= 0


async def test_the_list_opens_over_the_conversation_on_a_phone(reader: Reader):
    page = await reader.open(viewport={"width": 375, "height": 720}, has_touch=True)
    await say_by_button(page, "peas are green")
    await expect(page.get_by_role("link", name="peas are green")).to_have_count(0)
    await page.get_by_role("button", name="Show conversations").click()
    await page.get_by_role("link", name="peas are green").click()
    await expect(page.get_by_role("link", name="peas are green")).to_have_count(0)
    await expect(page.locator(".bubble")).to_be_visible()


async def test_it_speaks_russian_where_the_browser_does_and_where_that_is_chosen(reader: Reader):
    page = await reader.open(locale="ru-RU")
    await expect(page.get_by_role("heading", name="О чём поговорим?")).to_be_visible()
    await expect(page.locator("html")).to_have_attribute("lang", "ru")
    await expect(page.get_by_text("fake не рассчитана на русский язык.")).to_be_visible()
    await say(page, "Когда сеять горох?")
    await expect(page.get_by_role("button", name="Ответить заново")).to_be_visible()
    await page.keyboard.press("Control+K")
    await page.keyboard.type("горох")
    await expect(page.get_by_text("Найдено 3 результата")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Настройки").click()
    await page.get_by_label("Язык").select_option("en")
    await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("button", name="New chat")).to_be_visible()


async def test_the_appearance_that_was_chosen_stays(reader: Reader):
    page = await reader.open(color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = await page.evaluate(ground)
    await page.get_by_role("button", name="Settings").click()
    await page.get_by_label("Appearance").select_option("dark")
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert await page.evaluate(ground) != light
