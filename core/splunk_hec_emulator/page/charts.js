// The counters, the two charts and the table of replies.
import uPlot from "./uplot/uPlot.esm.js";
import { $, age, brief, count, h, rate } from "./dom.js";

const WINDOW_S = 300;
const CARDS = [
  ["rate", "Events per second"],
  ["events_indexed", "Events indexed"],
  ["events_waiting", "Not yet durable"],
  ["requests", "Requests"],
  ["events_refused", "Events refused"],
  ["acks_pending", "Acks pending"],
];
const cards = new Map();
const data = { times: [], rates: [], pending: [], oldest: [] };
let plots = [];
let last = null;
let codes = {}; // what HEC says with each code

const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function axis(more) {
  return {
    stroke: colour("--muted"), font: "11px system-ui, sans-serif", gap: 4,
    grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, ...more,
  };
}

function series(label, name, more = {}) {
  return { label, stroke: colour(name), width: 2, points: { show: false }, ...more };
}

function plot(id, lines, scales, axes) {
  const place = $(id);
  const options = {
    width: place.clientWidth || 300, height: place.clientHeight || 150, padding: [10, 6, 0, 0],
    legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
    scales: { x: { time: true, range: () => { const end = data.times.at(-1) ?? 0; return [end - WINDOW_S, end]; } }, ...scales },
    axes: [axis({ size: 24, space: 44, incrs: [60, 120, 300], values: "{HH}:{mm}" }), ...axes],
    series: [{}, ...lines],
  };
  const made = new uPlot(options, [[], ...lines.map(() => [])], place);
  new ResizeObserver(() => made.setSize({ width: place.clientWidth, height: place.clientHeight })).observe(place);
  return made;
}

const fromZero = (_plot, _low, high) => [0, Math.max(high ?? 0, 1) * 1.15];
const figures = (_plot, splits) => splits.map((n) => (Number.isInteger(n) ? brief(n) : ""));

export function begin(hello) {
  data.times = []; data.rates = []; data.pending = []; data.oldest = [];
  last = null;
  codes = hello.codes;
  const known = new Map(hello.history);
  const now = Math.floor(hello.now);
  for (let second = now - WINDOW_S; second < now; second += 1) push(second, known.get(second) ?? 0, null, null);
  if (plots.length) return;
  for (const [name, title] of CARDS) {
    const figure = h("dd", {}, "–");
    const note = h("dd", { class: "note" }, "\u00a0");
    cards.set(name, { figure, note });
    $("cards").append(h("dl", { class: "card", "data-card": name }, h("dt", {}, title), figure, note));
  }
  const fill = (name) => colour(name);
  plots = [
    plot("rate-plot", [series("events/s", "--accent", { fill: fill("--accent-fill") })], { y: { range: fromZero } },
      [axis({ size: 46, values: figures })]),
    plot("acks-plot",
      [series("pending", "--accent", { fill: fill("--accent-fill") }), series("oldest, s", "--second", { scale: "s", dash: [4, 3] })],
      { y: { range: fromZero }, s: { range: fromZero } },
      [axis({ size: 42, values: figures }), axis({ scale: "s", side: 1, size: 40, grid: { show: false }, values: (_p, splits) => splits.map((n) => `${brief(n)} s`) })]),
  ];
  $("rate-plot").setAttribute("role", "img");
  $("acks-plot").setAttribute("role", "img");
}

function push(time, perSecond, pending, oldest) {
  data.times.push(time); data.rates.push(perSecond); data.pending.push(pending); data.oldest.push(oldest);
  while (data.times.length > WINDOW_S + 2 || data.times[0] < time - WINDOW_S - 1)
    for (const list of Object.values(data)) list.shift();
}

function key(name, ...entries) {
  document.querySelector(`[data-of="${name}"]`).replaceChildren(
    ...entries.map(([series, text]) => h("span", { "data-series": series }, text)));
}

function card(name, figure, note) {
  cards.get(name).figure.textContent = figure;
  cards.get(name).note.textContent = note || "\u00a0";
}

export function update(sample) {
  const { stats } = sample;
  const isNew = last === null || stats.requests < last.stats.requests || stats.events_indexed < last.stats.events_indexed;
  const passed = isNew ? 0 : sample.at - last.at;
  if (!isNew && passed <= 0) return;
  const per = (name) => (passed > 0 ? (stats[name] - last.stats[name]) / passed : 0);
  const perSecond = per("events_indexed");
  push(sample.at, perSecond, stats.acks_pending, sample.oldest_ack_s ?? 0);
  card("rate", rate(perSecond), `highest ${rate(Math.max(...data.rates))} in 5 min`);
  card("events_indexed", count(stats.events_indexed), `${count(stats.events_accepted)} accepted`);
  card("events_waiting", count(stats.events_waiting), stats.events_lost ? `${count(stats.events_lost)} lost on purpose` : "");
  card("requests", count(stats.requests), `${rate(per("requests"))} per second`);
  card("events_refused", count(stats.events_refused), "");
  card("acks_pending", count(stats.acks_pending), stats.acks_pending ? `oldest ${age(sample.oldest_ack_s)}` : `${count(stats.acks_told)} told`);
  key("rate", ["first", `${rate(perSecond)} /s`]);
  key("acks", ["first", `${count(stats.acks_pending)} pending`], ["second", `oldest ${age(sample.oldest_ack_s)}`]);
  $("rate-plot").setAttribute("aria-label", `Events indexed per second, last five minutes: now ${rate(perSecond)}`);
  $("acks-plot").setAttribute("aria-label", `Acknowledgements: ${stats.acks_pending} pending, oldest ${age(sample.oldest_ack_s)}`);
  draw();
  replies(stats.replies, passed);
  last = sample;
}

export function draw() {
  if (!plots.length) return;
  plots[0].setData([data.times, data.rates]);
  plots[1].setData([data.times, data.pending, data.oldest]);
}

function replies(found, passed) {
  const place = $("replies");
  const entries = Object.entries(found).sort((a, b) => b[1] - a[1]);
  const all = entries.reduce((sum, [, n]) => sum + n, 0);
  if (!entries.length) return place.replaceChildren(h("p", { class: "empty" }, "No requests yet."));
  const rows = entries.map(([name, n]) => {
    const [status, code] = name.split("/");
    const before = last?.stats.replies[name] ?? 0;
    const now = passed > 0 ? Math.max(n - before, 0) / passed : 0;
    const share = h("span");
    share.style.width = `${(100 * n) / all}%`;
    return h("tr", { "data-class": status[0] },
      h("th", { scope: "row" }, h("span", { class: "status" }, status), code === "" ? "no code" : `${code} · ${codes[code] ?? ""}`),
      h("td", { class: "bar-cell", "aria-hidden": "true" }, h("div", { class: "share" }, share)), h("td", { class: "num" }, count(n)), h("td", { class: "num dim" }, now ? `${rate(now)}/s` : ""));
  });
  place.replaceChildren(h("table", {}, h("thead", { class: "heard" }, h("tr", {}, h("th", { scope: "col" }, "Status and code"), h("td", { "aria-hidden": "true" }), h("th", { scope: "col" }, "Replies"), h("th", { scope: "col" }, "Now"))), h("tbody", {}, ...rows)));
}
