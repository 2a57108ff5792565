// The first page: every queue and pool of the application, live.
//
// Services are asked once a second while the page is seen, one request for each at a time. What is drawn is always what
// a service answered last: a command changes nothing here by itself, it only asks again at once.

const base = document.documentElement.dataset.base;
const interval = 1000;
const patience = 15000;

/// The parameters that are shown of every module that has them.
const shown = ["title", "name", "text", "artist", "state", "position", "duration"];

const $ = (selector, root = document) => root.querySelector(selector);
const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

/// The services that turned out to be queues and pools, by name.
const services = new Map();

// Tokens for services that take one: of the address (/#token=…), where it does not stay, or asked for. Kept for this tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.clear();
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname + location.search);
}
const tokenFor = (service) => sessionStorage.getItem(`token of ${service}`) ?? sessionStorage.getItem("token");
const withoutToken = new Set();

/// Whether there is another token for a service that did not take `refused`, if need be by asking for it, unless nobody had one.
function findToken(service, refused) {
  if (tokenFor(service) !== refused) return true;
  if (withoutToken.has(service)) return false;
  const token = prompt(refused ? `${service} does not know this token. Another one:` : `${service} takes a token:`)?.trim();
  if (!token) withoutToken.add(service);
  else for (const key of ["token", `token of ${service}`]) sessionStorage.setItem(key, token);
  return Boolean(token);
}

