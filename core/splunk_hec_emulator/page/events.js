// The table of indexed events: pages of rows from the server, newest first; the whole event when it is opened.
import { $, ask, bytes, clock, copy, count, h, stamp } from "./dom.js";
import { parts, plain, show } from "./json.js";

const PAGE = 50;
const state = { text: "", starts: [null], older: null, rows: [], total: 0, keepsEvents: true };
let running = null; // the AbortController of the answer that is being waited for

const isFirst = () => state.starts.length === 1 && state.starts[0] === null;
const isOpen = () => $("rows").querySelector(".detail") !== null;

export function begin(hello) {
  state.keepsEvents = hello.keeps_events;
  state.starts = [null];
  load();
}

// New events are shown at once on the first page; they wait where somebody reads, pages or searches.
export function update(sample) {
  const total = state.keepsEvents ? sample.stats.events_indexed : 0;
  if (total === state.total) return;
  if (total < state.total) { state.starts = [null]; load(); return; }
  if (isFirst() && !state.text && !isOpen()) {
    if (running === null) load();
    return;
  }
  const fresh = total - state.total;
  $("fresh").hidden = fresh <= 0;
  $("fresh").textContent = `${count(fresh)} new`;
}

async function load({ keepsFocus = false } = {}) {
  running?.abort();
  const controller = new AbortController();
  running = controller;
  $("fresh").hidden = true;
  let rows = [];
  let before = state.starts.at(-1);
  try {
    for (;;) {
      const query = new URLSearchParams({ limit: PAGE - rows.length });
      if (before !== null) query.set("before", before);
      if (state.text) query.set("q", state.text);
      const found = await (await ask(`/emulator/rows?${query}`, { signal: controller.signal })).json();
      rows = rows.concat(found.rows);
      before = found.older;
      state.total = found.total;
      const isDone = before === null || rows.length >= PAGE;
      if (isDone || found.rows.length) { state.rows = rows; state.older = before; paint(isDone ? null : before); }
      else range(`Searching… ${count(before)} events left`);
      if (isDone) break;
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    range(`The events cannot be read: ${error.message}`);
  }
  if (running === controller) running = null;
  if (keepsFocus) $("rows").querySelector("button")?.focus();
}

const range = (text) => { $("range").textContent = text; };

function paint(left) {
  const { rows } = state;
  const focused = document.activeElement?.closest?.("#rows tr")?.dataset.seq;
  $("rows").replaceChildren(...rows.map(row));
  if (focused) $("rows").querySelector(`tr[data-seq="${focused}"] button`)?.focus({ preventScroll: true });
  able("newest", !isFirst(), "older");
  able("newer", state.starts.length > 1, "older");
  able("older", state.older !== null, "newest");
  $("range").setAttribute("aria-live", state.text ? "polite" : "off"); // what follows the stream is not read out
  if (left !== null) range(`${count(rows.length)} found, searching… ${count(left)} events left`);
  else if (!rows.length) range(state.text ? "Nothing found" : "");
  else if (state.text) range(`${count(rows.length)} match${rows.length === 1 ? "" : "es"}${state.older === null ? "" : ", there may be more"}`);
  else range(`#${count(rows[0].seq)} to #${count(rows.at(-1).seq)} of ${count(state.total)}`);
  $("none").hidden = rows.length > 0;
  if (!rows.length) $("none").replaceChildren(...nothing());
}

// A button that is switched off hands the focus on, so that a keyboard does not lose its place.
function able(name, isAble, next) {
  if (!isAble && document.activeElement === $(name)) { $(next).disabled = false; $(next).focus(); }
  $(name).disabled = !isAble;
}

function nothing() {
  if (!state.keepsEvents) return [h("p", {}, "Events are only counted here (--count-only).")];
  if (state.text) return [h("p", {}, "No event contains this text."), h("p", { class: "dim" }, "Capital and small letters differ.")];
  return [h("p", {}, "Nothing is indexed yet."), h("p", { class: "dim" }, "Events appear here once they are durable. “Tokens and curl” has lines to send one.")];
}

function row(event) {
  const opener = h("button", { type: "button", class: "opener", "aria-expanded": "false", "aria-label": `Event ${event.seq}` }, count(event.seq));
  const made = h("tr", { "data-seq": event.seq },
    h("td", {}, opener), h("td", { class: "mono" }, clock(event.received)),
    h("td", { class: "fill mono" }, h("div", { class: "preview" }, event.event)),
    h("td", {}, short(event.index)), h("td", {}, short(event.sourcetype)), h("td", {}, short(event.host)),
    h("td", { class: "num" }, String(event.node)), h("td", { class: "num" }, event.ack_id === null ? "–" : count(event.ack_id)));
  made.addEventListener("click", () => { if (!getSelection().toString()) toggle(made, opener, event); });
  return made;
}

const short = (text) => h("div", { class: "short", title: text }, text);

async function toggle(made, opener, event) {
  if (opener.getAttribute("aria-expanded") === "true") return close(made, opener);
  opener.setAttribute("aria-expanded", "true");
  const cell = h("td", { colspan: 8 }, h("p", { class: "dim" }, "Reading…"));
  made.after(h("tr", { class: "detail" }, cell));
  try {
    const line = (await (await ask(`/emulator/events?offset=${event.seq}&limit=1`)).text()).trim();
    const found = parts(line);
    if (found.get("seq") !== String(event.seq)) throw new Error("it is gone since a reset");
    cell.replaceChildren(detail(event, found));
  } catch (error) {
    cell.replaceChildren(h("p", { class: "error" }, `The event cannot be shown: ${error.message}`));
  }
}

function close(made, opener) {
  opener.setAttribute("aria-expanded", "false");
  if (made.nextElementSibling?.classList.contains("detail")) made.nextElementSibling.remove();
}

function detail(event, found) {
  const text = found.get("event");
  const pretty = h("pre", { class: "json", tabindex: "0", role: "region", "aria-label": `Event ${event.seq}, laid out` });
  show(text, pretty);
  const facts = [
    ["Index", plain(found.get("index"))], ["Host", plain(found.get("host"))], ["Source", plain(found.get("source"))],
    ["Sourcetype", plain(found.get("sourcetype"))], ["Time", `${stamp(event.time)}`], ["Arrived", stamp(event.received)],
    ["Durable", `${stamp(event.durable)} (+${Math.max(event.durable - event.received, 0).toFixed(3)} s)`],
    ["Node", String(event.node)], ["Channel", event.channel ?? "–"], ["Ack id", event.ack_id === null ? "–" : count(event.ack_id)],
    ["Request", count(event.request)], ["Size", bytes(event.event_bytes)],
  ];
  const side = h("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  const fields = found.get("fields");
  const main = h("div", { class: "whole" },
    h("div", { class: "actions" }, h("span", { class: "dim" }, "Event"),
      h("button", { type: "button", class: "quiet", onclick: () => copy(plain(text), "the event") }, "Copy")),
    pretty);
  if (fields && fields !== "{}") {
    const shown = h("pre", { class: "json", tabindex: "0", role: "region", "aria-label": `Fields of event ${event.seq}` });
    show(fields, shown);
    main.append(h("div", { class: "actions" }, h("span", { class: "dim" }, "Indexed fields")), shown);
  }
  return h("div", { class: "split" }, main, side);
}

export function open() {
  let typing = 0;
  const search = () => { clearTimeout(typing); state.text = $("search").value; state.starts = [null]; load(); };
  $("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 200); });
  $("search-form").addEventListener("submit", (event) => { event.preventDefault(); if (document.activeElement === $("goto")) jump(); else search(); });
  $("fresh").addEventListener("click", () => { state.starts = [null]; load({ keepsFocus: true }); });
  $("newest").addEventListener("click", () => { state.starts = [null]; load(); });
  $("newer").addEventListener("click", () => { state.starts.pop(); load(); });
  $("older").addEventListener("click", () => { state.starts.push(state.older); load(); });
  $("goto").addEventListener("change", jump);
  $("rows").addEventListener("keydown", move);
}

function jump() {
  const wanted = $("goto").value.replace(/\D/g, "");
  $("goto").value = "";
  if (wanted === "") return;
  state.starts = [null, Math.min(Number(wanted), Math.max(state.total - 1, 0)) + 1];
  load();
}

function move(event) {
  const opener = event.target.closest(".opener");
  if (event.key === "Escape") {
    const made = event.target.closest(".detail")?.previousElementSibling ?? event.target.closest("tr");
    close(made, made.querySelector(".opener"));
    made.querySelector(".opener").focus();
  }
  if (!opener || !["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return;
  event.preventDefault();
  const all = [...$("rows").querySelectorAll(".opener")];
  const at = all.indexOf(opener);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
  all[Math.min(Math.max(next, 0), all.length - 1)].focus();
}
