"""What the terminal says, in Russian."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    "lost": "{address} не отвечает. Пробуем снова; Ctrl-C прекращает.",
    "gone": "Связь с {address} прервалась. Пробуем снова.",
    "connected_again": "Связь восстановлена.",
    "not_ready": "Ещё не готово; Ctrl-C прекращает.",
    "connection_cut": "(обрезано: связь прервалась; /regenerate — попробовать снова)",
    "unauthenticated": "{message} Укажите свой ключ API в CHATBOT_API_KEY или файл с ним в --api-key-file.",
    "recall_on": "recall: включено",
    "recall_off": "recall: выключено; ответы пишутся только по этой беседе",
    "recall_usage": "/recall: нужно on или off, а не {value}.",
    "nothing_recalled": "Для последнего ответа ничего не вспомнилось.",
    "recalled": "↳ {when} {speaker}: {text}",
    "open_hint": "/open {number}",
    "no_stats": "В этом сеансе ещё не было ответов.",
    "stats_reply": "последний ответ: токенов {tokens}, {rate:.1f} токена/с",
    "stats_replayed": "последний ответ: токенов {tokens}; он был написан раньше",
    "stats_first": "первый токен: через {seconds:.2f} с (очередь {queue:.2f} с, чтение запроса {prefill:.2f} с)",
    "stats_first_here": "первый текст здесь: через {seconds:.2f} с",
    "stats_prompt": "запрос: токенов {prompt}, из них в кэше {cached} ({share:.0%})",
    "stats_session": "за сеанс: ответов {replies}, написано токенов {tokens}, прочитано {prompt}, в кэше {share:.0%}",
    "wants_text": "/context: нужен текст сообщения; ничего не говорится и не сохраняется.",
    "context_section": "{kind} · токенов {tokens}",
    "context_total": "запрос: {tokens} из {context} токенов; {template} из них — рамка между частями",
    "context_window": "(сообщения до номера {sequence} остаются для вспоминания)",
    "kind_system": "системные указания",
    "kind_recent": "сказано раньше, {speaker}",
    "kind_recalled": "вспомнилось",
    "kind_message": "это сообщение",
    "kind_unspecified": "прочее, {speaker}",
    "export_usage": "/export [all] ФАЙЛ: ФАЙЛ кончается на .md (читать) или .jsonl (загрузить снова).",
    "confirm_overwrite": "{path} уже есть. Заменить? [д/Н] ",
    "exported": "{count} в {path}",
    "not_written": "{path}: записать не удалось ({why}).",
    "export_system": "Указания",
    "language_usage": "/language: нужно en или ru.",
    "language": "Терминал говорит по-русски.",
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
/recall [on|off]        вспоминать сказанное в других беседах или нет; без слова: что вспомнилось
/context ТЕКСТ          показать запрос к модели, которым станет ТЕКСТ, и его токены
/stats                  как быстро написан последний ответ и чего он стоил
/export [all] ФАЙЛ      записать эту беседу или все в файл: .md читать, .jsonl загрузить снова
/delete [N]             удалить эту беседу или номер N из списка
/set ИМЯ ЗНАЧЕНИЕ       изменить, как пишутся ответы, или `system` — указания; ЗНАЧЕНИЕ `default` отменяет
/show                   показать модель, беседу и настройки
/language en|ru         язык этого терминала
/help                   этот список
/quit                   выйти; Ctrl-D тоже

\"\"\" начинает и заканчивает сообщение из нескольких строк. Пробел перед / делает его частью сообщения.
Tab дополняет команды и то, что к ним нужно.""",
    "empty_input": "На стандартном вводе нет текста: сказать нечего.",
    "input_not_utf8": "На стандартном вводе не текст в UTF-8.",
    "ask_empty": "Сказать нечего: нужен вопрос или текст на стандартном вводе.",
    "input_too_long": "На стандартном вводе больше {most} байт — больше, чем бывает в одном сообщении.",
    "wrong_value": "--{name}: {message}",
    "no_latest": "Бесед пока нет; без --conversation начнётся новая.",
    "wrong_key_file": "--api-key-file: {path} не читается ({why}).",
    "key_without_tls": "По пути к {address} ключ API могли бы прочитать другие: добавьте --tls.",
    "json_needs_input": "--json — для программ: с `ask` или с сообщением на стандартном вводе.",
    "bad_port": "CHATBOT_GATEWAY_GRPC_PORT={value}: нужен порт от 1 до 65535.",
}
