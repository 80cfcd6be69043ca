// <chat-markdown>: a reply as it comes. Markdown is parsed by marked; what it makes of it goes through DOMPurify before
// it is part of the page, so that a reply is text however it is written.
//
// While the reply grows it is drawn once a frame, and only from the block on that is still open: blocks before it
// cannot change any more.

import DOMPurify from "../vendor/dompurify/purify.es.mjs";
import { Marked } from "../vendor/marked/marked.esm.js";
import { announce } from "./announce.js";
import { codeBlock, languageOf } from "./code.js";

const HEADINGS_BELOW = 2; // The page's own headings come first.

const escaped = (text) =>
  text.replace(/[&<>"']/g, (letter) => `&#${letter.codePointAt(0)};`);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escaped(text),
    // A picture would be asked of another server: its address is shown instead.
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    heading({ tokens, depth }) {
      const level = Math.min(depth + HEADINGS_BELOW, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const ALLOWED = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "href", "start", "title"],
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["align", "start", "title"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer");
});

function drawnBlock(token) {
  if (token.type === "code") return codeBlock(token.text, token.lang ?? "");
  const block = document.createElement("div");
  block.className = "block";
  block.append(DOMPurify.sanitize(marked.parser([token]), ALLOWED));
  for (const table of block.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "wide";
    frame.tabIndex = 0;
    table.replaceWith(frame);
    frame.append(table);
  }
  // A code block inside a list has its own button, too.
  for (const pre of block.querySelectorAll("pre")) pre.replaceWith(codeBlock(pre.textContent, ""));
  return block;
}

const spoken = (block) => (block.querySelector("pre") ?? block).textContent;

const isShown = (token) => token.type !== "space" && token.type !== "def";

/** Returns the words of a reply, without its markup. */
export const wordsOf = (text) => DOMPurify.sanitize(marked.parse(text), ALLOWED).textContent.trim();

/** Has a reply, or what is left of it, read out. */
export const announceMarkdown = (text) => announce(wordsOf(text));

/** Says by `settled` how much of the source is in blocks that cannot change any more, and so was read out. */
class ChatMarkdown extends HTMLElement {
  #text = "";
  #live = false;
  #scheduled = false;
  /** How much of the text is in blocks that cannot change any more, and how many those are. */
  #settled = 0;
  #settledBlocks = 0;
  /** The source of each block after those. */
  #open = [];

  get text() {
    return this.#text;
  }

  set text(text) {
    const clean = (text ?? "").replaceAll("\r\n", "\n");
    if (clean === this.#text) return;
    if (!clean.startsWith(this.#text.slice(0, this.#settled))) this.#forget();
    this.#text = clean;
    this.#schedule();
  }

  /** Whether more is to come. */
  set live(live) {
    if (live === this.#live) return;
    this.#live = live;
    if (!live) this.#schedule();
  }

  #forget() {
    this.#settled = 0;
    this.#settledBlocks = 0;
    this.#open = [];
    this.replaceChildren();
  }

  #schedule() {
    if (!this.#live) {
      // What is whole is drawn at once, so that it has its height when the page is scrolled to it.
      this.#draw();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      requestAnimationFrame(() => {
        this.#scheduled = false;
        if (this.#live) this.#draw();
      });
    }
  }

  #draw() {
    const source = this.#text.slice(this.#settled);
    const tokens = marked.lexer(source);
    if (!this.#live && Object.keys(tokens.links).length > 0 && this.#settled > 0) {
      // A link's address came after the link: all is drawn again, knowing it.
      this.#forget();
      this.#draw();
      return;
    }
    const shown = tokens.filter(isShown);
    let same = 0;
    while (same < shown.length && this.#open[same] === shown[same].raw) same += 1;
    const next = shown[same];
    const grown = this.children[this.#settledBlocks + same];
    if (next?.type === "code" && grown?.grow && grown.language === languageOf(next.lang ?? "")) {
      grown.grow(next.text);
      same += 1;
    }
    while (this.children.length > this.#settledBlocks + same) this.lastElementChild.remove();
    for (const token of shown.slice(same)) this.append(drawnBlock(token));
    this.#open = shown.map((token) => token.raw);
    if (this.#live) this.#settle(tokens, shown, source);
    else this.#finish();
  }

  #settle(tokens, shown, source) {
    const last = tokens.indexOf(shown.at(-1));
    if (last <= 0) return;
    const settled = tokens.slice(0, last);
    const raw = settled.map((token) => token.raw).join("");
    if (!source.startsWith(raw)) return;
    const blocks = settled.filter(isShown).length;
    for (let number = 0; number < blocks; number += 1) {
      const block = this.children[this.#settledBlocks + number];
      block.finish?.();
      announce(spoken(block));
    }
    this.#settled += raw.length;
    this.#settledBlocks += blocks;
    this.dispatchEvent(new CustomEvent("settled", { detail: this.#settled }));
    this.#open = this.#open.slice(blocks);
  }

  #finish() {
    for (const block of this.children) block.finish?.();
  }
}

customElements.define("chat-markdown", ChatMarkdown);
