"""Whatever is said stays text, nobody sees what is another's, and nothing leaves the machine."""

from __future__ import annotations

import httpx
import pytest
from playwright.async_api import expect

from services.inference.engine.fake import FakeEngine
from tests.browser.house import Reader, box, say, scripted

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ATTACK = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'><b onclick='window.hit = 3'>bold</b>"
REPLY = f"""{ATTACK}

<style>body {{ display: none }}</style>

[script](javascript:window.hit=4) [data](data:text/html,<script>1</script>) [good](https://example.org/a?b=1)

![picture](https://example.org/picture.png)

<svg onload="window.hit=5"><a xlink:href="javascript:window.hit=6">x</a></svg>

```html
{ATTACK}
```
"""


@pytest.fixture
def engine() -> FakeEngine:
    return scripted({"attack": REPLY})


async def test_markup_in_a_message_and_in_a_reply_stays_text(reader: Reader):
    page = await reader.open()
    await say(page, f"attack {ATTACK}")
    for _ in range(2):
        await expect(page.locator(".bubble")).to_have_text(f"attack {ATTACK}")
        prose = page.locator(".reply .prose")
        await expect(prose).to_contain_text("<script>window.hit = 1</script>")
        await expect(prose.locator("code")).to_have_text(ATTACK)
        assert await prose.locator("script, style, svg:not(.icon), img, b, [onclick], [onerror], [style]").count() == 0
        await page.reload()
    assert await page.evaluate("window.hit") is None


async def test_links_lead_to_other_sites_only_and_say_nothing_of_where_they_were(reader: Reader):
    page = await reader.open()
    await say(page, "attack")
    links = page.locator(".reply .prose a")
    found = {await link.inner_text(): await link.get_attribute("href") for link in await links.all()}
    assert found == {
        "script": None,
        "data": None,
        "good": "https://example.org/a?b=1",
        "picture": "https://example.org/picture.png",
    }
    assert await links.last.get_attribute("rel") == "noopener noreferrer"


async def test_titles_stay_text_too(reader: Reader):
    page = await reader.open()
    await say(page, "<img src=x onerror='window.hit=1'>")
    await expect(page.get_by_role("heading", level=1)).to_have_text("<img src=x onerror='window.hit=1'>")
    await page.keyboard.press("Control+K")
    await page.keyboard.type("onerror")
    await expect(page.get_by_role("option").first).to_contain_text("<img src=x")
    assert await page.evaluate("window.hit") is None


async def test_another_user_sees_nothing_of_it(reader: Reader):
    mine = await reader.open(extra_http_headers={"X-User-Id": "anna"})
    await say(mine, "My secret is a tomato")
    theirs = await reader.open(extra_http_headers={"X-User-Id": "boris"})
    await expect(theirs.get_by_text("Conversations you have will be listed here.")).to_be_visible()
    await theirs.keyboard.press("Control+K")
    await theirs.keyboard.type("tomato")
    await expect(theirs.get_by_text("Nothing was found.")).to_be_visible()
    await theirs.keyboard.press("Escape")
    await theirs.goto(mine.url)
    await expect(theirs.get_by_role("alert")).to_contain_text("There is no such conversation.")
    assert "tomato" not in await theirs.content()


async def test_the_browser_is_told_to_run_and_ask_nothing_else(reader: Reader):
    async with httpx.AsyncClient() as client:
        answers = [await client.get(f"{reader.address}{path}") for path in ("/", "/assets/js/main.js")]
    for answer in answers:
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
    assert "<script>" not in answers[0].text
    assert " style=" not in answers[0].text
    page = await reader.open()
    blocked = await page.evaluate(
        """async () => {
            const violated = new Promise((done) => {
                addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
            });
            fetch("https://example.org/").catch(() => {});
            return violated;
        }"""
    )
    assert blocked == "connect-src"
    reader.complaints.clear()
    reader.requests = [request for request in reader.requests if "example.org" not in request.url]
    await expect(box(page)).to_be_visible()
