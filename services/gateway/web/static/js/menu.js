// A menu of actions beside the button that opens it.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";
import { changed, state } from "./state.js";

const GAP = 4;
const MARGIN = 8;

/** Opens a menu; `items` are { label, act, danger? }. */
export function openMenu(button, label, items) {
  state.menu = { button, label, items };
  changed();
}

function closeMenu({ focus = true } = {}) {
  const button = state.menu?.button;
  state.menu = null;
  changed();
  if (focus) button?.focus();
}

function open(menu) {
  // It is part of the page only after it was drawn.
  queueMicrotask(() => place(menu));
}

function place(menu) {
  if (!menu?.isConnected || menu.matches(":popover-open")) return;
  const { button } = state.menu;
  menu.showPopover();
  const around = button.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  const below = around.bottom + GAP + height <= innerHeight - MARGIN;
  menu.style.top = `${below ? around.bottom + GAP : Math.max(MARGIN, around.top - GAP - height)}px`;
  menu.style.left = `${Math.max(MARGIN, Math.min(around.right - width, innerWidth - width - MARGIN))}px`;
  menu.querySelector("[role=menuitem]").focus();
}

function onKey(event) {
  const items = [...event.currentTarget.querySelectorAll("[role=menuitem]")];
  const at = items.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    items.at(to % items.length).focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    event.stopPropagation();
    closeMenu();
  }
}

export function menuView() {
  if (!state.menu) return nothing;
  const { label, items } = state.menu;
  return html`<div
    class="menu"
    role="menu"
    popover="auto"
    aria-label=${label}
    ${ref(open)}
    @keydown=${onKey}
    @toggle=${(event) => event.newState === "closed" && state.menu && closeMenu({ focus: false })}
  >
    ${items.map(
      (item) => html`<button
        type="button"
        role="menuitem"
        tabindex="-1"
        class=${item.danger ? "danger" : ""}
        @click=${() => {
          closeMenu();
          item.act();
        }}
      >
        ${item.label}
      </button>`,
    )}
  </div>`;
}
