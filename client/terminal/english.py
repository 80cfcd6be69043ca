"""What the terminal says, in English."""

from __future__ import annotations

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
    "lost": "No answer from {address}. Trying again; Ctrl-C gives up.",
    "gone": "The connection to {address} is lost. Trying again.",
    "connected_again": "Connected again.",
    "not_ready": "It is not ready yet; Ctrl-C gives up.",
    "connection_cut": "(cut off: the connection was lost; /regenerate tries again)",
    "unauthenticated": "{message} Give yours in CHATBOT_API_KEY, or in a file that --api-key-file names.",
    "recall_on": "recall: on",
    "recall_off": "recall: off; replies are written from this conversation only",
    "recall_usage": "/recall wants on or off, not {value}.",
    "nothing_recalled": "Nothing was recalled for the last reply.",
    "recalled": "↳ {when} {speaker}: {text}",
    "open_hint": "/open {number}",
    "no_stats": "No reply has been written in this session yet.",
    "stats_reply": "last reply: {tokens} tokens, {rate:.1f} tokens/s",
    "stats_replayed": "last reply: {tokens} tokens; it had been written before",
    "stats_first": "first token: after {seconds:.2f} s (queue {queue:.2f} s, reading the prompt {prefill:.2f} s)",
    "stats_first_here": "first text here: after {seconds:.2f} s",
    "stats_prompt": "prompt: {prompt} tokens, {cached} of them cached ({share:.0%})",
    "stats_session": "session: {replies} replies, {tokens} tokens written, {prompt} read, {share:.0%} of those cached",
    "wants_text": "/context wants the text of a message; nothing is said or stored.",
    "context_section": "{kind} · {tokens} tokens",
    "context_total": "prompt: {tokens} of {context} tokens; {template} of them frame the parts",
    "context_window": "(the messages before number {sequence} are left to recall)",
    "kind_system": "system prompt",
    "kind_recent": "said before, {speaker}",
    "kind_recalled": "recalled",
    "kind_message": "this message",
    "kind_unspecified": "other, {speaker}",
    "export_usage": "/export [all] FILE: FILE ends in .md (to read) or .jsonl (to import again).",
    "confirm_overwrite": "{path} exists. Replace it? [y/N] ",
    "exported": "{count} in {path}",
    "not_written": "{path} cannot be written ({why}).",
    "export_system": "Instructions",
    "language_usage": "/language wants en or ru.",
    "language": "The terminal speaks English.",
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
/recall [on|off]        recall what was said elsewhere, or not; alone: what was recalled for the last reply
/context TEXT           show the prompt that TEXT would be answered from, with its tokens
/stats                  how fast the last reply was, and what it cost
/export [all] FILE      write this conversation, or all, to a file: .md to read, .jsonl to import
/delete [N]             delete this conversation, or number N of the list
/set NAME VALUE         change how replies are written, or `system` for instructions; VALUE `default` unsets
/show                   show model, conversation and settings
/language en|ru         the language of this terminal
/help                   this list
/quit                   leave; so does Ctrl-D

\"\"\" begins and ends a message of several lines. A space before / makes it part of a message.
Tab completes commands and what they take.""",
    "empty_input": "Standard input holds no text: there is nothing to say.",
    "input_not_utf8": "Standard input is not UTF-8 text.",
    "ask_empty": "There is nothing to say: give a question, or text on standard input.",
    "input_too_long": "Standard input has more than {most} bytes, the most that a message can have.",
    "wrong_value": "--{name}: {message}",
    "no_latest": "There is no conversation yet; leave --conversation out to start one.",
    "wrong_key_file": "--api-key-file: {path} cannot be read ({why}).",
    "key_without_tls": "Others could read the API key on its way to {address}: add --tls.",
    "json_needs_input": "--json is for scripts: with `ask`, or with a message on standard input.",
    "bad_port": "CHATBOT_GATEWAY_GRPC_PORT={value}: must be a port from 1 to 65535.",
}
