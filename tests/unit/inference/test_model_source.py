"""Where a model comes from, and what is said where it cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from services.inference.engine import hub, model_card
from services.inference.engine.catalog import find_entry
from services.inference.engine.gguf_source import GgufSource, write_source
from services.inference.engine.model_source import locate
from services.inference.progress import Progress
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from pathlib import Path


def _model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").touch()
    return folder


def test_a_folder_is_taken_as_it_is_and_named_for_itself(tmp_path: Path):
    folder = _model(tmp_path / "my-model")
    found = locate(str(folder), tmp_path, Progress())
    assert (found.id, found.path) == ("my-model", folder)


def test_a_folder_without_a_config_is_refused(tmp_path: Path):
    with pytest.raises(StartupError, match=r"CHATBOT_MODEL=.*no config\.json"):
        locate(str(tmp_path), tmp_path, Progress())


def test_a_config_that_is_no_json_is_refused(tmp_path: Path):
    folder = _model(tmp_path / "broken")
    (folder / "config.json").write_text("{")
    with pytest.raises(StartupError, match=r"config\.json cannot be read"):
        locate(str(folder), tmp_path, Progress())


def test_a_folder_without_safetensors_is_refused(tmp_path: Path):
    folder = _model(tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    with pytest.raises(StartupError, match=r"no \.safetensors files"):
        locate(str(folder), tmp_path, Progress())


@pytest.mark.parametrize("model", ["./missing", "/no/such/folder", "two words", "a/b/c", "~nobody/x"])
def test_what_is_neither_folder_nor_hub_id_is_refused_without_a_look_at_the_network(tmp_path: Path, model: str):
    with pytest.raises(StartupError, match="no such folder"):
        locate(model, tmp_path, Progress())


def test_a_missing_gguf_file_is_told(tmp_path: Path):
    with pytest.raises(StartupError, match="no such file"):
        locate(str(tmp_path / "missing.gguf"), tmp_path, Progress())


def _response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/api/models/org/model"))


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (lambda: GatedRepoError("gated", response=_response(403)), r"https://huggingface\.co/org/model.*HF_TOKEN"),
        (lambda: RepositoryNotFoundError("none", response=_response(404)), "There is no model org/model"),
        (lambda: LocalEntryNotFoundError("offline"), "cannot be reached"),
        (lambda: OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure, said: str
):
    def refuse(*_: object, **__: object) -> str:
        raise failure()

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(StartupError, match=said) as refusal:
        locate("org/model", tmp_path, Progress())
    assert "\n" not in str(refusal.value)


def test_the_progress_of_a_download_is_told_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    folder = _model(tmp_path / "snapshot")

    def download(*_: object, tqdm_class, **__: object) -> str:
        files = tqdm_class(total=2, desc="Fetching 2 files")
        files.update(1)
        data = tqdm_class(total=4_000_000, unit="B", unit_scale=True, initial=1_000_000, name="x")
        data.update(1_000_000)
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", download)
    progress = Progress()
    assert locate("org/model", tmp_path, progress).id == "org/model"
    assert progress.describe() == "downloading org/model: 50 % of 4 MB"


@pytest.mark.parametrize(
    ("model", "language"),
    [
        ("google/gemma-3-1b-it", "ru"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "ru"),
        ("Qwen/Qwen3-0.6B", "ru"),
        ("meta-llama/Llama-3.2-1B-Instruct", "de"),
        ("SmolLM2-135M-Instruct", "en"),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "en"),
    ],
)
def test_known_models_are_described(model: str, language: str):
    entry = find_entry(model)
    assert entry is not None
    assert language in entry.languages
    assert entry.description


def test_the_embedded_model_is_declared_for_english_only():
    entry = find_entry("SmolLM2-135M-Instruct")
    assert entry is not None
    assert (entry.description, entry.languages) == ("small, English only", ("en",))


def test_an_unknown_model_is_not_described():
    assert find_entry("org/some-model") is None


@pytest.mark.parametrize(
    ("card", "languages"),
    [
        ("---\nlanguage:\n- en\n- ru\nlicense: mit\n---\n# Model\n", ("en", "ru")),
        ("---\nlanguage: ru\n---\n", ("ru",)),
        ("---\nlanguage: [no, code, multilingual]\n---\n", ("no",)),
        ("# No front matter\n", ()),
        ("---\n: [\n---\n", ()),
        ("---\nlicense: mit\n---\n", ()),
    ],
)
def test_languages_are_read_from_the_card(tmp_path: Path, card: str, languages: tuple[str, ...]):
    (tmp_path / "README.md").write_text(card)
    assert model_card.declared_languages(tmp_path) == languages


def test_languages_are_read_from_what_a_gguf_file_said(tmp_path: Path):
    write_source(tmp_path, GgufSource("model.gguf", 1, 1, "", ("de",), {}, 0))
    assert model_card.declared_languages(tmp_path) == ("de",)
