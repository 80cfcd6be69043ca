// Settings: of the conversation that is open, of replies, of the page; and what becomes of one's data.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { forgetKey, hasKey } from "./api.js";
import { setSystemPrompt } from "./conversations.js";
import { exportAs } from "./export.js";
import { attempt, show } from "./sidebar.js";
import { openChat, setSetting, state } from "./state.js";
import { LANGUAGE_NAMES, decimal, t } from "./texts.js";

function numberField(name, label, hint, { min, max, step, otherwise }) {
  const set = (event) => {
    const { value, validity } = event.target;
    if (validity.valid) setSetting(name, value === "" ? null : Number(value));
  };
  return html`<label class="field">
    <span>${label}</span>
    <input
      type="number"
      inputmode="decimal"
      min=${min}
      max=${max ?? nothing}
      step=${step}
      placeholder=${otherwise}
      aria-describedby="hint-${name}"
      .value=${state.settings[name] ?? ""}
      @change=${set}
    />
    <small id="hint-${name}">${hint}</small>
  </label>`;
}

function choice(name, label, options) {
  return html`<label class="field">
    <span>${label}</span>
    <select @change=${(event) => setSetting(name, event.target.value)}>
      ${options.map(([value, text]) => html`<option value=${value} ?selected=${state.settings[name] === value}>${text}</option>`)}
    </select>
  </label>`;
}

const modelDefault = (value) => (value == null ? t("byModel") : `${decimal(value)} (${t("byModel")})`);

export function settingsView() {
  const chat = openChat();
  const sampling = state.model?.defaultSampling ?? {};
  const prompt = chat.name === "" ? chat.systemPrompt : (chat.conversation?.systemPrompt ?? "");
  return html`<section>
      <h3>${t("ofConversation")}</h3>
      <label class="field wide">
        <span>${t("systemPrompt")}</span>
        <textarea
          rows="4"
          aria-describedby="hint-system"
          .value=${prompt}
          @change=${(event) => attempt(setSystemPrompt(chat, event.target.value))}
        ></textarea>
        <small id="hint-system">${t("systemPromptHint")}</small>
      </label>
    </section>
    <section>
      <h3>${t("ofReplies")}</h3>
      <div class="fields">
        ${numberField("temperature", t("temperature"), t("temperatureHint"), { min: 0, max: 5, step: "any", otherwise: modelDefault(sampling.temperature) })}
        ${numberField("topP", t("topP"), t("topPHint"), { min: 0.01, max: 1, step: "any", otherwise: modelDefault(sampling.topP) })}
        ${numberField("maxTokens", t("maxTokens"), t("maxTokensHint"), { min: 1, step: 1, otherwise: t("unlimited") })}
        ${numberField("seed", t("seed"), t("seedHint"), { min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, otherwise: t("random") })}
      </div>
      <label class="check">
        <input type="checkbox" .checked=${state.settings.recall} @change=${(event) => setSetting("recall", event.target.checked)} />
        <span>${t("recallLabel")}</span>
      </label>
    </section>
    <section>
      <h3>${t("ofPage")}</h3>
      <div class="fields">
        ${choice("language", t("languageLabel"), [["", t("automatic")], ...Object.entries(LANGUAGE_NAMES)])}
        ${choice("theme", t("themeLabel"), [["", t("automatic")], ["light", t("light")], ["dark", t("dark")]])}
      </div>
    </section>
    <section>
      <h3>${t("ofData")}</h3>
      <div class="row">
        <button type="button" class="button" @click=${() => attempt(exportAs("lines", null))}>${t("exportAll")}</button>
        <button type="button" class="button danger" @click=${() => show({ kind: "deleteAll" })}>${t("deleteAll")}</button>
        ${hasKey()
          ? html`<button
              type="button"
              class="button"
              @click=${() => {
                forgetKey();
                location.reload();
              }}
            >
              ${t("signOut")}
            </button>`
          : nothing}
      </div>
    </section>
    <section class="keys">
      <h3>${t("ofKeyboard")}</h3>
      <dl>
        ${t("keys").map(([key, does]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${does}</dd></div>`)}
      </dl>
    </section>`;
}
