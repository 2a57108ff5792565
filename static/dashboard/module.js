// One module: a row of a queue, the background, or a tile of a pool.

import { Fields } from "./form.js";
import { $, bytes, clock, clone, complain, make, nameOf, say, timeOfDay } from "./parts.js";

/** How long a removal can be undone, in ms. */
const UNDO = 5000;

/** How many lines of a module's log are shown. */
const LINES = 20;

export class ModuleView {
  #module = null;
  #removal = null;
  #seeking = false;
  #commands;

  /** `service` sends what is asked for; `types` describes the module's type. */
  constructor(module, service, types) {
    this.service = service;
    this.types = types;
    this.#commands = types[module.type]?.commands ?? {};
    this.element = clone("module");
    this.element.dataset.uid = module.uid;
    this.name = "";
    $(".remove", this.element).addEventListener("click", () => this.#remove());
    $(".undo", this.element).addEventListener("click", () => this.#undo());
    $(".inside", this.element).addEventListener("toggle", () => this.#open());
    this.#addControls();
  }

  /** Draws what has changed since. */
  draw(module, isPlaying) {
    if (module === this.#module && isPlaying === this.isPlaying) return;
    this.#module = module;
    this.isPlaying = isPlaying;
    const { parameters = {}, type } = module;
    const { artist, state, time } = parameters;
    this.name = nameOf(module, this.types);
    const typeName = this.types[type]?.title ?? type;
    this.element.classList.toggle("is-playing", isPlaying);
    say($(".title", this.element), this.name);
    say($(".state", this.element), typeof state === "string" ? state : (module.state ?? ""));
    say($(".type", this.element), this.name === typeName ? "" : typeName);
    say($(".more", this.element), [artist, time].filter((text) => typeof text === "string").join(" · "));
    this.#label(".grip", `Move ${this.name}`);
    this.#label(".remove", `${isPlaying ? "Stop" : "Remove"} ${this.name}`);
    this.#label(".undo", `Undo the removal of ${this.name}`);
    $(".remove", this.element).classList.toggle("stop", isPlaying);
    for (const button of this.element.querySelectorAll(".controls button")) {
      const { command } = button.dataset;
      button.hidden = (command === "resume") !== (state === "paused") && (command === "resume" || command === "pause");
    }
    this.#drawProgress(parameters);
    this.#drawInside();
  }

  /** Memory and processor time, as `status` tells them; `seconds` have passed since the `before`. */
  drawUsage({ memory, cpu, tasks, scope, pid, added }, before, seconds) {
    const share = before?.cpu !== undefined && seconds > 0 ? `${Math.max(0, (100 * (cpu - before.cpu)) / seconds).toFixed(0)} %` : "–";
    const shown = { Memory: bytes(memory ?? 0), CPU: share, Tasks: tasks ?? "–", Added: timeOfDay(added), Scope: scope ?? `process ${pid}` };
    const list = $(".usage", this.element);
    if (!list.children.length) list.append(...Object.keys(shown).flatMap((term) => [make("dt", "", term), make("dd")]));
    Object.values(shown).forEach((value, at) => say(list.children[2 * at + 1], String(value)));
  }

  /** One more line of its log. */
  log(line) {
    const list = $(".log", this.element);
    list.hidden = false;
    list.append(make("li", "", line));
    if (list.children.length > LINES) list.firstElementChild.remove();
  }

  get isOpen() {
    return $(".inside", this.element).open;
  }

  /** Carries a removal out that waits for its undoing. */
  flush() {
    if (this.#removal !== null) this.#end();
  }

  #label(selector, text) {
    const element = $(selector, this.element);
    element.ariaLabel = text;
    if (selector !== ".grip") element.title = text;
  }

  // What plays is stopped at once; what waits can be had back for some seconds.
  #remove() {
    if (this.element.ariaBusy === "true") return;
    if (this.isPlaying || this.service.kind === "pool") return void this.#end();
    this.#removal = setTimeout(() => this.#end(), UNDO);
    $(".undo", this.element).style.setProperty("--undo", `${UNDO}ms`);
    this.#mark(true);
    $(".undo", this.element).focus();
  }

  #undo() {
    clearTimeout(this.#removal);
    this.#removal = null;
    this.#mark(false);
    $(".remove", this.element).focus();
  }

  #mark(isLeaving) {
    this.element.classList.toggle("is-leaving", isLeaving);
    $(".undo", this.element).hidden = !isLeaving;
    $(".remove", this.element).hidden = isLeaving;
  }

  async #end() {
    clearTimeout(this.#removal);
    this.#removal = null;
    this.element.ariaBusy = "true";
    const isTaken = await this.service.command("rm", { uids: [this.#module.uid] });
    if (isTaken) return;
    this.element.ariaBusy = null;
    this.#mark(false);
  }

  #tell(cmd, args) {
    const { uid } = this.#module;
    const verb = this.element.closest(".background") ? "tell_background" : "tell_module";
    return this.service.command(verb, { uid, cmd, args });
  }

  // Commands without arguments are buttons; those with arguments are forms among the details, but for `seek`, which is the
  // progress itself.
  #addControls() {
    for (const [command, { title = command, description = "", args = {} }] of Object.entries(this.#commands)) {
      if (Object.keys(args).length === 0) {
        const button = Object.assign(make("button", "second", title), { type: "button", title: description });
        button.dataset.command = command;
        button.addEventListener("click", () => this.#tell(command, {}));
        $(".controls", this.element).append(button);
      } else if (command !== "seek" || !("position" in args)) {
        $(".commands", this.element).append(this.#form(command, title, args));
      }
    }
    const slider = $("input", this.element);
    slider.addEventListener("input", () => (this.#seeking = true));
    slider.addEventListener("change", async () => {
      await this.#tell("seek", { position: Number(slider.value) });
      this.#seeking = false;
    });
  }

  #form(command, title, args) {
    const form = make("form", "command");
    const fields = new Fields(args);
    form.append(...fields.elements, make("button", "second", title));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      try {
        this.#tell(command, fields.read());
      } catch (error) {
        complain(error.message);
      }
    });
    return form;
  }

  #drawProgress({ position, duration }) {
    const isTimed = Number.isFinite(position) && duration > 0 && (this.isPlaying || position > 0);
    $(".progress", this.element).hidden = !isTimed;
    if (!isTimed) return;
    const canSeek = "position" in (this.#commands.seek?.args ?? {});
    const [bar, slider] = [$("progress", this.element), $("input", this.element)];
    bar.hidden = canSeek;
    slider.hidden = !canSeek;
    const label = `Position in ${this.name}`;
    bar.ariaLabel = label;
    slider.ariaLabel = label;
    bar.value = Math.min(1, Math.max(0, position / duration));
    if (!this.#seeking) {
      slider.max = duration;
      slider.value = position;
      slider.style.setProperty("--done", `${(100 * position) / duration}%`);
      slider.ariaValueText = `${clock(position)} of ${clock(duration)}`;
    }
    say($(".time", this.element), `${clock(position)} / ${clock(duration)}`);
  }

  #open() {
    this.#drawInside();
    this.service.measure();
  }

  #drawInside() {
    if (!this.isOpen) return;
    const rows = Object.entries(this.#module.parameters ?? {}).map(([name, value]) => {
      const row = make("tr");
      const head = make("th", "", name);
      head.scope = "row";
      row.append(head, make("td", "", typeof value === "string" ? value : JSON.stringify(value)));
      return row;
    });
    $("tbody", this.element).replaceChildren(...rows);
    $("table", this.element).hidden = rows.length === 0;
  }
}
