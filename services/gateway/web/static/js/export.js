// Exports, as files that the browser saves.

import { stream } from "./api.js";
import { titleOf } from "./conversations.js";
import { exactTime, t } from "./texts.js";

const GIVEN_OUT = new Set(["name", "lastSequence", "messageCount"]);

const snake = (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function inProtoNames(value) {
  if (Array.isArray(value)) return value.map(inProtoNames);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [snake(key), inProtoNames(each)]));
}

/** Returns a record as a line of the form that the memory service's `import` takes. */
function line(record, sequences) {
  const [[kind, fields]] = Object.entries(record);
  const kept = Object.fromEntries(Object.entries(fields).filter(([key]) => !GIVEN_OUT.has(key)));
  if (kind === "message") sequences.set(fields.name, Number(fields.sequence));
  if (kept.replyTo) kept.replyTo = sequences.get(kept.replyTo);
  return `${JSON.stringify({ [kind]: inProtoNames(kept) })}\n`;
}

const SPEAKERS = { ROLE_USER: "you", ROLE_ASSISTANT: "model", ROLE_SYSTEM: "system" };

function prose({ conversation, message }) {
  if (conversation) {
    const instructions = conversation.systemPrompt ? `> ${conversation.systemPrompt.replaceAll("\n", "\n> ")}\n\n` : "";
    return `# ${titleOf(conversation)}\n\n${instructions}`;
  }
  if (message.superseded) return "";
  const who = message.author || t(SPEAKERS[message.role] ?? "system");
  return `**${who}** · ${exactTime(message.createTime)}\n\n${message.content ?? ""}\n\n`;
}

function save(parts, name, type) {
  const address = URL.createObjectURL(new Blob(parts, { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

const fileName = (title) => title.replace(/[\\/:*?"<>|\p{Cc}]+/gu, " ").trim().slice(0, 80) || "chat";

/** Saves a conversation, or everything, as "lines" of JSON or as "text". */
export async function exportAs(form, conversation) {
  const parts = [];
  const sequences = new Map();
  for await (const { record } of stream("ExportMessages", { conversation: conversation?.name ?? "" })) {
    parts.push(form === "lines" ? line(record, sequences) : prose(record));
  }
  const name = fileName(conversation ? titleOf(conversation) : t("appName"));
  if (form === "lines") save(parts, `${name}.jsonl`, "application/jsonl");
  else save(parts, `${name}.md`, "text/markdown");
}
