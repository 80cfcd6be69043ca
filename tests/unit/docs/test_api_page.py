"""`docs/api.md` says what the protos say."""

from pathlib import Path

from docs import api_from_protos as writer

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_what_the_protos_say():
    written = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert written == writer.page(), "run `make docs`"


def test_every_call_is_on_the_page_with_a_comment():
    page = writer.page()
    for call in ("ChatService.Chat", "MemoryService.AppendMessages", "InferenceService.Generate"):
        assert f"### {call}\n\n`{call.split('.')[1]}(" in page
