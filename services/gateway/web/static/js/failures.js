// What the reader is told of a call that failed, and whether trying again by itself makes sense.

import { state } from "./state.js";
import { t } from "./texts.js";

const PASSING = new Set([
  "CONVERSATION_BUSY",
  "ENGINE_LOST",
  "INFERENCE_UNAVAILABLE",
  "MEMORY_UNAVAILABLE",
  "MODEL_LOADING",
  "OVERLOADED",
  "SHUTTING_DOWN",
  "UNAVAILABLE",
]);

const LEAST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 8000;

/** Returns the sentence for a failure. */
export function explain(failure) {
  const text = t("failures")[failure.reason];
  if (typeof text === "function") return text(failure.metadata);
  return text ?? t("otherFailure", failure.message);
}

/** Says whether a failure goes away without anybody doing something. */
export const isPassing = (failure) => PASSING.has(failure.reason);

/** Returns how long to wait before the next attempt, in milliseconds. */
export function waitFor(failure, attempt) {
  const asked = (failure.retryAfter ?? 0) * 1000;
  const growing = LEAST_WAIT_MS * 2 ** Math.min(attempt, 3);
  return Math.min(Math.max(asked, growing), Math.max(asked, LONGEST_WAIT_MS));
}

/** Resolves after a while; rejects where the signal is given first. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Keeps in mind whether the server answers. */
export function heard(failure) {
  state.online = failure?.reason !== "CONNECTION_LOST";
}
