// What every part of the page uses.

export const $ = (selector, root = document) => root.querySelector(selector);

/** What the template of this name holds, anew. */
export const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

/** Sets a text only where it is another, so that what is selected stays selected. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Tells who listens and does not see. */
export const announce = (sentence) => say($("#said"), sentence);

/** Shows a sentence that something went wrong, for some seconds. */
export function complain(sentence) {
  const toast = document.createElement("p");
  toast.textContent = sentence;
  $("#toasts").append(toast);
  setTimeout(() => toast.remove(), 8000);
}

/** An element with a class and a text. */
export function make(name, className = "", text = "") {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

/** Seconds as 1:02:03 or 2:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, at) => (at ? String(part).padStart(2, "0") : part)).join(":");
}

/** Bytes as 12.3 MiB. */
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, number)) / 10));
  return `${(number / 1024 ** at).toFixed(at && number / 1024 ** at < 100 ? 1 : 0)} ${units[at]}`;
}

/** The time of day of seconds since 1970. */
export const timeOfDay = (seconds) => new Date(seconds * 1000).toLocaleTimeString();

/** What people call a module: what it says of itself, or what its type is called. */
export function nameOf({ type, parameters = {} }, types = {}) {
  const said = [parameters.title, parameters.name, parameters.text].find((value) => typeof value === "string" && value);
  return said ?? types[type]?.title ?? type;
}
