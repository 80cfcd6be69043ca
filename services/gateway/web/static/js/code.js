// A block of code: what language it is in, a button that copies it, and colours once it is whole.

import DOMPurify from "../vendor/dompurify/purify.es.mjs";
import { icon } from "./icons.js";
import { render } from "../vendor/lit-html/lit-html.js";
import { t } from "./texts.js";

const LONGEST_COLOURED = 60_000;
const SHOWN_COPIED_MS = 1600;

const SPANS = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], ALLOW_DATA_ATTR: false, RETURN_DOM_FRAGMENT: true };

let highlighter = null;

async function colour(code, language) {
  highlighter ??= import("../vendor/highlight.js/highlight.min.js");
  const { default: hljs } = await highlighter;
  if (!hljs.getLanguage(language)) return;
  const text = code.textContent;
  const { value } = hljs.highlight(text, { language, ignoreIllegals: true });
  code.replaceChildren(DOMPurify.sanitize(value, SPANS));
}

/** Copies a text; the button says so for a moment. */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Not on https or loopback: the old way.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    (button.closest("dialog") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.classList.add("is-done");
  const before = button.getAttribute("aria-label");
  button.setAttribute("aria-label", t("copied"));
  setTimeout(() => {
    button.classList.remove("is-done");
    button.setAttribute("aria-label", before);
  }, SHOWN_COPIED_MS);
}

/** Returns the language that a fence names. */
export const languageOf = (info) => info.trim().split(/\s/)[0].toLowerCase().replace(/[^\w+#.-]/g, "");

/** Returns the element for a block of code; `grow` gives it a longer text, `finish` says that no more comes. */
export function codeBlock(text, info) {
  const language = languageOf(info);
  const figure = document.createElement("figure");
  figure.className = "code";
  const head = document.createElement("figcaption");
  const name = document.createElement("span");
  name.textContent = language;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "icon-button copy";
  button.setAttribute("aria-label", t("copyCode"));
  button.title = t("copyCode");
  render([icon("copy"), icon("check")], button);
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  const code = document.createElement("code");
  code.textContent = text;
  button.addEventListener("click", () => copy(code.textContent, button));
  head.append(name, button);
  pre.append(code);
  figure.append(head, pre);
  figure.language = language;
  figure.grow = (longer) => {
    code.textContent = longer;
  };
  let finished = false;
  figure.finish = () => {
    if (finished) return;
    finished = true;
    if (language !== "" && code.textContent.length <= LONGEST_COLOURED) colour(code, language).catch(() => {});
  };
  return figure;
}
