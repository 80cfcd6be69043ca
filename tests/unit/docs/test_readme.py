"""The READMEs say what the code says."""

import re
from pathlib import Path

import pytest

from docs import settings_from_code as settings

ROOT = Path(__file__).resolve().parents[3]
LINK = re.compile(r"(?:\]\(|src=\")([^)#\"]+)")


def readme(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_settings_table_is_what_the_code_says():
    assert settings.table_in(readme("README.md")) == settings.table(), "run `make docs`"


def test_every_setting_is_described():
    cells = [line.split("|") for line in readme("README.md").splitlines() if line.startswith("| `CHATBOT_")]
    assert len(cells) > 20
    assert all(cell[4].strip() for cell in cells)


def test_the_russian_table_has_the_same_variables_defaults_and_readers():
    english, russian = (
        [line.split("|")[1:4] for line in settings.table_in(readme(name)).splitlines()[2:]]
        for name in ("README.md", "README.ru.md")
    )
    readers = {"all": "все", "inference": "inference", "memory": "memory", "gateway": "gateway"}
    assert [[v, d, f" {readers[s.strip()]} "] for v, d, s in english] == russian


def test_both_readmes_have_the_same_sections_and_code():
    english, russian = readme("README.md"), readme("README.ru.md")
    assert english.count("\n## ") == russian.count("\n## ")
    commands = re.compile(r"(?m)^    (\S.*?)(?:\s+#.*)?$")
    assert commands.findall(english) == commands.findall(russian)
    python = re.compile(r"```python\n.*?```", re.DOTALL)
    assert python.findall(english) == python.findall(russian)


PAGES = [
    "README.md",
    "README.ru.md",
    "docs/decisions/README.md",
    "docs/openai-api.md",
    "docs/security.md",
    *(f"docs/clients/{page.name}" for page in sorted((ROOT / "docs" / "clients").glob("*.md"))),
]


@pytest.mark.parametrize("page", PAGES)
def test_no_link_leads_nowhere(page: str):
    folder = (ROOT / page).parent
    targets = [target for target in LINK.findall(readme(page)) if "://" not in target]
    assert targets
    assert [target for target in targets if not (folder / target).exists()] == []
