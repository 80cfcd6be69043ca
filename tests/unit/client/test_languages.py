"""Which language a text is in, as far as its script tells."""

from __future__ import annotations

import pytest

from client.terminal.languages import language_notice, possible_languages


@pytest.mark.parametrize(
    ("text", "likeliest"),
    [
        ("Привет! Кто ты?", "ru"),
        ("Это объявление", "ru"),
        ("Привіт, їжаче", "uk"),
        ("Љубав и мир", "sr"),
        ("Қазақ тілі", "kk"),
        ("Прывітанне, як твае справы, дзеўка", "be"),
        ("你好，你是谁？", "zh"),
        ("こんにちは、日本語です", "ja"),
        ("日本のカメラ", "ja"),
        ("안녕하세요", "ko"),
        ("مرحبا", "ar"),
        ("שלום", "he"),
        ("Γειά σου", "el"),
        ("नमस्ते", "hi"),
        ("สวัสดี", "th"),
        ("გამარჯობა", "ka"),
        ("բարեւ", "hy"),
    ],
)
def test_a_script_tells_the_likeliest_language(text: str, likeliest: str) -> None:
    assert possible_languages(text)[0] == likeliest


@pytest.mark.parametrize(
    "text",
    ["Hello", "Bonjour, ça va ?", "Merhaba dünya", "", "123 + 4 = 🍅", "What does привет mean in English?"],
)
def test_latin_script_numbers_and_single_foreign_words_tell_nothing(text: str) -> None:
    assert possible_languages(text) == ()


def test_the_notice_is_in_the_language_and_names_what_to_do() -> None:
    notice = language_notice("Кто ты?", "SmolLM2", ["en"])
    assert notice is not None
    assert notice.startswith("Модель SmolLM2 не рассчитана на русский язык.")
    assert "`python run.py --model google/gemma-3-1b-it`" in notice
    assert "`.gguf`" in notice


def test_where_there_is_no_translation_the_notice_is_in_english() -> None:
    notice = language_notice("שלום", "SmolLM2", ["en"])
    assert notice is not None
    assert notice.startswith("SmolLM2 is not made for the language you write in.")


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        ("Кто ты?", []),
        ("Кто ты?", ["en", "ru-RU"]),
        ("Добро", ["uk"]),
        ("你好", ["ja"]),
        ("Who are you?", ["ru"]),
    ],
)
def test_there_is_no_notice_where_the_model_may_have_the_language(text: str, languages: list[str]) -> None:
    assert language_notice(text, "m", languages) is None
