// The list of conversations.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { listConversations, rename, remove, titleOf } from "./conversations.js";
import { exportAs } from "./export.js";
import { explain } from "./failures.js";
import { icon } from "./icons.js";
import { openMenu } from "./menu.js";
import { changed, drawNow, notify, state } from "./state.js";
import { period, t } from "./texts.js";

const SKELETONS = 6;

/** Does what was asked for, and says where that fails. */
export const attempt = (work) => work.catch((failure) => notify(explain(failure)));

/** Opens the menu of a conversation. */
export function openActions(button, conversation) {
  const title = titleOf(conversation);
  openMenu(button, t("actionsOf", title), [
    { label: t("rename"), act: () => show({ kind: "rename", conversation }) },
    { label: t("exportText"), act: () => attempt(exportAs("text", conversation)) },
    { label: t("exportLines"), act: () => attempt(exportAs("lines", conversation)) },
    { label: t("delete"), danger: true, act: () => show({ kind: "delete", conversation }) },
  ]);
}

/** Opens a dialog, which takes the keys that follow: whoever types on at once loses none. */
export function show(dialog) {
  state.dialog = dialog;
  state.sidebarOpen = false;
  drawNow();
}

export const doRename = (conversation, title) => attempt(rename(conversation.name, title));
export const doDelete = (conversation) => attempt(remove(conversation.name));

export function startNew() {
  state.sidebarOpen = false;
  if (location.hash === "#/") changed();
  else location.hash = "#/";
  requestAnimationFrame(() => document.getElementById("composer")?.focus());
}

function item(conversation) {
  const isOpen = conversation.name === state.open;
  const writes = state.chats.get(conversation.name)?.turn?.running;
  return html`<li class="conversation">
    <a
      href="#/${conversation.name}"
      aria-current=${isOpen ? "page" : "false"}
      @click=${() => {
        state.sidebarOpen = false;
        changed();
      }}
      >${titleOf(conversation)}${writes ? html`<span class="pulse" aria-hidden="true"></span>` : nothing}</a
    >
    <button
      type="button"
      class="icon-button"
      aria-haspopup="menu"
      aria-label=${t("actionsOf", titleOf(conversation))}
      @click=${(event) => openActions(event.currentTarget, conversation)}
    >
      ${icon("dots")}
    </button>
  </li>`;
}

function groups() {
  const found = [];
  for (const conversation of state.conversations) {
    const heading = period(conversation.updateTime);
    if (found.at(-1)?.heading !== heading) found.push({ heading, items: [] });
    found.at(-1).items.push(conversation);
  }
  return found;
}

function list() {
  if (state.conversations.length === 0) {
    if (state.conversationsLoading || state.conversationsToken === null) {
      return html`<div class="skeletons" role="status" aria-label=${t("loading")}>
        ${Array.from({ length: SKELETONS }, () => html`<span class="skeleton"></span>`)}
      </div>`;
    }
    return html`<p class="quiet">${t("noConversations")}</p>`;
  }
  return html`${repeat(
    groups(),
    (group) => group.heading,
    (group) => html`<section>
      <h3>${group.heading}</h3>
      <ul>
        ${repeat(group.items, (each) => each.name, item)}
      </ul>
    </section>`,
  )}
  ${state.conversationsToken
    ? html`<button type="button" class="more" ?disabled=${state.conversationsLoading} @click=${() => listConversations({ next: true })}>
        ${t("more")}
      </button>`
    : nothing}`;
}

export function sidebarView() {
  return html`<aside class="sidebar" id="sidebar" aria-label=${t("conversations")}>
    <div class="sidebar-head">
      <button type="button" class="wide-button" @click=${startNew}>${icon("plus")}<span>${t("newChat")}</span></button>
      <button
        type="button"
        class="icon-button"
        aria-label=${t("findHint")}
        title="${t("findHint")} (Ctrl+K)"
        @click=${() => show({ kind: "find" })}
      >
        ${icon("search")}
      </button>
    </div>
    <nav class="conversations" aria-label=${t("conversations")} tabindex="-1">
      <h2 class="visually-hidden">${t("conversations")}</h2>
      ${list()}
    </nav>
    <div class="sidebar-foot">
      <button type="button" class="plain-button" @click=${() => show({ kind: "settings" })}>
        ${icon("sliders")}<span>${t("settings")}</span>
      </button>
      ${state.model ? html`<p class="model" title=${state.model.description ?? ""}>${state.model.id}</p>` : nothing}
    </div>
  </aside>`;
}
