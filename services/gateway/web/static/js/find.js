// Finding: titles, and everything that was said, by meaning and by words.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { call } from "./api.js";
import { titleOf } from "./conversations.js";
import { explain } from "./failures.js";
import { wordsOf } from "./markdown.js";
import { changed, state } from "./state.js";
import { t, when } from "./texts.js";

const WAIT_MS = 180;
const MOST_TITLES = 5;
const MOST_HITS = 20;
const SNIPPET = 220;

let timer = 0;
let running = null;

function titles(query) {
  const words = query.toLocaleLowerCase().split(/\s+/u);
  return state.conversations
    .filter((each) => words.every((word) => titleOf(each).toLocaleLowerCase().includes(word)))
    .slice(0, MOST_TITLES)
    .map((each) => ({ address: `#/${each.name}`, title: titleOf(each), where: t("titleMatch"), time: each.updateTime }));
}

/** Cuts a text to what stands around the first word that was asked for. */
function around(text, query) {
  if (text.length <= SNIPPET) return text;
  const low = text.toLocaleLowerCase();
  const at = Math.max(0, Math.min(...query.toLocaleLowerCase().split(/\s+/u).map((w) => low.indexOf(w)).filter((n) => n >= 0), text.length) % text.length);
  const start = Math.max(0, at - SNIPPET / 3);
  return `${start > 0 ? "…" : ""}${text.slice(start, start + SNIPPET).trim()}…`;
}

function asResult({ message }, query) {
  const [conversation] = message.name.split("/messages/");
  const title = state.conversations.find((each) => each.name === conversation);
  const isReply = message.role === "ROLE_ASSISTANT";
  const text = message.content ?? "";
  return {
    address: `#/${conversation}/${message.sequence}`,
    title: around(isReply ? wordsOf(text) : text, query),
    where: [t(isReply ? "model" : "you"), title && titleOf(title)].filter(Boolean).join(" · "),
    time: message.createTime,
  };
}

async function search(dialog, query) {
  running?.abort();
  running = new AbortController();
  try {
    const answer = await call("SearchMessages", { query, limit: MOST_HITS }, running.signal);
    dialog.results = [...titles(query), ...(answer.hits ?? []).map((hit) => asResult(hit, query))];
    dialog.failure = null;
  } catch (failure) {
    if (failure.name === "AbortError") return;
    dialog.results = titles(query);
    dialog.failure = explain(failure);
  }
  dialog.at = 0;
  dialog.searched = query;
  changed();
}

function onInput(dialog, text) {
  dialog.query = text;
  clearTimeout(timer);
  const query = text.trim();
  if (query === "") {
    running?.abort();
    Object.assign(dialog, { results: [], searched: "", failure: null });
  } else {
    timer = setTimeout(() => search(dialog, query), WAIT_MS);
  }
  changed();
}

export function findView(close) {
  const { dialog } = state;
  const results = dialog.results ?? [];
  const at = dialog.at ?? 0;
  const go = (result) => {
    close();
    if (location.hash === result.address) dispatchEvent(new HashChangeEvent("hashchange"));
    else location.hash = result.address;
  };
  const onKey = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && results.length > 0) {
      event.preventDefault();
      // Not from what is drawn: keys may come faster.
      dialog.at = ((dialog.at ?? 0) + step + results.length) % results.length;
      changed();
      requestAnimationFrame(() => document.getElementById(`found-${dialog.at}`)?.scrollIntoView({ block: "nearest" }));
    } else if (event.key === "Escape") {
      // The browser would empty the box first.
      event.preventDefault();
      close();
    } else if (event.key === "Enter" && results[dialog.at ?? 0]) {
      event.preventDefault();
      go(results[dialog.at ?? 0]);
    }
  };
  return html`<input
      class="find-box"
      type="search"
      role="combobox"
      autocomplete="off"
      autofocus
      aria-label=${t("findHint")}
      aria-expanded=${results.length > 0}
      aria-controls="found"
      aria-autocomplete="list"
      aria-activedescendant=${results.length > 0 ? `found-${at}` : ""}
      placeholder=${t("findPlaceholder")}
      .value=${dialog.query ?? ""}
      @input=${(event) => onInput(dialog, event.target.value)}
      @keydown=${onKey}
    />
    <p class="quiet" role="status">
      ${dialog.failure ?? (dialog.searched ? (results.length > 0 ? t("found", results.length) : t("findNothing")) : t("findEmpty"))}
    </p>
    <ul id="found" class="found" role="listbox" aria-label=${t("findTitle")}>
      ${results.map(
        (result, number) => html`<li
          id="found-${number}"
          role="option"
          aria-selected=${number === at}
          @click=${() => go(result)}
        >
          <span class="what">${result.title}</span>
          <span class="where">${result.where}${result.time ? html` · ${when(result.time)}` : nothing}</span>
        </li>`,
      )}
    </ul>`;
}
