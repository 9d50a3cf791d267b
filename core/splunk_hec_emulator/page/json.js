// JSON as text: taken apart and laid out without being parsed, so that every digit, key and escape is shown as
// it was sent (JSON.parse would round long numbers and drop repeated keys).
import { h } from "./dom.js";

const MOST_CHARS = 200_000;
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|[-+\w.]+|[{}[\],:]/gs;

function afterString(text, at) {
  for (;;) {
    at = text.indexOf('"', at + 1);
    if (at < 0) return text.length;
    let back = at;
    while (text[back - 1] === "\\") back -= 1;
    if ((at - back) % 2 === 0) return at + 1;
  }
}

function afterValue(text, at) {
  let depth = 0;
  while (at < text.length) {
    const char = text[at];
    if (char === '"') at = afterString(text, at);
    else if (char === "{" || char === "[") { depth += 1; at += 1; }
    else if ((char === "}" || char === "]") && depth > 0) { depth -= 1; at += 1; }
    else if (depth === 0 && ",}]".includes(char)) return at;
    else at += 1;
    if (depth === 0 && '"}]'.includes(text[at - 1])) return at;
  }
  return at;
}

// The values of a JSON object by key, each as its text.
export function parts(text) {
  const found = new Map();
  let at = text.indexOf("{") + 1;
  while (at > 0 && text[at] === '"') {
    const end = afterString(text, at);
    const key = JSON.parse(text.slice(at, end));
    const from = text.indexOf(":", end) + 1;
    at = afterValue(text, from);
    found.set(key, text.slice(from, at).trim());
    at += text[at] === "," ? 1 : 0;
  }
  return found;
}

// A value's text: a string's content, anything else as it stands.
export function plain(text) {
  if (text?.[0] !== '"') return text ?? "";
  try { return JSON.parse(text); } catch { return text; }
}

// Append a value to an element, laid out and coloured; long ones as they stand, and cut.
export function show(text, into) {
  if (text[0] === '"') return into.append(cut(plain(text)));
  if (text.length > MOST_CHARS) return into.append(cut(text));
  const tokens = text.match(TOKENS) ?? [];
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  tokens.forEach((token, at) => {
    const next = tokens[at + 1];
    if ("}]".includes(token)) {
      depth -= 1;
      into.append(("{[".includes(tokens[at - 1]) ? "" : line()) + token);
    } else if ("{[".includes(token)) {
      depth += 1;
      into.append(token + ("}]".includes(next) ? "" : line()));
    } else if (token === ",") into.append(token + line());
    else if (token === ":") into.append(": ");
    else into.append(h("span", { class: token[0] === '"' ? (next === ":" ? "j-key" : "j-text") : "j-word" }, token));
  });
}

function cut(text) {
  return text.length <= MOST_CHARS ? text : `${text.slice(0, MOST_CHARS)}\n… cut: ${text.length} characters in all`;
}
