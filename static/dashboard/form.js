// Forms for arguments, as a module type declares them: {NAME: {"title", "type", "default", "enum", "description"}}.

import { make } from "./parts.js";

/** The labelled fields for these arguments; `read()` answers what is filled in, or throws a sentence. */
export class Fields {
  constructor(declared) {
    this.fields = Object.entries(declared).map(([name, argument]) => new Field(name, argument));
    this.elements = this.fields.map((field) => field.label);
  }

  read() {
    const given = this.fields.map((field) => [field.name, field.read()]);
    return Object.fromEntries(given.filter(([, value]) => value !== undefined));
  }
}

class Field {
  constructor(name, { title = name, type, description, default: preset, enum: choices }) {
    this.name = name;
    this.title = title;
    this.type = type;
    this.choices = choices;
    this.label = make("label", "field");
    this.input = choices ? select(choices, preset) : input(type, preset);
    this.input.name = name;
    if (description) this.label.title = description;
    this.label.append(make("span", "", title), this.input);
    this.label.classList.toggle("check", this.input.type === "checkbox");
  }

  /** Undefined where nothing is filled in. */
  read() {
    const { value, checked } = this.input;
    if (this.choices) return value === "" ? undefined : this.choices[value];
    if (this.type === "boolean") return checked;
    if (value.trim() === "") return undefined;
    if (this.type === "string") return value;
    if (this.type === "number" || this.type === "integer") return Number(value);
    try {
      return JSON.parse(value);
    } catch {
      // Where no type is declared, a text needs no quotation marks.
      if (this.type === undefined) return value;
      throw new Error(`${this.title} must be JSON, such as ${this.type === "array" ? "[1, 2]" : '{"a": 1}'}.`);
    }
  }
}

function select(choices, preset) {
  const element = make("select");
  if (preset === undefined) element.append(new Option("", ""));
  choices.forEach((choice, at) => {
    const isPreset = JSON.stringify(choice) === JSON.stringify(preset);
    element.append(new Option(typeof choice === "string" ? choice : JSON.stringify(choice), at, isPreset, isPreset));
  });
  return element;
}

function input(type, preset) {
  const element = make("input");
  element.autocomplete = "off";
  if (type === "boolean") {
    element.type = "checkbox";
    element.defaultChecked = preset === true;
    return element;
  }
  if (type === "number" || type === "integer") {
    element.type = "number";
    element.step = type === "integer" ? 1 : "any";
  }
  if (preset !== undefined) element.defaultValue = typeof preset === "string" ? preset : JSON.stringify(preset);
  return element;
}

/** Where a type declares no arguments it may take some all the same. */
const ANYTHING = { args: { title: "Arguments, as JSON", type: "object" } };

/** A form that adds a module of one of `types`; `send(type, args)` is a promise of whether it was taken. */
export function addForm({ label, types, send, complain }) {
  const form = make("form", "add");
  form.setAttribute("aria-label", label);
  const choice = make("select");
  choice.name = "type";
  choice.append(...Object.entries(types).map(([name, { title }]) => new Option(title ?? name, name)));
  const what = make("label", "field");
  what.append(make("span", "", "Type"), choice);
  const place = make("div", "fields");
  const button = make("button", "", label);
  let fields, isFree;
  const draw = () => {
    const { args } = types[choice.value];
    isFree = Object.keys(args).length === 0;
    fields = new Fields(isFree ? ANYTHING : args);
    place.replaceChildren(...fields.elements);
  };
  choice.addEventListener("change", draw);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const args = fields.read();
      button.disabled = true;
      if (await send(choice.value, isFree ? (args.args ?? {}) : args)) form.querySelectorAll(".fields input").forEach(reset);
    } catch (error) {
      complain(error.message);
    } finally {
      button.disabled = false;
    }
  });
  draw();
  form.append(what, place, button);
  return form;
}

function reset(element) {
  element.value = element.defaultValue;
  element.checked = element.defaultChecked;
}
