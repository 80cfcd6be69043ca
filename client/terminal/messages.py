"""What the terminal says, in English and in Russian."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGLISH: Final[Mapping[str, str]] = {
    "keys": "Ctrl-C stops a reply, Ctrl-D leaves, /help shows the commands.",
    "resumed": "Going on with “{title}” ({count}). /new starts another.",
    "one_message": "1 message",
    "few_messages": "{count} messages",
    "many_messages": "{count} messages",
    "untitled": "untitled",
    "stopped": "(stopped)",
    "max_tokens": "(cut off after the most tokens allowed; /set max_tokens N allows another number)",
    "context_full": "(cut off: the model's context is full)",
    "deadline": "(cut off: the time ran out)",
    "engine_lost": "(cut off: the model was lost; /regenerate tries again)",
    "error": "Error: {message}",
    "no_answer": "No answer from {address}.",
    "next_tries_again": "Your next message tries again.",
    "retry_after": "{message} Try again in {seconds:.0f} s.",
    "unexpected": "Something went wrong in the terminal ({kind}).",
    "unknown_command": "There is no command {command}. Did you mean {nearest}?",
    "unknown_command_help": "There is no command {command}. /help shows those there are.",
    "new": "A new conversation.",
    "no_conversation": "Nothing has been said in this conversation yet.",
    "no_conversations": "There are no conversations yet.",
    "list_more": "The {count} most recently used are shown; /search finds things said in any.",
    "wants_number": "{usage} wants the number of a conversation that /list shows.",
    "opened": "“{title}”, {count}.",
    "no_messages": "It has no messages.",
    "earlier": "({count} before these)",
    "wants_words": "/search wants words to look for.",
    "no_hits": "Nothing was found.",
    "you": "you",
    "model": "model",
    "system": "system",
    "confirm_delete": "Delete “{title}” and everything said in it, for good? [y/N] ",
    "yes": "y yes",
    "kept": "Kept.",
    "deleted": "Deleted.",
    "set": "{name}: {value}",
    "unset": "{name}: as the model has it",
    "unset_system": "system: none",
    "set_usage": "/set NAME VALUE, or /set NAME default. Names: {names}.",
    "unknown_setting": "There is no setting {name}. Names: {names}.",
    "wants_number_in": "{name} wants a number from {least} to {most}, not {value}.",
    "wants_number_over": "{name} wants a number over {least}, up to {most}, not {value}.",
    "wants_whole_number_in": "{name} wants a whole number from {least} to {most}, not {value}.",
    "wants_stops": 'stop wants 1 to 16 strings of up to 256 characters; quote those with spaces: END "The end"',
    "show_model": "model: {id} · {details} · {context} tokens of context",
    "show_conversation": "conversation: {title}, {count}",
    "show_new_conversation": "conversation: a new one",
    "show_system": "system: {text}",
    "show_no_system": "system: none",
    "show_default": "{name}: {value} (the model's)",
    "show_random": "{name}: not set",
    "help": """\
/new                    start another conversation
/list                   list your conversations
/open N                 go on with conversation N of the list
/search WORDS           find what was said, in any conversation
/regenerate             another reply in place of the last one
/delete [N]             delete this conversation, or number N of the list
/set NAME VALUE         change how replies are written, or `system` for instructions; VALUE `default` unsets
/show                   show model, conversation and settings
/help                   this list
/quit                   leave; so does Ctrl-D

\"\"\" begins and ends a message of several lines. A space before / makes it part of a message.""",
    "empty_input": "Standard input holds no text: there is nothing to say.",
    "input_not_utf8": "Standard input is not UTF-8 text.",
    "bad_port": "CHATBOT_GATEWAY_GRPC_PORT={value}: must be a port from 1 to 65535.",
}

