// One turn: what is said goes out, the reply comes in, whatever happens on the way.

import { CallError, stream } from "./api.js";
import { create, listConversations, refresh } from "./conversations.js";
import { explain, heard, isPassing, pause, waitFor } from "./failures.js";
import { announceMarkdown, wordsOf } from "./markdown.js";
import { changed, keepDraft, newChat, state } from "./state.js";
import { keepNotes, refreshEnd, sequenceOf } from "./transcript.js";
import { uuid } from "./uuid.js";

const SNIPPET = 400;
const SETTLING_ATTEMPTS = 8;
const SETTLING_MS = 250;

function sampling() {
  const { temperature, topP, maxTokens, seed } = state.settings;
  const given = Object.entries({ temperature, topP, maxTokens, seed }).filter(([, value]) => value !== null);
  return given.length > 0 ? Object.fromEntries(given) : undefined;
}

const recall = () => (state.settings.recall ? undefined : { enabled: false });

/** What is kept of a message that was recalled: enough to show it and to find it again. */
function noted({ message }) {
  const [conversation] = message.name.split("/messages/");
  const content = message.content ?? "";
  return {
    conversation,
    sequence: sequenceOf(message),
    role: message.role,
    author: message.author ?? "",
    createTime: message.createTime,
    content: (message.role === "ROLE_ASSISTANT" ? wordsOf(content) : content).slice(0, SNIPPET),
  };
}

class Turn {
  constructor(chat, { method, text = "", supersedeFrom = null }) {
    this.chat = chat;
    this.method = method;
    this.text = text;
    this.supersedeFrom = supersedeFrom;
    this.requestId = uuid();
    this.createId = uuid();
    /** Messages that this turn takes off the page, to be put back where it fails. */
    this.replaced = [];
    this.begin();
  }

  /** Gets ready for an attempt. */
  begin() {
    this.controller = new AbortController();
    this.phase = "sending";
    this.reply = "";
    this.tokens = 0;
    /** How much of the reply was read out. */
    this.spoken = 0;
    this.recalled = [];
    this.started = null;
    this.failure = null;
    this.waiting = null;
    this.sentAt = performance.now();
    this.firstAt = 0;
  }

  get running() {
    return this.phase !== "failed";
  }

  /** Tokens a second so far. */
  get speed() {
    const seconds = (performance.now() - this.firstAt) / 1000;
    return this.tokens > 1 && seconds > 0.2 ? (this.tokens - 1) / seconds : 0;
  }

  stop() {
    this.controller.abort();
  }

  async run() {
    const { chat } = this;
    try {
      for (let attempt = 0; ; attempt += 1) {
        try {
          await this.attempt();
          break;
        } catch (failure) {
          if (this.phase === "writing" || !isPassing(failure)) throw failure;
          this.waiting = explain(failure);
          changed();
          await pause(waitFor(failure, attempt), this.controller.signal);
        }
      }
      chat.turn = null;
    } catch (failure) {
      if (this.controller.signal.aborted) await this.settle();
      else this.fail(failure);
    }
    changed();
    if (chat.name !== "") refresh(chat.name).catch(() => {});
  }

  async attempt() {
    const { chat } = this;
    const { signal } = this.controller;
    if (chat.name === "" && chat.systemPrompt !== "") {
      adopt(chat, await create(this.text, chat.systemPrompt, this.createId));
    }
    const request = { conversation: chat.name, requestId: this.requestId, sampling: sampling(), recall: recall() };
    if (this.method === "Chat") {
      request.text = this.text;
      if (this.supersedeFrom !== null) request.supersedeFromSequence = this.supersedeFrom;
    }
    let finished = false;
    for await (const event of stream(this.method, request, signal)) {
      heard(null);
      if (event.started) this.onStarted(event.started);
      else if (event.delta) this.onDelta(event.delta);
      else if (event.finished) {
        finished = true;
        this.onFinished(event.finished);
      }
      changed();
    }
    if (!finished) throw new CallError({ reason: "CONNECTION_LOST" });
  }

  onStarted(started) {
    const { chat } = this;
    this.waiting = null;
    this.phase = "writing";
    this.started = started;
    // In the prompt they stand by date; a reader wants to see first what mattered most.
    this.recalled = (started.recalled ?? []).toSorted((one, other) => (other.score ?? 0) - (one.score ?? 0)).map(noted);
    this.replaced = [];
    if (chat.name === "") {
      adopt(chat, { name: started.conversation });
      // It has its title, and its place in the list, while the reply is being written.
      refresh(chat.name).catch(() => {});
    }
    chat.messages = chat.messages.filter((message) => !message.pending && message.name !== started.message.name);
    chat.messages.push(started.message);
  }

  onDelta(delta) {
    if (this.tokens === 0) this.firstAt = performance.now();
    this.reply += delta.text;
    this.tokens += delta.tokenCount ?? 1;
  }

