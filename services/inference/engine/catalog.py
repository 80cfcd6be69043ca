"""What known models are good for. A model that is not known here is described by its own card."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.inference.engine.protocol import SamplingDefaults

_GEMMA_3_LANGUAGES = (
    "en", "ar", "bn", "cs", "de", "es", "fa", "fr", "he", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th",
    "tr", "uk", "vi", "zh",
)  # fmt: skip
_QWEN_2_5_LANGUAGES = ("en", "zh", "fr", "es", "pt", "de", "it", "ru", "ja", "ko", "vi", "th", "ar")
_QWEN_3_LANGUAGES = (*_QWEN_2_5_LANGUAGES, "id", "uk", "pl", "nl", "tr", "cs", "he", "hi", "fa", "kk")
_LLAMA_3_LANGUAGES = ("en", "de", "fr", "it", "pt", "hi", "es", "th")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """What a family of models is good for, and how its makers sample from it."""

    description: str
    languages: tuple[str, ...]
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)


_GEMMA_SAMPLING = SamplingDefaults(temperature=1.0, top_k=64, top_p=0.95)
_QWEN_2_5_SAMPLING = SamplingDefaults(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05)
_QWEN_3_SAMPLING = SamplingDefaults(temperature=0.6, top_p=0.95, top_k=20)
_LLAMA_SAMPLING = SamplingDefaults(temperature=0.6, top_p=0.9)
_SMOLLM2_SAMPLING = SamplingDefaults(temperature=0.2, top_p=0.9)
# With its makers' settings, as above, the 4-bit 135M model answers "What is the capital of France?" in French one time
# in three. Its best guess is the better answer, and a light penalty keeps that from going round in circles. It is the
# frequency penalty, which leaves the words of the question alone.
_SMOLLM2_135M_SAMPLING = SamplingDefaults(temperature=0.0, top_p=1.0, frequency_penalty=0.2)

# By the beginning of the model's name, without the organisation and in lower case. The longest that fits counts.
_ENTRIES = {
    "smollm2-135m": CatalogEntry("small, English only", ("en",), _SMOLLM2_135M_SAMPLING),
    "smollm2": CatalogEntry("small, English only", ("en",), _SMOLLM2_SAMPLING),
    "smollm3": CatalogEntry(
        "small, six European languages",
        ("en", "fr", "es", "de", "it", "pt"),
        SamplingDefaults(temperature=0.6, top_p=0.95),
    ),
    "gemma-3-270m": CatalogEntry("very small, many languages", _GEMMA_3_LANGUAGES, _GEMMA_SAMPLING),
    "gemma-3-1b": CatalogEntry("small, many languages", _GEMMA_3_LANGUAGES, _GEMMA_SAMPLING),
    "gemma-3": CatalogEntry("general chat, many languages", _GEMMA_3_LANGUAGES, _GEMMA_SAMPLING),
    "qwen2.5": CatalogEntry("general chat, many languages", _QWEN_2_5_LANGUAGES, _QWEN_2_5_SAMPLING),
    "qwen2.5-coder": CatalogEntry("code, and chat in many languages", _QWEN_2_5_LANGUAGES, _QWEN_2_5_SAMPLING),
    "qwen3": CatalogEntry("general chat, many languages", _QWEN_3_LANGUAGES, _QWEN_3_SAMPLING),
    "llama-3": CatalogEntry("general chat, eight languages", _LLAMA_3_LANGUAGES, _LLAMA_SAMPLING),
    "meta-llama-3": CatalogEntry("general chat, eight languages", _LLAMA_3_LANGUAGES, _LLAMA_SAMPLING),
}


def find_entry(model_id: str) -> CatalogEntry | None:
    """Returns the entry of a model's family, by the last part of its id; None where it is not known."""
    name = model_id.rsplit("/", 1)[-1].lower()
    fitting = [begin for begin in _ENTRIES if name.startswith(begin)]
    return _ENTRIES[max(fitting, key=len)] if fitting else None
