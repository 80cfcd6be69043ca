// The messages of one conversation, loaded by pages from the newest backwards.

import { call } from "./api.js";
import { refresh } from "./conversations.js";
import { explain, heard, isPassing, pause, waitFor } from "./failures.js";
import { changed } from "./state.js";
import { passing } from "./storage.js";

const PAGE = 40;
const SEEKING_PAGE = 200;

export const sequenceOf = (message) => Number(message.sequence ?? 0);

async function page(chat, pageSize) {
  const request = {
    conversation: chat.name,
    pageSize,
    pageToken: chat.older ?? "",
    order: "LIST_ORDER_NEWEST_FIRST",
  };
  const answer = await call("ListMessages", request);
  const known = new Set(chat.messages.map((message) => message.name));
  const older = (answer.messages ?? []).filter((message) => !known.has(message.name)).reverse();
  chat.messages = [...older, ...chat.messages];
  chat.older = answer.nextPageToken ?? "";
}

/** Loads the newest messages of a conversation that was just opened. */
export async function load(chat) {
  if (chat.name === "" || chat.older !== null || chat.loading) return;
  chat.loading = true;
  chat.failure = null;
  changed();
  for (let attempt = 0; ; attempt += 1) {
    try {
      await Promise.all([refresh(chat.name), page(chat, PAGE)]);
      heard(null);
      chat.failure = null;
      break;
    } catch (failure) {
      heard(failure);
      chat.failure = { text: explain(failure), reason: failure.reason };
      changed();
      if (failure.reason !== "CONNECTION_LOST" && !isPassing(failure)) break;
      await pause(waitFor(failure, attempt));
    }
  }
  chat.loading = false;
  changed();
}

/** Loads the page before what is there. */
export async function loadOlder(chat) {
  if (!chat.older || chat.loading) return;
  chat.loading = true;
  changed();
  try {
    await page(chat, PAGE);
    heard(null);
  } catch (failure) {
    heard(failure);
  }
  chat.loading = false;
  changed();
}

/** Loads as far back as a message of the conversation. */
export async function loadBackTo(chat, sequence) {
  await load(chat);
  while (chat.older && (chat.messages.length === 0 || sequenceOf(chat.messages[0]) > sequence)) {
    await page(chat, SEEKING_PAGE);
  }
  changed();
}

/** Reads the end of a conversation anew. */
export async function refreshEnd(chat, from) {
  const answer = await call("ListMessages", {
    conversation: chat.name,
    pageSize: 4,
    order: "LIST_ORDER_NEWEST_FIRST",
  });
  const fresh = (answer.messages ?? []).reverse().filter((message) => sequenceOf(message) >= from);
  if (fresh.length > 0) {
    const start = sequenceOf(fresh[0]);
    chat.messages = [...chat.messages.filter((m) => m.sequence && sequenceOf(m) < start), ...fresh];
    changed();
  }
  return fresh;
}

/** What is known of a reply besides what is stored: what was recalled for it and how fast it came. */
export const notesOf = (message) => passing.get(`notes.${message.name}`, null);

export const keepNotes = (message, notes) => passing.set(`notes.${message.name}`, notes);
