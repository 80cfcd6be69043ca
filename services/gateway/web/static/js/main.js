// The page: draws what there is to see, follows the address, hears the keys that hold everywhere.

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { call, onKeyNeeded } from "./api.js";
import { fitComposer } from "./composer.js";
import { openAt, conversationView, settle } from "./conversation.js";
import { listConversations, titleOf } from "./conversations.js";
import { askForKey, dialogView } from "./dialogs.js";
import { pause, waitFor } from "./failures.js";
import { menuView } from "./menu.js";
import { show, sidebarView, startNew } from "./sidebar.js";
import { changed, chatOf, onChange, openChat, state } from "./state.js";
import { language, t } from "./texts.js";

const root = document.getElementById("app");

function closeSidebar() {
  state.sidebarOpen = false;
  changed();
  document.querySelector("[aria-controls=sidebar]")?.focus();
}

function draw() {
  document.documentElement.lang = language();
  document.documentElement.dataset.theme = state.settings.theme;
  const { conversation } = openChat();
  document.title = conversation ? `${titleOf(conversation)} · ${t("appName")}` : t("appName");
  render(
    html`<a class="skip" href="#composer" @click=${(event) => {
        event.preventDefault();
        document.getElementById("composer")?.focus();
      }}>${t("skip")}</a>
      <div class="layout${state.sidebarOpen ? " sidebar-open" : ""}">
        ${sidebarView()}
        <button type="button" class="scrim" tabindex="-1" aria-label=${t("closeSidebar")} @click=${closeSidebar}></button>
        ${conversationView()}
      </div>
      ${menuView()} ${dialogView()}
      <p class="toast" role="status">${state.notice ?? nothing}</p>`,
    root,
  );
  fitComposer();
  settle();
}

function follow() {
  const found = /^#\/(conversations\/[^/]+)(?:\/(\d+))?$/.exec(location.hash);
  state.open = found ? found[1] : "";
  state.sidebarOpen = false;
  openAt(chatOf(state.open), found?.[2] ? Number(found[2]) : null);
  changed();
}

function onKey(event) {
  const key = event.key.toLowerCase();
  const command = event.ctrlKey || event.metaKey;
  if (command && !event.shiftKey && key === "k") {
    event.preventDefault();
    if (!state.dialog) show({ kind: "find" });
  } else if (command && event.shiftKey && key === "o") {
    event.preventDefault();
    if (!state.dialog) startNew();
  } else if (event.key === "Escape" && !state.dialog && !state.menu) {
    if (state.sidebarOpen) closeSidebar();
    else openChat().turn?.stop();
  }
}

async function describeModel() {
  for (let attempt = 0; ; attempt += 1) {
    try {
      state.model = (await call("GetModel")).model;
      changed();
      return;
    } catch (failure) {
      await pause(waitFor(failure, attempt));
    }
  }
}

onKeyNeeded(askForKey);
onChange(draw);
addEventListener("hashchange", follow);
addEventListener("keydown", onKey);
addEventListener("languagechange", changed);
follow();
listConversations();
describeModel();
if (matchMedia("(pointer: fine)").matches) requestAnimationFrame(() => document.getElementById("composer")?.focus());