  onFinished({ message, timings }) {
    const speed = timings?.tokensPerSecond || this.speed;
    const first = this.firstAt ? (this.firstAt - this.sentAt) / 1000 : 0;
    if (!this.started.replayed) keepNotes(message, { recalled: this.recalled, speed, first });
    this.chat.messages.push(message);
    this.chat.turn = null;
    announceMarkdown((message.content ?? "").slice(this.spoken));
  }

  /** Puts the page right after the reply was stopped: the server stores it as far as it got. */
  async settle() {
    const { chat } = this;
    chat.turn = null;
    if (this.phase !== "writing") {
      // Nobody knows yet whether it was taken down.
      restore(this);
      if (chat.name === "") listConversations();
      else await refreshEnd(chat, 0).catch(() => {});
      return;
    }
    const partial = {
      name: "",
      role: "ROLE_ASSISTANT",
      content: this.reply,
      finishReason: "FINISH_REASON_CANCELLED",
      createTime: new Date().toISOString(),
      usage: { completionTokens: this.tokens },
    };
    const notes = { recalled: this.recalled, speed: this.speed, first: (this.firstAt - this.sentAt) / 1000 };
    if (this.reply !== "") chat.messages.push(partial);
    changed();
    const said = sequenceOf(this.started.message);
    for (let attempt = 0; attempt < SETTLING_ATTEMPTS && this.reply !== ""; attempt += 1) {
      if (chat.turn !== null) return;
      const end = await refreshEnd(chat, said + 1).catch(() => []);
      const stored = end.find((message) => message.replyTo === this.started.message.name);
      if (stored) {
        keepNotes(stored, notes);
        return;
      }
      await pause(SETTLING_MS);
    }
  }

  fail(failure) {
    heard(failure);
    this.failure = { text: explain(failure), reason: failure.reason };
    this.phase = "failed";
    if (failure.reason === "CONTEXT_LENGTH_EXCEEDED" || failure.reason === "INVALID_ARGUMENT") {
      // Nothing was stored: the words go back to where they can be shortened.
      restore(this);
    }
    changed();
  }
}

/** Puts a turn's words back into the box, and what it had taken off back onto the page. */
function restore(turn) {
  const { chat } = turn;
  chat.messages = [...chat.messages.filter((message) => !message.pending), ...turn.replaced];
  turn.replaced = [];
  if (turn.method !== "Chat") return;
  if (turn.supersedeFrom !== null) chat.editing = { sequence: turn.supersedeFrom, text: turn.text };
  else if (chat.draft === "") keepDraft(chat, turn.text);
}

/** Gives a conversation that has begun its name. */
function adopt(chat, conversation) {
  const wasOpen = state.open === "" && state.chats.get("") === chat;
  chat.name = conversation.name;
  chat.older = "";
  if (conversation.title !== undefined) chat.conversation = conversation;
  state.chats.set(chat.name, chat);
  state.chats.set("", newChat());
  keepDraft(chat, chat.draft);
  keepDraft(state.chats.get(""), "");
  if (wasOpen) {
    state.open = chat.name;
    history.replaceState(null, "", `#/${chat.name}`);
  }
}

function take(chat, turn) {
  chat.turn = turn;
  changed();
  return turn.run();
}

/** Says something; `supersedeFrom` is the sequence of the message that it is said in place of. */
export function say(chat, text, supersedeFrom = null) {
  if (chat.turn?.running || text.trim() === "") return undefined;
  const turn = new Turn(chat, { method: "Chat", text, supersedeFrom });
  if (supersedeFrom !== null) cut(turn, supersedeFrom);
  chat.editing = null;
  chat.messages.push({
    name: `pending-${turn.requestId}`,
    pending: true,
    role: "ROLE_USER",
    content: text,
    createTime: new Date().toISOString(),
  });
  return take(chat, turn);
}

/** Has the last reply written anew. */
export function regenerate(chat) {
  if (chat.turn?.running) return undefined;
  const last = chat.messages.findLast((message) => message.role === "ROLE_USER");
  if (!last) return undefined;
  const turn = new Turn(chat, { method: "Regenerate" });
  cut(turn, sequenceOf(last) + 1);
  return take(chat, turn);
}

function cut(turn, sequence) {
  const { chat } = turn;
  turn.replaced = chat.messages.filter((message) => !message.pending && sequenceOf(message) >= sequence);
  chat.messages = chat.messages.filter((message) => !message.pending && !turn.replaced.includes(message));
}

/** Makes a failed attempt again: what had been stored of it is not stored twice. */
export function tryAgain(chat) {
  const { turn } = chat;
  if (!turn || turn.running) return undefined;
  turn.begin();
  return take(chat, turn);
}

/** Takes a failure off the page. */
export async function dismiss(chat) {
  const { turn } = chat;
  chat.turn = null;
  if (turn) restore(turn);
  changed();
  if (chat.name !== "") await refreshEnd(chat, 0).catch(() => {});
}
