// What every part of the page uses: elements, numbers for people, requests, and the clipboard.
// Text only ever becomes text nodes: nothing here or elsewhere parses markup.

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
export const count = (n) => whole.format(n);
export const rate = (n) => (n < 100 ? tenth : whole).format(n);
export const brief = (n) => (n < 10000 ? tenth : compact).format(n);

export function age(seconds) {
  if (seconds === null) return "–";
  if (seconds < 60) return `${tenth.format(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

export function bytes(n) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (n < 1000 || unit === "GB") return `${tenth.format(n)} ${unit}`;
    n /= 1000;
  }
}

const two = (n, width = 2) => String(n).padStart(width, "0");
export function clock(seconds) {
  const t = new Date(seconds * 1000);
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}.${two(t.getMilliseconds(), 3)}`;
}
export function stamp(seconds) {
  const t = new Date(seconds * 1000);
  if (Number.isNaN(t.getTime())) return String(seconds);
  return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${clock(seconds)}`;
}

let silence = 0;
export function say(text) {
  const toast = $("said");
  toast.textContent = text;
  toast.dataset.shown = "";
  clearTimeout(silence);
  silence = setTimeout(() => { delete toast.dataset.shown; }, 4000);
}

export async function ask(path, options = {}) {
  const reply = await fetch(path, options);
  if (!reply.ok) throw new Error((await reply.text()).trim() || `status ${reply.status}`);
  return reply;
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // only secure contexts have it, and http://ADDRESS is none
    const area = h("textarea", { class: "skip", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return say("The browser refused to copy.");
  }
  say(`Copied ${what}.`);
}
