// What a screen reader says of a reply as it comes: whole paragraphs, not tokens.

const MOST_KEPT = 8;

/** Has a text read out, after what is being read. */
export function announce(text) {
  const region = document.getElementById("announcements");
  const line = text.trim();
  if (!region || !line) return;
  const said = document.createElement("p");
  said.textContent = line;
  region.append(said);
  while (region.children.length > MOST_KEPT) region.firstChild.remove();
}
