"""Which language a text is written in, as far as its script tells, and what to say where the model lacks it.

Honest and small: a script that few languages use names them; where several do, the most widely written comes first
and any of them that the model has is enough. Cyrillic is told apart by letters that only some of its languages
have. Latin script is never guessed: it says nothing about the language.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# First word of a letter's Unicode name -> languages written in that script, BCP 47.
_LANGUAGES_OF_SCRIPT: Final[Mapping[str, tuple[str, ...]]] = {
    "CYRILLIC": ("ru", "uk", "be", "bg", "sr", "mk", "kk", "ky", "mn", "tg"),
    "CJK": ("zh", "ja"),
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "HANGUL": ("ko",),
    "ARABIC": ("ar", "fa", "ur"),
    "HEBREW": ("he", "yi"),
    "GREEK": ("el",),
    "DEVANAGARI": ("hi", "mr", "ne"),
    "BENGALI": ("bn", "as"),
    "GURMUKHI": ("pa",),
    "GUJARATI": ("gu",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "KANNADA": ("kn",),
    "MALAYALAM": ("ml",),
    "SINHALA": ("si",),
    "THAI": ("th",),
    "LAO": ("lo",),
    "KHMER": ("km",),
    "MYANMAR": ("my",),
    "TIBETAN": ("bo",),
    "GEORGIAN": ("ka",),
    "ARMENIAN": ("hy",),
    "ETHIOPIC": ("am", "ti"),
}

# Letters that not every Cyrillic alphabet has, and the languages whose alphabets do.
_CYRILLIC_LETTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "ыэ": ("ru", "be", "kk", "ky", "mn"),
    "ё": ("ru", "be", "kk", "ky", "mn", "tg"),
    "ъ": ("ru", "bg", "kk", "ky", "mn", "tg"),
    "і": ("uk", "be", "kk"),
    "їєґ": ("uk",),
    "ў": ("be",),
    "ђћ": ("sr",),
    "ѓќѕ": ("mk",),
    "љњџј": ("sr", "mk"),
    "әұһ": ("kk",),
    "ғқ": ("kk", "tg"),
    "ңөү": ("kk", "ky", "mn"),
    "ҳҷӣӯ": ("tg",),
}

_MODEL_COMMAND = "python run.py --model google/gemma-3-1b-it"

_NOTICES: Final[Mapping[str, str]] = {
    "ru": "Модель {model} не рассчитана на русский язык. Выберите другую: `{command}`, "
    "или любую модель по её имени на Hugging Face, папку или файл `.gguf`.",
    "uk": "Модель {model} не розрахована на українську мову. Виберіть іншу: `{command}`, "
    "або будь-яку модель за її назвою на Hugging Face, теку чи файл `.gguf`.",
    "zh": "模型 {model} 未声明支持中文。请换一个：`{command}`，"
    "也可以是任意 Hugging Face 模型名、文件夹或 `.gguf` 文件。",
    "ja": "モデル {model} は日本語に対応していません。別のモデルを選んでください：`{command}`。"
    "Hugging Face のモデル名、フォルダー、`.gguf` ファイルも指定できます。",
    "ko": "모델 {model}은(는) 한국어를 지원하지 않습니다. 다른 모델을 선택하세요: `{command}`. "
    "Hugging Face 모델 이름, 폴더, `.gguf` 파일도 됩니다.",
}

_NOTICE_IN_ENGLISH = (
    "{model} is not made for the language you write in. Choose another model: `{command}`, "
    "or any Hugging Face model by its name, a folder or a `.gguf` file."
)


def possible_languages(text: str) -> tuple[str, ...]:
    """Returns the languages that a text may be in, the likeliest first; none where its script does not tell.

    A script tells where more than half of the letters are of it.
    """
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha())
    if not scripts:
        return ()
    # Japanese is written in three scripts at once.
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    if kana and 2 * (kana + scripts["CJK"]) > scripts.total():
        return ("ja",)
    script, count = scripts.most_common(1)[0]
    if 2 * count <= scripts.total():
        return ()
    languages = _LANGUAGES_OF_SCRIPT.get(script, ())
    if script == "CYRILLIC":
        lowered = text.lower()
        for letters, having in _CYRILLIC_LETTERS.items():
            if any(letter in lowered for letter in letters):
                # Where no language is left, the text mixes some: the last guess stays.
                languages = tuple(language for language in languages if language in having) or languages
    return languages


def language_notice(text: str, model: str, model_languages: Iterable[str]) -> str | None:
    """Returns what to tell someone who writes in a language that the model is not declared for.

    Args:
        text: What was written.
        model: The model's id.
        model_languages: What it is declared for, BCP 47; empty: not declared.

    Returns:
        The notice, in that language where there is a translation, else in English; None where there is no need.
    """
    declared = {language.lower().replace("_", "-").partition("-")[0] for language in model_languages}
    possible = possible_languages(text)
    if not declared or not possible or declared.intersection(possible):
        return None
    return _NOTICES.get(possible[0], _NOTICE_IN_ENGLISH).format(model=model, command=_MODEL_COMMAND)
