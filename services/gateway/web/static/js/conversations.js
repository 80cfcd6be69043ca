// The list of conversations, and what can be done with one as a whole.

import { call } from "./api.js";
import { explain, heard, isPassing, pause, waitFor } from "./failures.js";
import { changed, chatOf, newChat, notify, state } from "./state.js";
import { passing } from "./storage.js";
import { t } from "./texts.js";
import { uuid } from "./uuid.js";

const PAGE = 40;

function byUse(one, other) {
  return other.updateTime.localeCompare(one.updateTime);
}

function listed(conversations) {
  const known = new Map(state.conversations.map((each) => [each.name, each]));
  for (const each of conversations) known.set(each.name, each);
  state.conversations = [...known.values()].sort(byUse);
}

/** Reads the first page of the list anew, or the next one. Goes on trying while the server is away. */
export async function listConversations({ next = false } = {}) {
  if (state.conversationsLoading) return;
  state.conversationsLoading = true;
  changed();
  for (let attempt = 0; ; attempt += 1) {
    try {
      const request = { pageSize: PAGE, pageToken: next ? state.conversationsToken : "" };
      const page = await call("ListConversations", request);
      listed(page.conversations ?? []);
      if (next || state.conversationsToken === null) state.conversationsToken = page.nextPageToken ?? "";
      state.conversationsFailure = null;
      heard(null);
      break;
    } catch (failure) {
      heard(failure);
      state.conversationsFailure = explain(failure);
      changed();
      if (state.online && !isPassing(failure)) break;
      await pause(waitFor(failure, attempt));
    }
  }
  state.conversationsLoading = false;
  changed();
}

/** Reads one conversation anew: its title may have come meanwhile. */
export async function refresh(name) {
  const { conversation } = await call("GetConversation", { conversation: name });
  chatOf(name).conversation = conversation;
  listed([conversation]);
  changed();
  return conversation;
}

export const titleOf = (conversation) => conversation?.title || t("untitled");

async function update(name, fields, paths) {
  const { conversation } = await call("UpdateConversation", {
    conversation: { name, ...fields },
    updateMask: paths,
    requestId: uuid(),
  });
  chatOf(name).conversation = conversation;
  listed([conversation]);
  changed();
}

export const rename = (name, title) => update(name, { title }, "title");

/** Sets the instructions of a conversation, or of one that has not begun. */
export async function setSystemPrompt(chat, systemPrompt) {
  if (chat.name === "") chat.systemPrompt = systemPrompt;
  else await update(chat.name, { systemPrompt }, "systemPrompt");
  changed();
}

/** Starts a conversation that has instructions of its own. */
export async function create(text, systemPrompt, requestId) {
  const title = text.trim().split(/\s+/u).join(" ");
  const { conversation } = await call("CreateConversation", {
    conversation: { title: title.length > 60 ? `${title.slice(0, 59).trimEnd()}…` : title, systemPrompt },
    requestId,
  });
  listed([conversation]);
  return conversation;
}

function forget(name) {
  chatOf(name).turn?.stop();
  state.chats.delete(name);
  passing.forget(`draft.${name}`);
  passing.forget(`notes.${name}`);
}

export async function remove(name) {
  await call("DeleteConversation", { conversation: name, requestId: uuid() });
  forget(name);
  state.conversations = state.conversations.filter((each) => each.name !== name);
  if (state.open === name) location.hash = "#/";
  notify(t("deleted"));
}

export async function removeAll() {
  await call("DeleteUserData", { requestId: uuid() });
  for (const name of [...state.chats.keys()]) forget(name);
  state.chats.set("", newChat());
  state.conversations = [];
  state.conversationsToken = "";
  location.hash = "#/";
  notify(t("deleted"));
}
