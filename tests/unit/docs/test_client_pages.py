"""The pages of `docs/clients/` show the programs that the tests build and run."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from docs import client_pages

PROGRAMS = {
    "cpp": ["cpp/chat.cpp", "cpp/CMakeLists.txt", "output.txt"],
    "csharp": ["csharp/Chat.cs", "csharp/chat.csproj"],
    "go": ["go/chat.go", "go/go.mod", "go/Makefile", "output.txt"],
    "java": ["java/Chat.java", "java/Makefile", "output.txt"],
    "node": ["node/chat.js", "node/package.json", "output.txt"],
    "python": ["python/chat.py", "python/requirements.txt", "output.txt"],
    "ruby": ["ruby/chat.rb", "ruby/Makefile", "output.txt"],
}


@pytest.mark.parametrize("page", client_pages.pages(), ids=lambda page: page.name)
def test_a_page_shows_its_files_as_they_are(page: Path):
    written = page.read_text(encoding="utf-8")
    assert written == client_pages.filled(written), "run `make docs`"


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_page_shows_the_whole_program_and_how_it_is_built(language: str):
    page = (client_pages.FOLDER / f"{language}.md").read_text(encoding="utf-8")
    assert sorted(client_pages.files_shown(page)) == sorted(PROGRAMS[language])


def test_the_list_of_pages_is_whole():
    listed = (client_pages.FOLDER / "README.md").read_text(encoding="utf-8")
    names = {page.name for page in client_pages.pages()} - {"README.md"}
    assert names == set(re.findall(r"\]\(([\w-]+\.md)\)", listed))


def test_the_python_program_stands_on_the_versions_that_its_tests_run_on():
    pinned = (client_pages.FOLDER / "python" / "requirements.txt").read_text(encoding="utf-8").split()
    assert pinned == [f"{name}=={version(name)}" for name, _, _ in (line.partition("==") for line in pinned)]


def test_the_node_program_names_one_version_of_each_package():
    package = json.loads((client_pages.FOLDER / "node" / "package.json").read_text(encoding="utf-8"))
    locked = json.loads((client_pages.FOLDER / "node" / "package-lock.json").read_text(encoding="utf-8"))
    assert package["dependencies"] == locked["packages"][""]["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", wanted) for wanted in package["dependencies"].values())
    assert not any("resolved" in entry for entry in locked["packages"].values())
