// A queue or a pool, and its card.

import { addForm } from "./form.js";
import { List } from "./list.js";
import { $, clone, complain, nameOf, say } from "./parts.js";

/** How often is asked what modules use while that is shown, and how far they are while they end, in ms. */
const MEASURE = 2000;
const WATCH = 300;

/** The parameters that are asked for of every module where a service offers no events. */
const SHOWN = ["title", "name", "text", "artist", "state", "time", "position", "duration"];

/** What a page draws of each module type; of a service that does not tell, the names. */
export async function typesOf(endpoint) {
  const bare = (names) => Object.fromEntries(names.map((name) => [name, { title: null, args: {}, commands: {} }]));
  const ask = (cmd) => endpoint.query(cmd).catch((error) => (error.status === 200 ? [] : Promise.reject(error)));
  const types = await endpoint.query("types").catch((error) => (error.status === 200 ? null : Promise.reject(error)));
  if (types) return types;
  const [modules, backgrounds] = await Promise.all([ask("modules_available"), ask("backgrounds_available")]);
  return { modules: bare(modules), backgrounds: bare(backgrounds) };
}

export class Service {
  #measured = null;
  #measuring = false;
  #timer = null;
  #ending = 0;

  constructor(name, endpoint, kind, types) {
    this.name = name;
    this.endpoint = endpoint;
    this.kind = kind;
    this.types = types;
    this.card = clone("service");
    this.card.classList.add(kind);
    this.card.ariaLabel = `${kind} ${name}`;
    say($("h2", this.card), name);
    say($(".kind", this.card), kind);
    const items = $(".items", this.card);
    // Safari takes its role from a list without bullets.
    items.role = "list";
    this.list = new List(items, this, types.modules, { canMove: kind === "queue" });
    const background = $(".background", this.card);
    this.background = new List($(".items", background), this, types.backgrounds);
    say($(".nothing", this.card), kind === "queue" ? "Nothing is queued." : "Nothing runs.");
    this.#addForm("Add", "add", types.modules);
    background.hidden = Object.keys(types.backgrounds).length === 0;
    if (!background.hidden) this.#addForm("Set background", "set_bg", types.backgrounds);
  }

  /** Which parameters are asked for where there are no events. */
  static parametersFor({ modules, backgrounds }) {
    return Object.fromEntries(Object.keys({ ...modules, ...backgrounds }).map((type) => [type, SHOWN]));
  }

  #addForm(label, cmd, types) {
    if (Object.keys(types).length === 0) return;
    const send = (type, args) => this.command(cmd, { type, args });
    const form = addForm({ label, types, send, complain: (sentence) => this.complain(sentence) });
    form.ariaLabel = `${label}: ${this.name}`;
    const details = document.createElement("details");
    details.open = cmd === "add";
    details.append(Object.assign(document.createElement("summary"), { textContent: label }), form);
    $(".forms", this.card).append(details);
  }

  /** Carries out one command; a refusal is shown and is false. */
  async command(cmd, args) {
    try {
      await this.endpoint.query(cmd, args, { urgent: true });
      return true;
    } catch (error) {
      this.complain(error.message);
      return false;
    }
  }

  complain(sentence) {
    complain(`${this.name}: ${sentence}`);
  }

  draw(state) {
    const modules = state[this.kind];
    const plays = ({ uid, state: now }) => (this.kind === "queue" ? uid === state.playing : now === "playing");
    const before = new Set(this.list.views.map(({ element }) => element.dataset.uid));
    this.list.draw(modules, plays);
    if (this.kind === "queue") this.background.draw(state.background ? [state.background] : [], plays);
    $(".nothing", this.card).hidden = modules.length > 0;
    $(".background .nothing", this.card).hidden = Boolean(state.background);
    say($(".count", this.card), modules.length ? `${modules.length} ${this.kind === "queue" ? "queued" : "running"}` : "");
    for (const { uid } of modules) before.delete(uid);
    // What has left the list may have processes yet.
    if (before.size > 0) this.measure();
  }

  /** One more line of a module's log. */
  log({ uid, line }) {
    (this.list.view(uid) ?? this.background.view(uid))?.log(line);
  }

  /** Asks what modules use and how far those are that end, now and as long as either is shown. */
  async measure() {
    clearTimeout(this.#timer);
    if (this.#measuring) return;
    this.#measuring = true;
    try {
      this.#drawStatus(await this.endpoint.query("status"));
    } catch {
      // That the connection is lost is shown elsewhere, and other services have no status.
    }
    this.#measuring = false;
    const isOpen = [...this.list.views, ...this.background.views].some((view) => view.isOpen);
    if (!document.hidden && (this.#ending > 0 || isOpen)) {
      this.#timer = setTimeout(() => this.measure(), this.#ending > 0 ? WATCH : MEASURE);
    }
  }

  #drawStatus(status) {
    const [now, before] = [performance.now(), this.#measured];
    const modules = [...(status[this.kind] ?? []), status.background].filter(Boolean);
    for (const module of modules) {
      const view = this.list.view(module.uid) ?? this.background.view(module.uid);
      if (view?.isOpen) view.drawUsage(module, before?.modules.get(module.uid), (now - before?.at) / 1000);
    }
    this.#measured = { at: now, modules: new Map(modules.map((module) => [module.uid, module])) };

    const shown = new Set(modules.map(({ uid }) => uid));
    const ending = (status.ending ?? []).filter(({ uid }) => !shown.has(uid));
    this.#ending = ending.length;
    $(".ending", this.card).hidden = ending.length === 0;
    const list = $(".ending ul", this.card);
    const rows = new Map([...list.children].map((row) => [row.dataset.uid, row]));
    for (const { uid, type, step } of ending) {
      const row = rows.get(uid) ?? clone("ends");
      rows.delete(uid);
      row.dataset.uid = uid;
      say($(".title", row), nameOf({ type }, { ...this.types.backgrounds, ...this.types.modules }));
      let isReached = true;
      for (const each of $(".steps", row).children) {
        each.classList.toggle("is-reached", isReached);
        if (each.dataset.step === step) isReached = false;
        each.ariaCurrent = each.dataset.step === step ? "step" : null;
      }
      if (!row.isConnected) list.append(row);
    }
    for (const row of rows.values()) row.remove();
  }

  /** Shows that nothing is heard of the service, and why; or that all is well (null). */
  lost(error) {
    this.isLost = error !== null;
    this.card.classList.toggle("is-lost", this.isLost);
    const notice = $(".lost", this.card);
    notice.hidden = !this.isLost;
    if (error) say(notice, `Connection lost. ${error.message}`);
  }

  /** Carries out what waits for its undoing. */
  flush() {
    for (const view of this.list.views) view.flush();
  }
}
