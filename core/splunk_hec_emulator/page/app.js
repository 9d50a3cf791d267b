// The page: one stream of samples feeds every part; tabs, theme and keys are here.
import * as charts from "./charts.js";
import * as channels from "./channels.js";
import { $, age, ask, h, say } from "./dom.js";
import * as events from "./events.js";
import * as faults from "./faults.js";
import * as tokens from "./tokens.js";

let latest = null;

function listen() {
  const source = new EventSource("/emulator/live");
  source.addEventListener("hello", ({ data }) => {
    const hello = JSON.parse(data);
    about(hello);
    charts.begin(hello);
    faults.begin(hello);
    events.begin(hello);
    link("on", "live");
  });
  source.addEventListener("sample", ({ data }) => {
    latest = JSON.parse(data);
    charts.update(latest);
    faults.update(latest);
    tokens.update(latest);
    channels.update(latest);
    events.update(latest);
  });
  source.addEventListener("error", () => {
    link("off", "not reachable, trying again");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

function link(state, text) {
  if ($("link").dataset.state === state && $("link").textContent === text) return;
  $("link").dataset.state = state;
  $("link").textContent = text;
}

function about(hello) {
  const delay = hello.ack_delay_s;
  const acks = delay === null ? "acks never" : delay[0] === delay[1] ? `acks after ${age(delay[0])}` : `acks after ${delay[0]} to ${delay[1]} s`;
  const nodes = hello.nodes === 1 ? "1 node" : `${hello.nodes} nodes, ${hello.balance}`;
  $("about").replaceChildren(...[location.host, hello.profile, nodes, acks].map((text) => h("span", { class: "chip" }, text)));
}

// -- tabs ---------------------------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab, { focus = false } = {}) {
  for (const other of tabs) {
    const isIt = other === tab;
    other.setAttribute("aria-selected", String(isIt));
    other.tabIndex = isIt ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !isIt;
  }
  if (focus) tab.focus();
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
  channels.redraw();
  if (latest) channels.update(latest);
}

for (const [at, tab] of tabs.entries()) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    select(tabs[(step + tabs.length) % tabs.length], { focus: true });
  });
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, textarea, select")) return;
  event.preventDefault();
  select(tabs[0]);
  $("search").focus();
});

// -- theme --------------------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
const { dataset } = document.documentElement;

function themed() {
  $("theme").textContent = `Theme: ${dataset.chosen}`;
  charts.draw();
}

$("theme").addEventListener("click", () => window.chooseTheme(THEMES[(THEMES.indexOf(dataset.chosen) + 1) % THEMES.length]));
document.addEventListener("themechange", themed);
themed();

// -- reset --------------------------------------------------------------------------------------------------

$("reset").addEventListener("click", () => { $("sure").returnValue = ""; $("sure").showModal(); });
$("sure").addEventListener("close", async () => {
  if ($("sure").returnValue !== "yes") return;
  try {
    await ask("/emulator/reset", { method: "POST" });
    say("Everything is forgotten.");
  } catch (error) {
    say(`It cannot be reset: ${error.message}`);
  }
});

events.open();
const asked = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
if (asked) select(asked);
listen();
