// Line icons, drawn for this page on a grid of 24.

import { html, svg } from "../vendor/lit-html/lit-html.js";

const SHAPES = {
  plus: svg`<path d="M12 5v14M5 12h14" />`,
  search: svg`<circle cx="11" cy="11" r="6.5" /><path d="m16 16 4.5 4.5" />`,
  sliders: svg`<path d="M4 7h9M17 7h3M4 17h3M11 17h9" /><circle cx="15" cy="7" r="2" /><circle cx="9" cy="17" r="2" />`,
  panel: svg`<rect x="3.5" y="4.5" width="17" height="15" rx="2.5" /><path d="M9.5 4.5v15" />`,
  dots: svg`<path d="M6 12h.01M12 12h.01M18 12h.01" stroke-width="2.6" />`,
  send: svg`<path d="M12 19V5M6 11l6-6 6 6" />`,
  stop: svg`<rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" stroke="none" />`,
  copy: svg`<rect x="8.5" y="8.5" width="11" height="11" rx="2.5" /><path d="M15.5 8.5V7A2.5 2.5 0 0 0 13 4.5H7A2.5 2.5 0 0 0 4.5 7v6A2.5 2.5 0 0 0 7 15.5h1.5" />`,
  check: svg`<path d="m5 12.5 4.5 4.5L19 7.5" />`,
  edit: svg`<path d="m5 19 .8-3.6L15.6 5.6a2 2 0 0 1 2.8 2.8l-9.8 9.8L5 19ZM13.5 7.7l2.8 2.8" />`,
  again: svg`<path d="M19 12a7 7 0 1 1-2.1-5L19.5 9.5M19.5 4.5v5h-5" />`,
  close: svg`<path d="m6.5 6.5 11 11M17.5 6.5l-11 11" />`,
  down: svg`<path d="M12 5v14M6 13l6 6 6-6" />`,
  memory: svg`<path d="M5 5.5h14v10H12l-4.5 3.5v-3.5H5Z" /><path d="M9 9.2h6M9 12h4" />`,
};

/** Returns an icon. It says nothing: whatever it stands in has a name. */
export const icon = (name) =>
  html`<svg class="icon icon-${name}" viewBox="0 0 24 24" aria-hidden="true" focusable="false">${SHAPES[name]}</svg>`;