RUSSIAN: Final[Mapping[str, str]] = {
    "keys": "Ctrl-C останавливает ответ, Ctrl-D — выход, /help — список команд.",
    "resumed": "Продолжаем беседу «{title}» ({count}). /new начнёт другую.",
    "one_message": "{count} сообщение",
    "few_messages": "{count} сообщения",
    "many_messages": "{count} сообщений",
    "untitled": "без названия",
    "stopped": "(остановлено)",
    "max_tokens": "(обрезано: достигнут предел длины ответа; /set max_tokens N задаёт другой)",
    "context_full": "(обрезано: контекст модели заполнен)",
    "deadline": "(обрезано: время вышло)",
    "engine_lost": "(обрезано: модель потеряна; /regenerate — попробовать снова)",
    "error": "Ошибка: {message}",
    "no_answer": "{address} не отвечает.",
    "next_tries_again": "Следующее сообщение попробует снова.",
    "retry_after": "{message} Повторите через {seconds:.0f} с.",
    "unexpected": "В терминале что-то пошло не так ({kind}).",
    "unknown_command": "Нет команды {command}. Может быть, {nearest}?",
    "unknown_command_help": "Нет команды {command}. /help покажет, какие есть.",
    "new": "Новая беседа.",
    "no_conversation": "В этой беседе ещё ничего не сказано.",
    "no_conversations": "Бесед пока нет.",
    "list_more": "Показаны {count} последних; /search ищет по всем.",
    "wants_number": "{usage}: нужен номер беседы из /list.",
    "opened": "«{title}», {count}.",
    "no_messages": "В ней нет сообщений.",
    "earlier": "(до этого ещё {count})",
    "wants_words": "/search: нужны слова для поиска.",
    "no_hits": "Ничего не найдено.",
    "you": "вы",
    "model": "модель",
    "system": "система",
    "confirm_delete": "Удалить «{title}» и всё, что в ней сказано, навсегда? [д/Н] ",
    "yes": "д да y yes",
    "kept": "Осталась.",
    "deleted": "Удалена.",
    "set": "{name}: {value}",
    "unset": "{name}: как задано у модели",
    "unset_system": "system: нет",
    "set_usage": "/set ИМЯ ЗНАЧЕНИЕ или /set ИМЯ default. Имена: {names}.",
    "unknown_setting": "Нет настройки {name}. Имена: {names}.",
    "wants_number_in": "{name}: нужно число от {least} до {most}, а не {value}.",
    "wants_number_over": "{name}: нужно число больше {least} и не больше {most}, а не {value}.",
    "wants_whole_number_in": "{name}: нужно целое число от {least} до {most}, а не {value}.",
    "wants_stops": 'stop: нужно от 1 до 16 строк не длиннее 256 знаков; с пробелами — в кавычках: END "The end"',
    "show_model": "модель: {id} · {details} · контекст {context} токенов",
    "show_conversation": "беседа: {title}, {count}",
    "show_new_conversation": "беседа: новая",
    "show_system": "system: {text}",
    "show_no_system": "system: нет",
    "show_default": "{name}: {value} (у модели)",
    "show_random": "{name}: не задано",
    "help": """\
/new                    начать другую беседу
/list                   список ваших бесед
/open N                 продолжить беседу N из списка
/search СЛОВА           найти сказанное в любой беседе
/regenerate             другой ответ вместо последнего
/delete [N]             удалить эту беседу или номер N из списка
/set ИМЯ ЗНАЧЕНИЕ       изменить, как пишутся ответы, или `system` — указания; ЗНАЧЕНИЕ `default` отменяет
/show                   показать модель, беседу и настройки
/help                   этот список
/quit                   выйти; Ctrl-D тоже

\"\"\" начинает и заканчивает сообщение из нескольких строк. Пробел перед / делает его частью сообщения.""",
    "empty_input": "На стандартном вводе нет текста: сказать нечего.",
    "input_not_utf8": "На стандартном вводе не текст в UTF-8.",
    "bad_port": "CHATBOT_GATEWAY_GRPC_PORT={value}: нужен порт от 1 до 65535.",
}


class Words:
    """The catalogue of one language, filled in by name: `words("set", name="seed", value="7")`."""

    def __init__(self, catalogue: Mapping[str, str]) -> None:
        self._catalogue = catalogue

    def __call__(self, key: str, **values: object) -> str:
        """Returns what stands under a key, filled in."""
        return self._catalogue[key].format(**values)

    def messages(self, count: int) -> str:
        """Returns "3 messages" in the language's plural form (CLDR: one, few, many)."""
        if self._catalogue is not RUSSIAN:
            form = "one" if count == 1 else "many"
        elif count % 10 == 1 and count % 100 != 11:
            form = "one"
        elif count % 10 in (2, 3, 4) and count % 100 not in (12, 13, 14):
            form = "few"
        else:
            form = "many"
        return self(f"{form}_messages" if form != "one" else "one_message", count=count)


def words_of_locale(environment: Mapping[str, str] = os.environ) -> Words:
    """Returns the catalogue for the user's locale, as POSIX orders its variables; English where it is not Russian."""
    locale = next((v for k in ("LC_ALL", "LC_MESSAGES", "LANG") if (v := environment.get(k))), "")
    language = re.split(r"[_.@-]", locale.lower())[0]
    return Words(RUSSIAN if language in ("ru", "russian") else ENGLISH)
