// What stands over the page: finding, settings, renaming, deleting, the question for a key.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { keyed } from "../vendor/lit-html/directives/keyed.js";
import { ref } from "../vendor/lit-html/directives/ref.js";
import { removeAll, titleOf } from "./conversations.js";
import { findView } from "./find.js";
import { icon } from "./icons.js";
import { settingsView } from "./settings.js";
import { attempt, doDelete, doRename, show } from "./sidebar.js";
import { changed, state } from "./state.js";
import { t } from "./texts.js";

function open(element) {
  // It is part of the page only after it was drawn.
  queueMicrotask(() => {
    if (!element?.isConnected || element.open) return;
    element.showModal();
    element.querySelector("[autofocus]")?.focus();
  });
}

/** Takes the dialog off the page; the browser gives the focus back to where it was. */
export function close() {
  document.querySelector("dialog[open]")?.close();
  state.dialog = null;
  changed();
}

function frame(name, title, body, { onClose = close, closable = true } = {}) {
  return html`<dialog
    class="dialog ${name}"
    aria-label=${title}
    ${ref(open)}
    @cancel=${(event) => {
      event.preventDefault();
      if (closable) onClose();
    }}
    @click=${(event) => closable && event.target === event.currentTarget && onClose()}
  >
    <div class="dialog-body">
      <div class="dialog-head">
        <h2>${title}</h2>
        ${closable
          ? html`<button type="button" class="icon-button" aria-label=${t("close")} @click=${onClose}>${icon("close")}</button>`
          : nothing}
      </div>
      ${body}
    </div>
  </dialog>`;
}

const submit = (act) => (event) => {
  event.preventDefault();
  act(new FormData(event.currentTarget));
};

const buttons = (label, { danger = false, cancel = true } = {}) => html`<div class="row end">
  ${cancel ? html`<button type="button" class="button" @click=${close}>${t("cancel")}</button>` : nothing}
  <button type="submit" class="button ${danger ? "danger" : "primary"}" ?autofocus=${danger}>${label}</button>
</div>`;

const VIEWS = {
  find: () => frame("find", t("findTitle"), findView(close)),

  settings: () => frame("settings", t("settingsTitle"), settingsView()),

  rename: ({ conversation }) =>
    frame(
      "small",
      t("renameTitle"),
      html`<form
        @submit=${submit((data) => {
          close();
          doRename(conversation, data.get("title").trim());
        })}
      >
        <label>${t("titleLabel")}<input name="title" maxlength="200" autocomplete="off" autofocus .value=${conversation.title ?? ""} /></label>
        ${buttons(t("save"))}
      </form>`,
    ),

  delete: ({ conversation }) =>
    frame(
      "small",
      t("deleteTitle"),
      html`<form
        @submit=${submit(() => {
          close();
          doDelete(conversation);
        })}
      >
        <p>${t("deleteBody", titleOf(conversation))}</p>
        ${buttons(t("delete"), { danger: true })}
      </form>`,
    ),

  deleteAll: () =>
    frame(
      "small",
      t("deleteAllTitle"),
      html`<form
        @submit=${submit(() => {
          close();
          attempt(removeAll());
        })}
      >
        <p>${t("deleteAllBody")}</p>
        ${buttons(t("delete"), { danger: true })}
      </form>`,
    ),

  key: ({ refused, resolve }) =>
    frame(
      "small",
      t("keyTitle"),
      html`<form
        @submit=${submit((data) => {
          const key = data.get("key").trim();
          if (key === "") return;
          close();
          resolve(key);
        })}
      >
        <p>${t("keyBody")}</p>
        ${refused ? html`<p class="wrong" role="alert">${t("keyWrong")}</p>` : nothing}
        <label>${t("keyLabel")}<input name="key" type="password" required autocomplete="off" spellcheck="false" autofocus /></label>
        ${buttons(t("keyUse"), { cancel: false })}
      </form>`,
      { closable: false },
    ),
};

/** Asks the reader for a key. */
export function askForKey(refused) {
  return new Promise((resolve) => show({ kind: "key", refused, resolve }));
}

export function dialogView() {
  if (!state.dialog) return nothing;
  return keyed(state.dialog, VIEWS[state.dialog.kind](state.dialog));
}
