// The box at the foot of a conversation.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { icon } from "./icons.js";
import { fit } from "./message.js";
import { changed, keepDraft } from "./state.js";
import { t } from "./texts.js";
import { sequenceOf } from "./transcript.js";
import { say } from "./turns.js";

const touches = matchMedia("(pointer: coarse)");

function editLast(chat) {
  const last = chat.messages.findLast((message) => message.role === "ROLE_USER" && !message.pending);
  if (!last || chat.turn?.running) return;
  chat.editing = { sequence: sequenceOf(last), text: last.content };
  changed();
}

export function composerView(chat, onSay) {
  const running = chat.turn?.running ?? false;
  const send = () => {
    const text = chat.draft;
    if (running || text.trim() === "") return;
    keepDraft(chat, "");
    say(chat, text);
    onSay();
  };
  const onKey = (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !touches.matches) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && chat.draft === "") {
      event.preventDefault();
      editLast(chat);
    }
  };
  return html`<form
    class="composer"
    @submit=${(event) => {
      event.preventDefault();
      send();
    }}
  >
    <textarea
      id="composer"
      rows="1"
      aria-label=${t("messageLabel")}
      placeholder=${t("placeholder")}
      autocomplete="off"
      .value=${live(chat.draft)}
      @keydown=${onKey}
      @input=${(event) => {
        keepDraft(chat, event.target.value);
        changed();
      }}
    ></textarea>
    ${running
      ? html`<button type="button" class="send stop" aria-label=${t("stop")} title=${t("stopHint")} @click=${() => chat.turn.stop()}>
          ${icon("stop")}
        </button>`
      : html`<button type="submit" class="send" aria-label=${t("send")} title=${t("send")} ?disabled=${chat.draft.trim() === ""}>
          ${icon("send")}
        </button>`}
  </form>`;
}

/** Makes the box as high as what is in it. To be called after drawing. */
export function fitComposer() {
  const box = document.getElementById("composer");
  if (!box || box.fitted === box.value) return;
  box.fitted = box.value;
  fit(box);
}
