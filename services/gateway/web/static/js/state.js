// What the page shows. Whoever changes it says so; it is drawn again once a frame, however often it changed.

import { lasting, passing } from "./storage.js";

export const DEFAULTS = Object.freeze({
  language: "",
  theme: "",
  temperature: null,
  topP: null,
  maxTokens: null,
  seed: null,
  recall: true,
});

export const state = {
  settings: { ...DEFAULTS, ...lasting.get("settings", {}) },
  model: null,
  /** Newest first. */
  conversations: [],
  conversationsToken: null,
  conversationsLoading: false,
  conversationsFailure: null,
  /** Resource name of the conversation that is open; "" is one that has not begun. */
  open: "",
  /** Conversations by resource name, as far as they were looked at. */
  chats: new Map(),
  sidebarOpen: false,
  /** What stands over the page: { kind, … } or null. */
  dialog: null,
  menu: null,
  notice: null,
  online: true,
};

let draw = () => {};
let scheduled = false;

export function onChange(drawing) {
  draw = drawing;
}

/** Has the page drawn again. */
export function changed() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    draw();
  });
}

/** Draws the page at once: for what must be there before the next key is pressed. */
export function drawNow() {
  draw();
}

/** Resolves when what was changed is on the page. */
export function drawn() {
  changed();
  return new Promise((resolve) => requestAnimationFrame(() => resolve()));
}

export function newChat(name = "") {
  return {
    name,
    conversation: null,
    /** Instructions that a conversation is to begin with. */
    systemPrompt: "",
    messages: [],
    /** Where older messages go on; null: not looked yet; "": there are none. */
    older: name === "" ? "" : null,
    loading: false,
    failure: null,
    turn: null,
    /** The message that is being said anew: { sequence, text } or null. */
    editing: null,
    flashed: null,
    draft: passing.get(`draft.${name}`, ""),
  };
}

/** Returns a conversation as the page knows it. */
export function chatOf(name) {
  let chat = state.chats.get(name);
  if (!chat) {
    chat = newChat(name);
    state.chats.set(name, chat);
  }
  return chat;
}

export const openChat = () => chatOf(state.open);

export function keepDraft(chat, text) {
  chat.draft = text;
  passing.set(`draft.${chat.name}`, text || null);
}

export function setSetting(name, value) {
  state.settings[name] = value;
  lasting.set("settings", state.settings);
  changed();
}

let noticeTimer = 0;

/** Says something in passing. */
export function notify(text) {
  state.notice = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => {
    state.notice = null;
    changed();
  }, 4000);
  changed();
}
