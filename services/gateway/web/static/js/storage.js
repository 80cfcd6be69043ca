// What the page keeps in the browser. Settings stay; drafts, the key and what was recalled go with the tab, since they
// are somebody's words.

const PREFIX = "chatbot.";

function area(kind) {
  try {
    return window[kind];
  } catch {
    return null; // Storage is switched off: the page works without.
  }
}

function shelf(kind) {
  const store = area(kind);
  return {
    get(name, otherwise) {
      try {
        const text = store?.getItem(PREFIX + name);
        return text == null ? otherwise : JSON.parse(text);
      } catch {
        return otherwise;
      }
    },
    set(name, value) {
      try {
        if (value == null) store?.removeItem(PREFIX + name);
        else store?.setItem(PREFIX + name, JSON.stringify(value));
      } catch {
        // Full: what does not fit is not kept.
      }
    },
    forget(start) {
      for (const key of Object.keys(store ?? {})) {
        if (key.startsWith(PREFIX + start)) store.removeItem(key);
      }
    },
  };
}

export const lasting = shelf("localStorage");
export const passing = shelf("sessionStorage");
