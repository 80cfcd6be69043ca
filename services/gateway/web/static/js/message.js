// How one message looks: what a person said, or a reply with what was recalled for it beside it.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { ref } from "../vendor/lit-html/directives/ref.js";
import { copy } from "./code.js";
import { icon } from "./icons.js";
import "./markdown.js";
import { changed } from "./state.js";
import { decimal, exactTime, language, number, t, when } from "./texts.js";
import { notesOf, sequenceOf } from "./transcript.js";
import { regenerate, say } from "./turns.js";

/** How many of the recalled messages are seen without asking. */
const RECALLED_SHOWN = 3;

const speakerOf = ({ role, author }) =>
  author || t({ ROLE_USER: "you", ROLE_ASSISTANT: "model" }[role] ?? "system");

/** Makes a box as high as what is in it. */
export function fit(box) {
  if (!box) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

function iconButton(name, label, act, title = label) {
  return html`<button type="button" class="icon-button" aria-label=${label} title=${title} @click=${act}>${icon(name)}</button>`;
}

function copyButton(label, text) {
  return html`<button
    type="button"
    class="icon-button copy"
    aria-label=${label}
    title=${label}
    @click=${(event) => copy(text, event.currentTarget)}
  >
    ${icon("copy")}${icon("check")}
  </button>`;
}

function editor(chat) {
  const sendAnew = () => {
    const { sequence, text } = chat.editing;
    say(chat, text, sequence);
  };
  const leave = () => {
    const { sequence } = chat.editing;
    chat.editing = null;
    changed();
    requestAnimationFrame(() => document.querySelector(`[data-message="${sequence}"] .edit`)?.focus());
  };
  return html`<form
    class="editor"
    @submit=${(event) => {
      event.preventDefault();
      sendAnew();
    }}
  >
    <textarea
      aria-label=${t("editLabel")}
      aria-describedby="edit-hint"
      .value=${chat.editing.text}
      ${ref((box) => {
        if (!box || box.dataset.ready) return;
        box.dataset.ready = "yes";
        requestAnimationFrame(() => {
          fit(box);
          box.focus();
        });
      })}
      @input=${(event) => {
        chat.editing.text = event.target.value;
        fit(event.target);
      }}
      @keydown=${(event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
          event.preventDefault();
          sendAnew();
        } else if (event.key === "Escape") {
          event.stopPropagation();
          leave();
        }
      }}
    ></textarea>
    <p id="edit-hint" class="quiet">${t("editHint")}</p>
    <div class="row">
      <button type="submit" class="button primary">${t("sendAnew")}</button>
      <button type="button" class="button" @click=${leave}>${t("cancel")}</button>
    </div>
  </form>`;
}

function said(chat, message) {
  if (chat.editing && !message.pending && chat.editing.sequence === sequenceOf(message)) return editor(chat);
  const startEditing = () => {
    chat.editing = { sequence: sequenceOf(message), text: message.content };
    changed();
  };
  return html`<div class="bubble">${message.content}</div>
    <div class="tools">
      ${message.createTime ? html`<time datetime=${message.createTime} title=${exactTime(message.createTime)}>${when(message.createTime)}</time>` : nothing}
      ${copyButton(t("copyMessage"), message.content)}
      ${message.pending || chat.turn?.running
        ? nothing
        : html`<button type="button" class="icon-button edit" aria-label=${t("editMessage")} title=${t("editMessage")} @click=${startEditing}>
            ${icon("edit")}
          </button>`}
    </div>`;
}

function figures(message, notes) {
  const { promptTokens = 0, cachedTokens = 0, completionTokens = 0 } = message.usage ?? {};
  const parts = [];
  if (notes?.speed) parts.push(t("speed", decimal(notes.speed)));
  if (completionTokens) parts.push(t("tokens", completionTokens, number(completionTokens)));
  const details = [];
  if (notes?.first) details.push(t("firstToken", decimal(notes.first)));
  if (promptTokens) details.push(t("promptTokens", number(promptTokens), number(cachedTokens)));
  return html`<span class="figures" title=${details.join(", ")}>${parts.join(" · ")}</span>`;
}

const recalledList = (recalled) => html`<ul>
  ${recalled.map(
    (each) => html`<li>
      <a href="#/${each.conversation}/${each.sequence}" title=${t("recalledOpen")}>
        <span class="where">${speakerOf(each)} · ${when(each.createTime)}</span>
        <span class="what">${each.content}</span>
      </a>
    </li>`,
  )}
</ul>`;

/** What was recalled for a reply: what mattered most, and the rest on demand. */
function recalledView(recalled) {
  if (!recalled?.length) return nothing;
  const rest = recalled.slice(RECALLED_SHOWN);
  return html`<aside class="recalled" aria-label=${t("recalled")}>
    <h4 title=${t("recalledHint")}>${icon("memory")}${t("recalled")}</h4>
    ${recalledList(recalled.slice(0, RECALLED_SHOWN))}
    ${rest.length > 0
      ? html`<details>
          <summary>${t("recalledMore", rest.length)}</summary>
          ${recalledList(rest)}
        </details>`
      : nothing}
  </aside>`;
}

function reply(chat, message, isLast) {
  const notes = notesOf(message);
  const reason = t("reasons")[message.finishReason];
  return html`<chat-markdown class="prose" .live=${false} .text=${message.content ?? ""}></chat-markdown>
    ${reason ? html`<p class="reason">${reason}</p>` : nothing}
    <div class="tools">
      ${copyButton(t("copyReply"), message.content ?? "")}
      ${isLast && !chat.turn?.running ? iconButton("again", t("regenerate"), () => regenerate(chat), t("regenerateHint")) : nothing}
      ${message.createTime ? html`<time datetime=${message.createTime} title=${exactTime(message.createTime)}>${when(message.createTime)}</time>` : nothing}
      ${figures(message, notes)}
    </div>
    ${recalledView(notes?.recalled)}`;
}

/** One message of a conversation; drawn anew only where something about it has changed. */
export function messageView(chat, message, isLast) {
  const sequence = sequenceOf(message);
  const editing = chat.editing?.sequence === sequence && !message.pending;
  const flashed = chat.flashed === sequence;
  const running = chat.turn?.running ?? false;
  return guard([chat, message, isLast, editing, flashed, running, language()], () => {
    const mine = message.role === "ROLE_USER";
    const kind = mine ? "said" : message.role === "ROLE_ASSISTANT" ? "reply" : "system";
    return html`<article
      class="message ${kind}${flashed ? " flashed" : ""}"
      data-message=${message.pending ? "pending" : sequence}
      aria-label=${speakerOf(message)}
      tabindex="-1"
    >
      ${message.author ? html`<p class="author">${message.author}</p>` : nothing}
      ${mine ? said(chat, message) : reply(chat, message, isLast && kind === "reply")}
    </article>`;
  });
}

/** The reply that is being written. */
export function writingView(turn) {
  const state = turn.waiting ? t("waiting", turn.waiting) : t(turn.phase === "writing" && turn.reply ? "replying" : "thinking");
  return html`<article class="message reply writing" aria-label=${t("model")} aria-busy=${turn.running} data-message="writing">
    ${turn.reply
      ? html`<chat-markdown
          class="prose"
          .live=${turn.running}
          .text=${turn.reply}
          @settled=${(event) => {
            turn.spoken = event.detail;
          }}
        ></chat-markdown>`
      : nothing}
    ${turn.running
      ? html`<p class="status"><span class="pulse" aria-hidden="true"></span><span>${state}</span>
          ${turn.speed ? html`<span class="figures">${t("speed", decimal(turn.speed))}</span>` : nothing}
        </p>`
      : nothing}
    ${recalledView(turn.recalled)}
  </article>`;
}