/// Sends `message`, a command or a list of them, to a service. Fails where there is no answer.
async function ask(service, message) {
  const token = tokenFor(service);
  const response = await fetch(base + encodeURIComponent(service), {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${encodeURI(token)}` }) },
    body: JSON.stringify(message),
    signal: AbortSignal.timeout(patience),
  });
  if (response.status === 401 && findToken(service, token)) return ask(service, message);
  if (response.ok && token) sessionStorage.setItem(`token of ${service}`, token);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/// Carries out one command; a refusal is shown and is false.
async function command(service, cmd, args) {
  try {
    const answer = await ask(service.name, { cmd, args });
    if (!answer.success) throw new Error(answer.error);
    return true;
  } catch (error) {
    complain(`${service.name}: ${error.message}`);
    return false;
  } finally {
    service.refresh();
  }
}

function complain(sentence) {
  const toast = document.createElement("p");
  toast.textContent = sentence;
  $("#toasts").append(toast);
  setTimeout(() => toast.remove(), 8000);
}

/// `title="My song" n=5` or a JSON object as an object: JSON where a value parses, text otherwise.
function parseArguments(text) {
  text = text.trim();
  if (text.startsWith("{")) return JSON.parse(text);
  const args = {};
  for (const word of text.match(/(?:"(?:\\.|[^"\\])*"|\S)+/g) ?? []) {
    const at = word.indexOf("=");
    if (at < 1) throw new Error(`“${word}” is not of the form key=value.`);
    const value = word.slice(at + 1);
    try {
      args[word.slice(0, at)] = JSON.parse(value);
    } catch {
      args[word.slice(0, at)] = value;
    }
  }
  return args;
}

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, at) => (at ? String(part).padStart(2, "0") : part)).join(":");
}

/// Text that is set only where it changed, so that what is selected stays selected.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/// A list of modules. Elements are kept by uid, so that focus and what is dragged survive an update.
class Items {
  constructor(element, service, canMove) {
    this.element = element;
    this.service = service;
    this.canMove = canMove;
    this.byUid = new Map();
    if (canMove) this.listenToDrags();
  }

  draw(modules, playing) {
    const focused = document.activeElement;
    const left = new Set(this.byUid.keys());
    modules.forEach((module, index) => {
      left.delete(module.uid);
      const item = this.byUid.get(module.uid) ?? this.create(module);
      this.drawOne(item, module, playing(index));
      // Not `disabled`, which would take the focus from the button that was just pressed.
      $(".up", item).ariaDisabled = String(index === 0);
      $(".down", item).ariaDisabled = String(index === modules.length - 1);
      const place = this.element.children[index];
      if (place !== item) this.element.insertBefore(item, place ?? null);
    });
    for (const uid of left) {
      this.byUid.get(uid).remove();
      this.byUid.delete(uid);
    }
    // Moving an element takes the focus from it.
    if (focused !== document.activeElement && this.element.contains(focused)) focused.focus();
  }

  create(module) {
    const item = clone("item");
    item.dataset.uid = module.uid;
    item.classList.add("is-new");
    const does = (name, label, action) => {
      const button = $(name, item);
      button.addEventListener("click", () => button.ariaDisabled !== "true" && action());
      button.dataset.label = label;
    };
    does(".up", "Move up", () => this.move(module.uid, -1));
    does(".down", "Move down", () => this.move(module.uid, 1));
    does(".remove", "Remove", () => command(this.service, "rm", { uids: [module.uid] }));
    if (this.canMove) {
      item.draggable = true;
    } else {
      for (const name of [".grip", ".up", ".down"]) $(name, item).hidden = true;
    }
    this.byUid.set(module.uid, item);
    return item;
  }

  drawOne(item, module, isPlaying) {
    const { title, name, text, artist, state, position, duration } = module.parameters ?? {};
    const heading = [title, name, text].find((value) => typeof value === "string" && value) ?? module.type;
    item.classList.toggle("is-playing", isPlaying);
    say($(".title", item), heading);
    say($(".state", item), typeof state === "string" ? state : isPlaying ? "playing" : "");
    say($(".type", item), heading === module.type ? "" : module.type);
    say($(".more", item), typeof artist === "string" ? artist : "");
    say($(".uid", item), module.uid.slice(0, 8));
    $(".uid", item).title = module.uid;
    for (const button of item.querySelectorAll("button")) {
      button.setAttribute("aria-label", `${button.dataset.label}: ${heading}`);
      button.title = button.dataset.label;
    }
    const isTimed = Number.isFinite(position) && duration > 0 && (isPlaying || position > 0);
    $(".progress", item).hidden = !isTimed;
    if (isTimed) {
      $("progress", item).value = Math.min(1, Math.max(0, position / duration));
      $("progress", item).setAttribute("aria-label", `Progress of ${heading}`);
      say($(".time", item), `${clock(position)} / ${clock(duration)}`);
    }
  }

  uids() {
    return [...this.element.children].map((item) => item.dataset.uid);
  }

  move(uid, by) {
    this.moveTo(uid, this.uids().indexOf(uid) + by);
  }

  /// Puts one at an index. All uids are sent, so that the order is what was seen even if others came meanwhile.
  moveTo(uid, index) {
    const uids = this.uids().filter((other) => other !== uid);
    uids.splice(index, 0, uid);
    command(this.service, "mv", { uids });
  }

  listenToDrags() {
    let dragged = null;
    const itemAt = (event) => event.target.closest?.(".item");
    const mark = (item) => {
      for (const other of this.element.children) other.classList.toggle("is-target", other === item && other !== dragged);
    };
    this.element.addEventListener("dragstart", (event) => {
      dragged = itemAt(event);
      dragged.classList.add("is-dragged");
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", dragged.dataset.uid);
    });
    this.element.addEventListener("dragover", (event) => {
      if (!dragged) return;
      event.preventDefault();
      mark(itemAt(event));
    });
    this.element.addEventListener("drop", (event) => {
      const target = itemAt(event);
      if (!dragged || !target || target === dragged) return;
      event.preventDefault();
      this.moveTo(dragged.dataset.uid, this.uids().indexOf(target.dataset.uid));
    });
    this.element.addEventListener("dragend", () => {
      dragged?.classList.remove("is-dragged");
      dragged = null;
      mark(null);
    });
  }
}

/// A queue or a pool, and its card.
class Service {
  constructor({ name, kind, types, backgroundTypes }) {
    this.name = name;
    this.kind = kind;
    this.card = clone("service");
    this.card.classList.add(kind);
    this.card.setAttribute("aria-label", `${kind} ${name}`);
    say($("h2", this.card), name);
    say($(".kind", this.card), kind);
    this.items = new Items($(".items", this.card), this, kind === "queue");
    if (kind === "pool") $(".items", this.card).setAttribute("role", "list");
    say($(".nothing", this.card), kind === "queue" ? "Nothing is queued. Add something below." : "Nothing runs. Add something below.");
    this.addForm("add", "Add", types);
    const background = $(".background", this.card);
    this.background = new Items($(".items", background), this, false);
    this.hasBackground = backgroundTypes.length > 0;
    background.hidden = !this.hasBackground;
    if (this.hasBackground) this.addForm("set_bg", "Set background", backgroundTypes);

    const parameters = Object.fromEntries([...types, ...backgroundTypes].map((type) => [type, shown]));
    this.question = [{ cmd: kind, args: { parameters } }];
    if (this.hasBackground) this.question.push({ cmd: "bg", args: { parameters } });
    $("#services").append(this.card);
    this.refresh();
  }

  addForm(cmd, label, types) {
    const form = clone("form");
    const button = $("button", form);
    say(button, label);
    button.classList.toggle("second", cmd !== "add");
    form.setAttribute("aria-label", `${label}: ${this.name}`);
    form.elements.type.append(...types.map((type) => new Option(type)));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      let args;
      try {
        args = parseArguments(form.elements.args.value);
      } catch (error) {
        complain(`Arguments: ${error.message}`);
        form.elements.args.focus();
        return;
      }
      button.disabled = true;
      if (await command(this, cmd, { type: form.elements.type.value, args })) form.elements.args.value = "";
      button.disabled = false;
    });
    $(".forms", this.card).append(form);
  }

  /// Asks again now, or right after the answer that is under way.
  async refresh() {
    clearTimeout(this.timer);
    if (this.isAsking) {
      this.isStale = true;
      return;
    }
    if (document.hidden) return;
    this.isAsking = true;
    this.isStale = false;
    try {
      this.draw(await ask(this.name, this.question));
      this.lost(null);
    } catch (error) {
      this.lost(error);
    }
    this.isAsking = false;
    if (this.isStale) this.refresh();
    else this.timer = setTimeout(() => this.refresh(), interval);
  }

  draw([list, background]) {
    if (!list.success) throw new Error(list.error);
    const modules = list.result ?? [];
    this.items.draw(modules, (index) => this.kind === "pool" || index === 0);
    $(".nothing", this.card).hidden = modules.length > 0;
    const word = this.kind === "queue" ? "queued" : "running";
    say($(".count", this.card), modules.length ? `${modules.length} ${word}` : "");
    if (!this.hasBackground) return;
    const backgrounds = background.success && background.result ? [background.result] : [];
    this.background.draw(backgrounds, () => modules.length === 0);
    $(".background .nothing", this.card).hidden = backgrounds.length > 0;
  }

  lost(error) {
    this.isLost = error !== null;
    this.card.classList.toggle("is-lost", this.isLost);
    const notice = $(".lost", this.card);
    notice.hidden = !this.isLost;
    if (this.isLost) say(notice, `Connection lost. ${sentence(error)}`);
    drawLink();
  }
}

/// What a failed request says for itself; browsers' own words about the network help nobody.
function sentence(error) {
  if (error instanceof TypeError || error instanceof SyntaxError) return "The gateway cannot be reached.";
  if (error.name === "TimeoutError") return "There is no answer.";
  return error.message;
}

/// Whether all is well, at the top of the page.
function drawLink(problem = null) {
  const lost = [...services.values()].filter((service) => service.isLost).length;
  const link = $("#link");
  link.classList.toggle("down", problem !== null || lost > 0);
  link.classList.toggle("up", problem === null && lost === 0);
  say(link, problem ?? (lost ? "Connection lost" : "Live"));
}

/// Asks a service what it is: a queue, a pool, or something else (null). Undefined where there is no answer.
async function discover(name) {
  const questions = ["queue", "pool", "modules_available", "backgrounds_available"].map((cmd) => ({ cmd }));
  let answers;
  try {
    answers = await ask(name, questions);
  } catch {
    return undefined;
  }
  const [queue, pool, types, backgroundTypes] = questions.map((_, at) => {
    const answer = Array.isArray(answers) ? answers[at] : null;
    return answer?.success && Array.isArray(answer.result) ? answer.result : null;
  });
  const kind = queue ? "queue" : pool ? "pool" : null;
  return kind && { name, kind, types: types ?? [], backgroundTypes: backgroundTypes ?? [] };
}

/// Reads the settings, then asks every port until it has said what it is.
async function start() {
  let settings;
  try {
    const response = await fetch(`${base}settings.json`, { signal: AbortSignal.timeout(patience) });
    if (!response.ok) throw new TypeError();
    settings = await response.json();
  } catch {
    drawLink("The gateway cannot be reached");
    setTimeout(start, interval);
    return;
  }
  const name = settings.name ?? "shmooze";
  say($("#name"), name);
  document.title = name;
  if (!settings.ports) complain("The settings do not make “ports” public, so the services are not known.");
  let unknown = Object.keys(settings.ports ?? {}).filter((port) => port !== "wsgi");
  for (let pause = interval; ; pause = Math.min(2 * pause, 30 * interval)) {
    const found = await Promise.all(unknown.map(discover));
    for (const what of found) if (what) services.set(what.name, new Service(what));
    unknown = unknown.filter((_, at) => found[at] === undefined);
    $("#empty").hidden = services.size > 0;
    $("#silent").hidden = unknown.length === 0;
    say($("#silent"), `Not answering: ${unknown.join(", ")}`);
    drawLink();
    if (!unknown.length) return;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) for (const service of services.values()) service.refresh();
});
start();
