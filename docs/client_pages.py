"""Writes the files of `docs/clients/` into its pages, word for word, wherever a page names one.

Run by `make docs`; a test fails where a page shows something else than the file.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "clients"

_SHOWN = re.compile(r"<!-- file: (?P<file>\S+) -->\n.*?<!-- /file -->", re.DOTALL)

_LANGUAGE_OF_SUFFIX = {
    ".cpp": "cpp",
    ".cs": "csharp",
    ".csproj": "xml",
    ".go": "go",
    ".java": "java",
    ".js": "js",
    ".json": "json",
    ".mod": "text",
    ".py": "python",
    ".rb": "ruby",
    ".txt": "text",
}
_LANGUAGE_OF_NAME = {"CMakeLists.txt": "cmake", "Makefile": "makefile"}


def pages() -> list[Path]:
    """Returns the pages, by name."""
    return sorted(FOLDER.glob("*.md"))


def files_shown(page: str) -> list[str]:
    """Returns the files that a page shows, as paths below the folder of the pages."""
    return [shown["file"] for shown in _SHOWN.finditer(page)]


def filled(page: str) -> str:
    """Returns a page with every file that it names in it as the file is now."""
    return _SHOWN.sub(lambda shown: _block(shown["file"]), page)


def _block(file: str) -> str:
    path = FOLDER / file
    language = _LANGUAGE_OF_NAME.get(path.name) or _LANGUAGE_OF_SUFFIX[path.suffix]
    return f"<!-- file: {file} -->\n```{language}\n{path.read_text(encoding='utf-8')}```\n<!-- /file -->"


if __name__ == "__main__":
    for path in pages():
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
