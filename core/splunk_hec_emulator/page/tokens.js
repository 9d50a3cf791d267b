// The tokens and the curl lines for them. A value comes from the server only when somebody asks for it.
import { $, ask, copy, h, say } from "./dom.js";

const HIDDEN = "••••••••";
let drawn = "";
const channel = guid();

function guid() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

const reveal = async (number) => (await (await ask(`/emulator/tokens/reveal?number=${number}`, { method: "POST" })).json()).value;
const quoted = (text) => `'${text.replace(/'/g, "'\\''")}'`;

function lines(token) {
  const base = `${location.origin}/services/collector`;
  const curl = (path, body) => (value) =>
    [`curl ${quoted(base + path)}`, `-H ${quoted(`Authorization: Splunk ${value}`)}`,
      ...(token.ack ? [`-H ${quoted(`X-Splunk-Request-Channel: ${channel}`)}`] : []), `-d ${quoted(body)}`].join(" \\\n  ");
  const index = token.indexes[0] ? `,"index":${JSON.stringify(token.indexes[0])}` : "";
  const made = [
    ["Send an event", curl("/event", `{"event":"hello","sourcetype":"manual"${index}}`)],
    ["Send raw text", curl("/raw", "hello, raw")],
  ];
  if (token.ack) made.push(["Ask for its acknowledgement", curl("/ack", '{"acks":[0]}')]);
  return made;
}

export function update({ tokens }) {
  const key = JSON.stringify(tokens);
  if (key === drawn) return;
  drawn = key;
  $("tokens").replaceChildren(tokens.length ? h("div", { class: "cards-2" }, ...tokens.map(card)) : h("p", { class: "empty" }, "No token is configured."));
}

function card(token, number) {
  const codes = [];
  const value = h("code", { class: "value", "data-token": number }, HIDDEN);
  let known = null;
  const paint = () => {
    value.textContent = known ?? HIDDEN;
    toggle.textContent = known === null ? "Show" : "Hide";
    toggle.setAttribute("aria-pressed", String(known !== null));
    for (const [code, make] of codes) code.textContent = make(known ?? HIDDEN);
  };
  const guarded = (work) => async () => {
    try { await work(); } catch (error) { say(`The token cannot be read: ${error.message}`); }
  };
  const toggle = h("button", { type: "button", class: "quiet", "aria-label": `Show or hide the value of ${token.name}`,
    onclick: guarded(async () => { known = known === null ? await reveal(number) : null; paint(); }) });
  const copyValue = guarded(async () => copy(known ?? (await reveal(number)), "the token"));
  const blocks = lines(token).map(([title, make]) => {
    const code = h("code", {});
    codes.push([code, make]);
    return h("div", { class: "curl" }, h("div", { class: "actions" }, h("span", {}, title),
      h("button", { type: "button", class: "quiet", "aria-label": `Copy: ${title}, ${token.name}`, onclick: guarded(async () => copy(make(known ?? (await reveal(number))), "the line")) }, "Copy")),
    h("pre", { tabindex: "0", role: "region", "aria-label": `${title}, ${token.name}` }, code));
  });
  const facts = [token.ack ? "acknowledgements" : "no acknowledgements", token.indexes.length ? `index ${token.indexes.join(", ")}` : "every index"];
  if (token.query) facts.push("query string allowed");
  if (token.is_disabled) facts.push("disabled");
  const made = h("article", { class: "token", "aria-label": `Token ${token.name}` },
    h("h2", {}, token.name), h("p", { class: "chips" }, ...facts.map((fact) => h("span", { class: "chip" }, fact))),
    h("p", { class: "secret" }, value, toggle, h("button", { type: "button", class: "quiet", "aria-label": `Copy the value of ${token.name}`, onclick: copyValue }, "Copy")),
    ...blocks);
  paint();
  return made;
}
