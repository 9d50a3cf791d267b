// The faults: a switch each, rules written out, and what is in force. Every change is one PUT, at once.
import { $, ask, count, h, say } from "./dom.js";

const GROUPS = [
  ["Refusals", ["busy", "throttle", "error500", "near-capacity", "queue-full", "shutting-down", "status", "html503"]],
  ["Replies that mislead or break off", ["empty200", "html200", "reset-before", "reset-after", "cut-status", "cut-headers", "cut-body", "drip", "hang"]],
  ["Acknowledgements and loss", ["acks-down", "ack-never", "ack-error", "ack-lost", "lose-after-200", "restart"]],
];
const FIRST = { status: "502", "ack-error": "503" };
const CHANCES = [["", "always"], ["0.5", "50 %"], ["0.25", "25 %"], ["0.1", "10 %"], ["0.05", "5 %"], ["0.01", "1 %"]];
const rows = new Map();
let shown = "";
const nameOf = (rule) => rule.split(/[:,]/, 1)[0];

export function begin(hello) {
  const place = $("faults");
  rows.clear();
  const known = new Map(hello.faults.map((fault) => [fault.name, fault]));
  const grouped = new Set(GROUPS.flatMap(([, names]) => names));
  const rest = [...known.keys()].filter((name) => !grouped.has(name));
  const input = h("input", { id: "rule", type: "text", placeholder: "busy:3,on=event,p=0.1,count=5,for_s=30", autocomplete: "off", spellcheck: "false" });
  const add = async (event) => {
    event.preventDefault();
    if (input.value.trim() && (await change((rules) => [...rules, input.value.trim()]))) input.value = "";
  };
  place.replaceChildren(
    h("div", { class: "tools" },
      h("form", { class: "inline", onsubmit: add }, h("label", { for: "rule" }, "Add a rule"), input, h("button", { type: "submit" }, "Add")),
      h("p", { id: "fault-error", class: "error", role: "alert" })),
    h("div", { id: "force", class: "force", role: "group", "aria-label": "Rules in force" }),
    h("div", { class: "groups" }, ...[...GROUPS, ["Others", rest]].filter(([, names]) => names.length).map(([title, names]) =>
      h("section", {}, h("h2", {}, title), ...names.filter((name) => known.has(name)).map((name) => line(known.get(name)))))));
  shown = "";
}

function line(fault) {
  const id = `fault-${fault.name}`;
  const word = /^\[([a-z]+)\]$/.exec(fault.argument)?.[1];
  let argument = null;
  const label = `${fault.argument.replace(/[[\]]/g, "")} of ${fault.name}`;
  if (word) argument = h("select", { "aria-label": label }, h("option", { value: "" }, "plain"), h("option", { value: word }, word));
  else if (fault.argument) argument = h("input", { type: "text", size: 8, "aria-label": label, placeholder: fault.argument.replace(/[[\]]/g, "").split("/")[0].toLowerCase(), autocomplete: "off", value: FIRST[fault.name] ?? "" });
  const chance = h("select", { "aria-label": `Chance of ${fault.name}` }, ...CHANCES.map(([value, text]) => h("option", { value }, text)));
  const fired = h("span", { class: "fired" });
  const toggle = h("button", { type: "button", role: "switch", "aria-checked": "false", "aria-labelledby": id, class: "switch" });
  const rule = () => `${fault.name}${argument?.value ? `:${argument.value}` : ""}${chance.value ? `,p=${chance.value}` : ""}`;
  const others = (rules) => rules.filter((text) => nameOf(text) !== fault.name);
  const adopt = (text) => { // the controls show the rule in force, where they can
    const found = /^[^:,]+(?::([^,]*))?(?:.*,p=([^,]+))?/.exec(text);
    if (argument && document.activeElement !== argument) argument.value = found[1] ?? "";
    if (document.activeElement !== chance) chance.value = CHANCES.some(([value]) => value === found[2]) ? found[2] : "";
  };
  const isOn = () => toggle.getAttribute("aria-checked") === "true";
  toggle.addEventListener("click", () => change((rules) => (isOn() ? others(rules) : [...others(rules), rule()])));
  for (const control of [argument, chance]) control?.addEventListener("change", () => { if (isOn()) change((rules) => [...others(rules), rule()]); });
  rows.set(fault.name, { toggle, fired, adopt });
  return h("div", { class: "fault" }, toggle,
    h("div", { class: "what" }, h("span", { class: "name", id }, fault.name), fired, h("p", { class: "dim" }, fault.text)),
    h("div", { class: "how" }, argument, chance));
}

async function change(make) {
  $("fault-error").textContent = "";
  try {
    const now = (await (await ask("/emulator/faults")).json()).map(({ rule }) => rule);
    const reply = await ask("/emulator/faults", { method: "PUT", body: JSON.stringify(make(now)) });
    update({ rules: await reply.json() });
    say("Fault rules changed.");
    return true;
  } catch (error) {
    $("fault-error").textContent = error.message;
    return false;
  }
}

export function update({ rules }) {
  if (JSON.stringify(rules) === shown) return;
  const before = shown;
  shown = JSON.stringify(rules);
  const names = new Set(rules.map(({ rule }) => nameOf(rule)));
  for (const [name, { toggle, fired, adopt }] of rows) {
    const own = rules.filter(({ rule }) => nameOf(rule) === name);
    const total = own.reduce((sum, rule) => sum + rule.fired, 0);
    if (own.length) adopt(own[0].rule);
    toggle.setAttribute("aria-checked", String(names.has(name)));
    fired.textContent = names.has(name) ? `struck ${count(total)}` : "";
  }
  $("faults-badge").hidden = rules.length === 0;
  $("faults-badge").textContent = rules.length;
  const texts = (of) => JSON.stringify(of.map(({ rule }) => rule));
  if (before && texts(JSON.parse(before)) === texts(rules)) {
    $("force").querySelectorAll(".fired").forEach((place, at) => { place.textContent = count(rules[at].fired); });
    return;
  }
  $("force").replaceChildren(...(rules.length ? rules.map(chip) : [h("p", { class: "dim" }, "No fault is in force: every request is served.")]));
}

function chip({ rule, fired }, at) {
  const remove = () => change((rules) => rules.filter((text, place) => !(place === at && text === rule)));
  return h("span", { class: "chip" }, h("code", {}, rule), h("span", { class: "fired", title: "times it has struck" }, count(fired)),
    h("button", { type: "button", "aria-label": `Remove ${rule}`, onclick: remove }, "×"));
}
