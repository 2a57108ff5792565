// A list of modules. Elements are kept by uid, so that focus, and what is dragged or open, survive an update.

import { $, announce } from "./parts.js";
import { ModuleView } from "./module.js";

/** So near to the edge of the window, in pixels, a drag scrolls it. */
const EDGE = 60;

export class List {
  #views = new Map();
  #latest = null;
  /** How much is being moved: what is dragged, and what the service has not answered yet. Nothing is drawn meanwhile. */
  #moving = 0;
  #isDragging = false;

  constructor(element, service, types, { canMove = false } = {}) {
    this.element = element;
    this.service = service;
    this.types = types;
    this.canMove = canMove;
    if (canMove) this.#listen();
  }

  get views() {
    return [...this.#views.values()];
  }

  view(uid) {
    return this.#views.get(uid);
  }

  /** Draws these modules in their order; `plays(module)` tells which of them play. */
  draw(modules, plays) {
    this.#latest = [modules, plays];
    if (this.#moving > 0) return;
    const focused = document.activeElement;
    const left = new Set(this.#views.keys());
    modules.forEach((module, index) => {
      left.delete(module.uid);
      const view = this.#views.get(module.uid) ?? this.#add(module);
      view.draw(module, plays(module));
      const place = this.element.children[index];
      if (place !== view.element) this.element.insertBefore(view.element, place ?? null);
    });
    for (const uid of left) {
      const { element } = this.#views.get(uid);
      const next = element.contains(focused) && (element.nextElementSibling ?? element.previousElementSibling);
      element.remove();
      this.#views.delete(uid);
      // Who removes one after the other by keyboard stays in the list.
      if (next) $(".remove", next)?.focus();
    }
    // Moving an element takes the focus from it.
    if (focused !== document.activeElement && this.element.contains(focused)) focused.focus();
  }

  #add(module) {
    const view = new ModuleView(module, this.service, this.types);
    if (this.#latest && this.#views.size > 0) view.element.classList.add("is-new");
    $(".grip", view.element).hidden = !this.canMove;
    this.#views.set(module.uid, view);
    return view;
  }

  #uids() {
    return [...this.element.children].map((element) => element.dataset.uid);
  }

  #listen() {
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    this.element.addEventListener("pointerdown", (event) => this.#onPointer(event));
  }

  #onKey(event) {
    const grip = event.target.closest(".grip");
    const by = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!grip || by === undefined || this.#isDragging) return;
    event.preventDefault();
    const element = grip.closest(".item");
    const others = this.#uids();
    const from = others.indexOf(element.dataset.uid);
    const to = Math.min(others.length - 1, Math.max(0, from + by));
    if (to !== from) this.#move(element, to).then(() => grip.focus());
  }

  /** Puts an element at an index, here and then in the service. */
  async #move(element, index) {
    this.#moving += 1;
    const others = [...this.element.children].filter((other) => other !== element);
    this.element.insertBefore(element, others[index] ?? null);
    const view = this.#views.get(element.dataset.uid);
    $(".grip", element).focus();
    // All uids are sent, so that the order is what was seen even if others were added meanwhile.
    const uids = this.#uids();
    const isMoved = await this.service.command("mv", { uids });
    this.#moving -= 1;
    const [modules, plays] = this.#latest;
    this.draw(isMoved ? inOrder(modules, uids) : modules, plays);
    if (isMoved) announce(`${view.name} is ${index + 1} of ${others.length + 1}.`);
  }

  // Pointer events and not those of dragging, which know neither touch nor pen.
  #onPointer(down) {
    const grip = down.target.closest(".grip");
    if (!grip || down.button !== 0 || this.#isDragging) return;
    const element = grip.closest(".item");
    const begin = down.clientY + scrollY;
    const before = this.#uids().indexOf(element.dataset.uid);
    let last = down.clientY;
    let frame = 0;
    this.#isDragging = true;
    this.#moving += 1;
    element.classList.add("is-dragged");
    grip.setPointerCapture(down.pointerId);

    const place = () => {
      const index = this.#indexAt(element, last);
      const others = [...this.element.children].filter((other) => other !== element);
      for (const other of others) other.classList.remove("is-before", "is-after");
      if (index < others.length) others[index].classList.add("is-before");
      else others.at(-1)?.classList.add("is-after");
      element.style.setProperty("--moved", `${last + scrollY - begin}px`);
      return index;
    };
    const scroll = () => {
      const by = last < EDGE ? last - EDGE : Math.max(0, last - innerHeight + EDGE);
      if (by) scrollBy(0, by / 4);
      place();
      frame = requestAnimationFrame(scroll);
    };
    const end = (event) => {
      cancelAnimationFrame(frame);
      const index = place();
      element.classList.remove("is-dragged");
      element.style.removeProperty("--moved");
      for (const other of this.element.children) other.classList.remove("is-before", "is-after");
      for (const name of ["pointermove", "pointerup", "pointercancel"]) grip.removeEventListener(name, listeners[name]);
      this.#isDragging = false;
      this.#moving -= 1;
      if (event.type === "pointerup" && index !== before) this.#move(element, index);
      else this.draw(...this.#latest);
    };
    const listeners = { pointermove: ({ clientY }) => (last = clientY), pointerup: end, pointercancel: end };
    for (const [name, listener] of Object.entries(listeners)) grip.addEventListener(name, listener);
    scroll();
  }

  /** Where among the others it belongs when it is let go at that height. */
  #indexAt(element, height) {
    const others = [...this.element.children].filter((other) => other !== element);
    const at = others.findIndex((other) => {
      const { top, height: tall } = other.getBoundingClientRect();
      return height < top + tall / 2;
    });
    return at < 0 ? others.length : at;
  }
}

/** The modules as `mv` leaves them: what was heard last may be of before. */
function inOrder(modules, uids) {
  const place = ({ uid }) => (uids.includes(uid) ? uids.indexOf(uid) : uids.length);
  return [...modules].sort((a, b) => place(a) - place(b));
}
