// ChatService as JSON over HTTP: one function for calls with one answer, one for calls that stream.

import { passing } from "./storage.js";

const PATH = "/api/v1/ChatService/";
const KEY = "key";

export class CallError extends Error {
  constructor({ message = "", reason, code, metadata = {}, retryAfter = null } = {}) {
    super(message);
    // What stands before the calls answers in OpenAI's form, where it is a code.
    this.reason = reason ?? code?.toUpperCase() ?? "INTERNAL";
    this.metadata = metadata;
    this.retryAfter = retryAfter;
  }
}

const lost = () => new CallError({ reason: "CONNECTION_LOST" });

let askForKey = () => Promise.reject(new CallError({ reason: "UNAUTHENTICATED" }));
let asking = null;

/** Sets what asks the reader for a key: given whether one was refused, it returns a promise of another. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export const hasKey = () => passing.get(KEY, null) !== null;

export const forgetKey = () => passing.set(KEY, null);

async function newKey(refused) {
  // However many calls were refused, the reader is asked once.
  asking ??= askForKey(refused !== null).finally(() => {
    asking = null;
  });
  passing.set(KEY, await asking);
}

async function post(method, body, signal) {
  for (;;) {
    const key = passing.get(KEY, null);
    const headers = { "Content-Type": "application/json" };
    if (key !== null) headers.Authorization = `Bearer ${key}`;
    let response;
    try {
      response = await fetch(PATH + method, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
        signal,
        cache: "no-store",
        credentials: "omit",
      });
    } catch (failure) {
      if (failure.name === "AbortError") throw failure;
      throw lost();
    }
    if (response.ok) return response;
    if (response.status === 401) {
      // Another call may have brought a key meanwhile.
      if (passing.get(KEY, null) === key) await newKey(key);
      continue;
    }
    throw new CallError((await response.json().catch(() => ({}))).error);
  }
}

/** Calls a method that answers once. */
export async function call(method, body = {}, signal) {
  const response = await post(method, body, signal);
  try {
    return await response.json();
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw lost();
  }
}

/** Calls a method that streams; yields its messages. Ends early where the connection does. */
export async function* stream(method, body, signal) {
  const response = await post(method, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let ended = false;
  try {
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch (failure) {
        if (failure.name === "AbortError") throw failure;
        throw lost();
      }
      ended = part.done;
      if (ended) return;
      const lines = (rest + part.value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const message = JSON.parse(line);
        if (message.error) throw new CallError(message.error);
        yield message;
      }
    }
  } finally {
    if (!ended) reader.cancel().catch(() => {});
  }
}
