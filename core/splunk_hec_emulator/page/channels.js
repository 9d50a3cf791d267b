// The channels used last, with their open acknowledgements.
import { $, age, count, h } from "./dom.js";

let drawn = "";

export function update({ channels, stats }) {
  $("channels-badge").hidden = stats.channels === 0;
  $("channels-badge").textContent = count(stats.channels);
  const place = $("channels");
  const key = JSON.stringify(channels);
  if (place.hidden || key === drawn) return;
  drawn = key;
  if (!channels.length) {
    place.replaceChildren(h("div", { class: "empty" }, h("p", {}, "No channel is open."), h("p", { class: "dim" }, "A channel opens with the first post of a token with acknowledgements.")));
    return;
  }
  const head = ["Channel", "Node", "Pending", "Oldest pending", "Next id", "Idle"];
  const rows = channels.map((channel) => h("tr", {},
    h("th", { scope: "row", class: "mono" }, channel.channel), h("td", { class: "num" }, String(channel.node)),
    h("td", { class: "num" }, count(channel.pending)), h("td", { class: "num" }, age(channel.oldest_s)),
    h("td", { class: "num" }, count(channel.next_id)), h("td", { class: "num" }, age(channel.idle_s))));
  const more = stats.channels > channels.length ? h("p", { class: "hint" }, `The ${channels.length} used last, of ${count(stats.channels)}.`) : null;
  place.replaceChildren(h("div", { class: "scroll", role: "region", "aria-label": "Channels", tabindex: "0" },
    h("table", { class: "rows still" }, h("thead", {}, h("tr", {}, ...head.map((text, at) => h("th", { scope: "col", class: at ? "num" : "" }, text)))), h("tbody", {}, ...rows))), ...(more ? [more] : []));
}

export function redraw() { drawn = ""; }
