"""A `.gguf` file is prepared once, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import resource
from pathlib import Path

import pytest

from services.inference.engine.gguf_cache import prepared
from services.inference.engine.gguf_source import Prepared
from services.inference.progress import Progress
from services.rpc.settings import StartupError


class Preparation:
    """Stands for the real one: copies the file's bytes."""

    def __init__(self) -> None:
        self.runs = 0
        self.fails = False

    def __call__(self, file: Path, folder: Path) -> Prepared:
        self.runs += 1
        (folder / "model.safetensors").write_bytes(file.read_bytes())
        if self.fails:
            raise OSError(28, "No space left on device")
        return Prepared(("en",), {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF one")
    return path


def test_a_second_start_prepares_nothing(tmp_path: Path, file: Path):
    preparation = Preparation()
    first = prepared(file, tmp_path, Progress(), preparation)
    assert prepared(file, tmp_path, Progress(), preparation) == first
    assert preparation.runs == 1
    assert (first / "model.safetensors").read_bytes() == b"GGUF one"


def test_a_file_that_was_only_touched_is_known_by_its_digest(tmp_path: Path, file: Path):
    preparation = Preparation()
    first = prepared(file, tmp_path, Progress(), preparation)
    os.utime(file, (1, 1))
    assert prepared(file, tmp_path, Progress(), preparation) == first
    assert preparation.runs == 1
    assert json.loads((first / "source.json").read_text())["mtime_ns"] == 10**9


@pytest.mark.parametrize("form", [None, 1])
def test_what_an_earlier_version_prepared_is_prepared_anew(tmp_path: Path, file: Path, form: int | None):
    preparation = Preparation()
    first = prepared(file, tmp_path, Progress(), preparation)
    source = json.loads((first / "source.json").read_text())
    del source["form"]
    (first / "source.json").write_text(json.dumps(source if form is None else {**source, "form": form}))
    assert prepared(file, tmp_path, Progress(), preparation) == first
    assert preparation.runs == 2


def test_a_moved_file_is_known_by_its_digest(tmp_path: Path, file: Path):
    preparation = Preparation()
    first = prepared(file, tmp_path, Progress(), preparation)
    (tmp_path / "other").mkdir()
    moved = file.rename(tmp_path / "other" / file.name)
    assert prepared(moved, tmp_path, Progress(), preparation) == first
    assert preparation.runs == 1


def test_another_content_under_the_same_name_is_prepared_anew(tmp_path: Path, file: Path):
    preparation = Preparation()
    first = prepared(file, tmp_path, Progress(), preparation)
    file.write_bytes(b"GGUF two!")
    second = prepared(file, tmp_path, Progress(), preparation)
    assert second != first
    assert (second / "model.safetensors").read_bytes() == b"GGUF two!"


@pytest.mark.parametrize("name", ["source.json", "model.safetensors"])
def test_a_damaged_preparation_is_made_again(tmp_path: Path, file: Path, name: str):
    preparation = Preparation()
    first = prepared(file, tmp_path, Progress(), preparation)
    (first / name).write_bytes(b"")
    assert prepared(file, tmp_path, Progress(), preparation) == first
    assert preparation.runs == 2
    assert (first / "model.safetensors").read_bytes() == b"GGUF one"


def test_an_interrupted_preparation_leaves_nothing_that_counts(tmp_path: Path, file: Path):
    preparation = Preparation()
    preparation.fails = True
    with pytest.raises(StartupError, match="No space left on device"):
        prepared(file, tmp_path, Progress(), preparation)
    assert list((tmp_path / "models").iterdir()) == []
    preparation.fails = False
    assert prepared(file, tmp_path, Progress(), preparation).is_dir()


def test_where_files_cannot_be_written_it_says_why(tmp_path: Path):
    from services.inference.engine.model_source import _embedded_file

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(StartupError, match=rf"cannot be prepared in .* \({os.strerror(errno.EFBIG)}\)\.$"):
            prepared(_embedded_file(), tmp_path, Progress())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "models").iterdir()) == []


def test_what_a_killed_preparation_left_is_removed_once_it_is_old(tmp_path: Path, file: Path):
    old, young = tmp_path / "models" / ".preparing-old", tmp_path / "models" / ".preparing-young"
    for left in (old, young):
        left.mkdir(parents=True)
    os.utime(old, (1, 1))
    prepared(file, tmp_path, Progress(), Preparation())
    assert not old.exists()
    assert young.exists()


def test_a_file_that_is_no_gguf_is_refused_before_anything_is_written(tmp_path: Path, file: Path):
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(StartupError, match=r"no GGUF file"):
        prepared(file, tmp_path, Progress(), Preparation())
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(("size", "said"), [(3_000_000, "is cut off"), (300_000, "is damaged"), (6, "is damaged")])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, size: int, said: str):
    from services.inference.engine.model_source import _embedded_file

    with _embedded_file().open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(size))
    with pytest.raises(StartupError, match=said):
        prepared(tmp_path / "cut.gguf", tmp_path, Progress())
