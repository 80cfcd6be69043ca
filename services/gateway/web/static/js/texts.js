// The page's words, in the reader's language.

import { state } from "./state.js";
import { en } from "./texts/en.js";
import { ru } from "./texts/ru.js";

const LANGUAGES = { en, ru };

export const LANGUAGE_NAMES = { en: "English", ru: "Русский" };

/** Returns the language that the page speaks. */
export function language() {
  const wanted = [state.settings.language, ...navigator.languages];
  return wanted.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in LANGUAGES) ?? "en";
}

/** Returns a text by its name; those that depend on something are functions of it. */
export function t(name, ...given) {
  const text = LANGUAGES[language()][name];
  return typeof text === "function" ? text(...given) : text;
}

/** Returns the page's language as the reader's country writes it: British times are not American ones. */
const locale = () => navigator.languages.find((tag) => tag.slice(0, 2).toLowerCase() === language()) ?? language();

const cached = (make) => {
  const made = new Map();
  return () => {
    const tag = locale();
    if (!made.has(tag)) made.set(tag, make(tag));
    return made.get(tag);
  };
};

const time = cached((tag) => new Intl.DateTimeFormat(tag, { timeStyle: "short" }));
const date = cached((tag) => new Intl.DateTimeFormat(tag, { day: "numeric", month: "short", year: "numeric" }));
const exact = cached((tag) => new Intl.DateTimeFormat(tag, { dateStyle: "long", timeStyle: "short" }));
const month = cached((tag) => new Intl.DateTimeFormat(tag, { month: "long", year: "numeric" }));
const whole = cached((tag) => new Intl.NumberFormat(tag));
const tenths = cached((tag) => new Intl.NumberFormat(tag, { maximumFractionDigits: 1 }));

export const number = (value) => whole().format(value);
export const decimal = (value) => (value >= 100 ? whole().format(Math.round(value)) : tenths().format(value));
export const exactTime = (stamp) => exact().format(new Date(stamp));

const DAY = 86_400_000;
const midnight = (when) => new Date(when).setHours(0, 0, 0, 0);
const daysAgo = (stamp) => Math.round((midnight(Date.now()) - midnight(stamp)) / DAY);

/** Returns when something was said, as short as it is clear. */
export function when(stamp) {
  const days = daysAgo(stamp);
  if (days === 0) return time().format(new Date(stamp));
  return days === 1 ? t("yesterday") : date().format(new Date(stamp));
}

/** Returns the heading under which a conversation is listed. */
export function period(stamp) {
  const days = daysAgo(stamp);
  if (days <= 0) return t("today");
  if (days === 1) return t("yesterday");
  if (days < 7) return t("lastDays");
  const text = month().format(new Date(stamp));
  return text[0].toUpperCase() + text.slice(1);
}
