"""The page's files: libraries as they were published, words in both languages."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from deploy import vendored
from services.gateway.web.page import STATIC


def keys(language: str) -> list[str]:
    text = (STATIC / "js" / "texts" / f"{language}.js").read_text(encoding="utf-8")
    return re.findall(r"^ {2,4}(\w+):", text, re.MULTILINE)


def modules() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in (STATIC / "js").rglob("*.js")}


def test_the_libraries_are_those_that_were_recorded():
    assert vendored.differences() == []


def test_a_library_that_was_changed_lost_or_added_is_told(tmp_path: Path):
    folder = tmp_path / "vendor"
    shutil.copytree(vendored.FOLDER, folder)
    (folder / "marked" / "marked.esm.js").write_text("changed")
    (folder / "dompurify" / "purify.es.mjs").unlink()
    (folder / "extra.js").touch()
    assert vendored.differences(folder) == [
        "dompurify/purify.es.mjs is missing",
        "extra.js is recorded nowhere",
        "marked/marked.esm.js is not what npm published",
    ]


def test_both_languages_say_the_same_things():
    assert keys("en") == keys("ru")


def test_every_text_is_used():
    code = "".join(text for path, text in modules().items() if path.parent.name != "texts")
    top = re.findall(r"^ {2}(\w+):", (STATIC / "js" / "texts" / "en.js").read_text(encoding="utf-8"), re.MULTILINE)
    assert [key for key in top if f'"{key}"' not in code] == []


def test_every_import_leads_to_a_file_of_the_page():
    for path, text in modules().items():
        for target in re.findall(r'(?:from |import\(?)"([^"]+)"', text):
            assert target.startswith("."), f"{path.name} imports {target}"
            assert (path.parent / target).resolve().is_file(), f"{path.name} imports {target}"


def test_markup_is_made_of_text_by_the_sanitiser_alone():
    for path, text in modules().items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|unsafeHTML|document\.write|\beval\b", text), (
            path.name
        )
