"""`docs/api.md` says what the protos say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_from_protos", ROOT / "docs" / "api_from_protos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_protos_say(writer: ModuleType):
    written = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert written == writer.page(), "run `make docs`"


def test_every_call_is_on_the_page_with_a_comment(writer: ModuleType):
    page = writer.page()
    for call in ("ChatService.Chat", "MemoryService.AppendMessages", "InferenceService.Generate"):
        assert f"### {call}\n\n`{call.split('.')[1]}(" in page
