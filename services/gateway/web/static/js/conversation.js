// The conversation that is open: its title, its messages, the box.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { composerView } from "./composer.js";
import { titleOf } from "./conversations.js";
import { icon } from "./icons.js";
import { messageView, writingView } from "./message.js";
import { Scroller } from "./scroll.js";
import { openActions, show, startNew } from "./sidebar.js";
import { changed, drawn, openChat, state } from "./state.js";
import { language, t } from "./texts.js";
import { load, loadBackTo, loadOlder, sequenceOf } from "./transcript.js";
import { dismiss, regenerate, say, tryAgain } from "./turns.js";

const FLASH_MS = 2400;
const SKELETONS = 3;

const scroller = new Scroller(
  () => {
    const chat = openChat();
    if (chat.older && !chat.loading) scroller.keepingPlace(() => loadOlder(chat), drawn);
  },
  () => changed(),
);

export const toEnd = () => drawn().then(() => scroller.toEnd());

/** After drawing: keeps to the end while the reader is there. */
export function settle() {
  scroller.attach(document.getElementById("scroller"));
  scroller.settle();
}

/** Opens a conversation, at a message where one is named. */
export async function openAt(chat, sequence) {
  if (sequence === null) {
    scroller.following = true;
    await load(chat);
    await toEnd();
    return;
  }
  scroller.following = false;
  await loadBackTo(chat, sequence).catch(() => {});
  if (state.open !== chat.name) return;
  chat.flashed = sequence;
  await drawn();
  const target = document.querySelector(`[data-message="${sequence}"]`);
  if (target) {
    scroller.show(target);
    target.focus({ preventScroll: true });
  }
  setTimeout(() => {
    chat.flashed = null;
    changed();
  }, FLASH_MS);
}

function empty(chat) {
  const { model } = state;
  const wrong = model?.languages?.length > 0 && !model.languages.some((tag) => tag.startsWith(language()));
  return html`<div class="empty">
    <h2>${t("emptyTitle")}</h2>
    <p>${t("emptyBody")}</p>
    ${wrong ? html`<p class="notice-line">${t("wrongLanguage", model.id)}</p>` : nothing}
    <ul class="starters">
      ${t("starters").map(
        (text) => html`<li>
          <button type="button" @click=${() => {
            say(chat, text);
            toEnd();
          }}>${text}</button>
        </li>`,
      )}
    </ul>
  </div>`;
}

const skeletons = () => html`<div class="skeletons" role="status" aria-label=${t("loading")}>
  ${Array.from({ length: SKELETONS }, () => html`<span class="skeleton mine"></span><span class="skeleton"></span><span class="skeleton short"></span>`)}
</div>`;

function failureView(chat) {
  const { failure } = chat.turn;
  return html`<div class="failure" role="alert">
    <p>${failure.text}</p>
    <div class="row">
      ${chat.editing || failure.reason === "CONTEXT_LENGTH_EXCEEDED"
        ? nothing
        : html`<button type="button" class="button" @click=${() => tryAgain(chat)}>${t("tryAgain")}</button>`}
      <button type="button" class="button" @click=${() => dismiss(chat)}>${t("dismiss")}</button>
    </div>
  </div>`;
}

function messages(chat) {
  const { turn } = chat;
  const last = chat.messages.at(-1);
  const unanswered = !turn && last?.role === "ROLE_USER" && !last.pending;
  return html`${chat.older
      ? html`<div class="older" role="status">${chat.loading ? html`<span class="quiet">${t("loadingOlder")}</span>` : nothing}</div>`
      : nothing}
    ${repeat(
      chat.messages,
      (message) => message.name || "partial",
      (message) => messageView(chat, message, message === last),
    )}
    ${turn && (turn.running || turn.reply) ? writingView(turn) : nothing}
    ${turn && !turn.running ? failureView(chat) : nothing}
    ${unanswered
      ? html`<div class="failure soft">
          <p>${t("noReply")}</p>
          <div class="row"><button type="button" class="button" @click=${() => regenerate(chat)}>${t("replyNow")}</button></div>
        </div>`
      : nothing}`;
}

const isMissing = (chat) => chat.failure?.reason === "CONVERSATION_NOT_FOUND";

function transcript(chat) {
  if (chat.failure && chat.messages.length === 0) {
    return html`<div class="empty" role="alert">
      <h2>${chat.failure.text}</h2>
      ${isMissing(chat) ? html`<button type="button" class="button" @click=${startNew}>${t("newChat")}</button>` : nothing}
    </div>`;
  }
  if (chat.messages.length > 0 || chat.turn) return messages(chat);
  if (chat.older === null) return skeletons();
  return empty(chat);
}

function headingOf(chat) {
  if (chat.name === "") return t("newChat");
  if (chat.conversation) return titleOf(chat.conversation);
  return t(chat.failure ? "appName" : "loading");
}

function header(chat) {
  const { conversation } = chat;
  const title = headingOf(chat);
  return html`<header class="bar">
    <button
      type="button"
      class="icon-button only-narrow"
      aria-label=${t("openSidebar")}
      aria-controls="sidebar"
      aria-expanded=${state.sidebarOpen}
      @click=${() => {
        state.sidebarOpen = true;
        changed();
        requestAnimationFrame(() => document.querySelector(".sidebar button")?.focus());
      }}
    >
      ${icon("panel")}
    </button>
    <h1 title=${title}>${title}</h1>
    <button
      type="button"
      class="icon-button only-narrow"
      aria-label=${t("findHint")}
      @click=${() => show({ kind: "find" })}
    >
      ${icon("search")}
    </button>
    ${conversation
      ? html`<button
          type="button"
          class="icon-button"
          aria-haspopup="menu"
          aria-label=${t("actionsOf", title)}
          @click=${(event) => openActions(event.currentTarget, conversation)}
        >
          ${icon("dots")}
        </button>`
      : nothing}
  </header>`;
}

export function conversationView() {
  const chat = openChat();
  return html`<main class="main" ?inert=${state.sidebarOpen}>
    ${header(chat)}
    ${state.online ? nothing : html`<p class="offline" role="status">${t("offline")}</p>`}
    <div class="scroller" id="scroller" tabindex="-1">
      <div class="transcript">${transcript(chat)}</div>
    </div>
    <div class="foot">
      ${scroller.following
        ? nothing
        : html`<button type="button" class="to-end" aria-label=${t("toLatest")} title=${t("toLatest")} @click=${() => scroller.toEnd()}>
            ${icon("down")}
          </button>`}
      ${isMissing(chat) ? nothing : composerView(chat, toEnd)}
    </div>
  </main>`;
}
