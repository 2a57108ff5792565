/**
 * shmooze.js: what pages are built on. No dependency, no build step; docs/page.md shows how.
 *
 *     <script src="/static/shmooze.js"></script>         a classic script: the global names of the original, settings loaded
 *     import { connect } from "/static/shmooze.mjs";      a module: one global, `shmooze`, and nothing loaded until asked
 *
 *       query ──────┐                  ┌─▶ its own promise        GET …/events ─▶ EventParser ─▶ reduce ─▶ handlers
 *       deferQuery ─┼─▶ one list ─POST─┼─▶ its own callback          │ 404                         ▲
 *       forceQuery ─┘     per turn     └─▶ its own error             └──▶ POST, once a second ─────┘
 */
(() => {
  "use strict";
  // Loaded as a script and imported, too: there is one of everything all the same.
  if (globalThis.shmooze?.Endpoint) return install(globalThis.shmooze);

  /** How long an answer is waited for, in ms: the gateway gives up on a service earlier. */
  const PATIENCE = 15_000;
  /** How long a stream of events may be silent before it is taken for lost, in ms. */
  const SILENCE = 60_000;
  /** How long what was deferred waits after a failure, in ms. */
  const PAUSE = 500;
  /** How often a service is asked that offers no events, in ms. */
  const INTERVAL = 1000;
  /** The first wait before an attempt to reconnect, in ms, and the longest. */
  const FIRST_WAIT = 500;
  const LONGEST_WAIT = 15_000;

  /** The events of a service that `subscribe` hands on. */
  const EVENTS = ["state", "added", "removed", "moved", "playing", "suspended", "parameters", "log"];

  /**
   * Why a command or a subscription failed. The message is the sentence of the service, where it gave one.
   * `status` is that of HTTP: 200 where the service itself refused, 0 where there was no answer.
   */
  class ShmoozeError extends Error {
    name = "ShmoozeError";

    constructor(message, status = 0, options = undefined) {
      super(message, options);
      this.status = status;
    }
  }

  /** How long to wait before attempt `failures + 1`, in ms: doubled each time up to a ceiling, less up to half by chance. */
  function backoff(failures, first = FIRST_WAIT, random = Math.random) {
    return Math.min(LONGEST_WAIT, first * 2 ** failures) * (1 - random() / 2);
  }

  // ---------------------------------------------------------------------------------------------------- Requests

  /** One HTTP request to an endpoint. Whatever is no good answer is a `ShmoozeError`. */
  async function request({ url, token }, init) {
    const headers = { ...init.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    let response;
    try {
      response = await fetch(url, { ...init, headers });
    } catch (cause) {
      throw new ShmoozeError(`${url} does not answer: ${cause.message}`, 0, { cause });
    }
    if (!response.ok) throw new ShmoozeError(await sentence(response), response.status);
    return response;
  }

  /** What a response that is no good says. */
  async function sentence(response) {
    const text = await response.text().catch(() => "");
    try {
      return JSON.parse(text).error || response.statusText;
    } catch {
      const isPlain = response.headers.get("Content-Type")?.startsWith("text/plain");
      return (isPlain && text.trim()) || `${response.url}: ${response.status} ${response.statusText}`;
    }
  }

  /** Sends a list of commands and answers the list of responses. */
  async function post(endpoint, commands) {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(new Error(`silent for ${PATIENCE / 1000} s.`)), PATIENCE);
    try {
      const response = await request(endpoint, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(commands),
        signal: abort.signal,
      });
      const answers = await response.json().catch((cause) => {
        throw new ShmoozeError(`${endpoint.url} does not answer in JSON.`, 0, { cause });
      });
      if (Array.isArray(answers) && answers.length === commands.length) return answers;
      throw new ShmoozeError(answers?.error ?? `${endpoint.url} does not answer each command.`, response.status);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Calls a method that the page gave, if it did; its mistakes are shown and stop nothing here. */
  function call(object, name, ...args) {
    try {
      object[name]?.(...args);
    } catch (error) {
      (globalThis.reportError ?? console.error)(error);
    }
  }

  function markAlive(endpoint) {
    endpoint.alive = true;
    call(endpoint, "onAlive");
  }

  /** A refusal, such as that of a token, is an answer all the same: dead is only what nobody answers for. */
  function markDead(endpoint, { status = 0 }) {
    if (status !== 0 && status !== 404 && status < 500) return;
    endpoint.alive = false;
    call(endpoint, "onDead");
  }

  // --------------------------------------------------------------------------------------------------- Endpoints

  /** A service behind the gateway, at a URL such as `/queue`. */
  class Endpoint {
    #outstanding = 0;

    constructor(url, { token } = {}) {
      this.url = url;
      /** Sent as `Authorization: Bearer …` with everything; may be changed at any time. */
      this.token = token;
      /** Whether the last request had an answer; before the first it is false. */
      this.alive = false;
      /** Called after each answer. */
      this.onAlive = null;
      /** Called after each failure to get one. */
      this.onDead = null;
      this.reqs = [];
      this.timeout = null;
    }

    /**
     * Sends a command `{cmd, args}` with all others of this turn, as one list, after what is under way was answered.
     * Then either `cb(result)` or `err(error)` is called.
     */
    deferQuery(data, cb, err) {
      this.reqs.push({ data, cb, err });
      this.#schedule(0);
    }

    /** As `deferQuery`, but at once, with everything that was deferred before it. */
    forceQuery(data, cb, err) {
      this.deferQuery(data, cb, err);
      this.runQueries();
    }

    /** Sends at once what was deferred. `cb()` is called after all answers, or `err(error)` where there are none. */
    runQueries(cb, err) {
      clearTimeout(this.timeout);
      this.timeout = null;
      const requests = this.reqs;
      this.reqs = [];
      if (requests.length === 0) return;
      this.#outstanding += 1;
      post(this, requests.map(({ data }) => data))
        .then(
          (answers) => {
            markAlive(this);
            answers.forEach((answer, at) => settle(requests[at], answer));
            call({ cb }, "cb");
            return 0;
          },
          (error) => {
            markDead(this, error);
            requests.forEach((request) => fail(request, error));
            call({ err }, "err", error);
            return PAUSE;
          },
        )
        .then((pause) => {
          this.#outstanding -= 1;
          if (pause > 0 || this.reqs.length > 0) this.#schedule(pause);
        });
    }

    /**
     * Sends a command as `deferQuery` does, or with `urgent` as `forceQuery`: a promise of its result, or a
     * `ShmoozeError` with the sentence of the service.
     */
    query(cmd, args, { urgent = false } = {}) {
      return new Promise((resolve, reject) => {
        this.deferQuery({ cmd, args }, resolve, reject);
        if (urgent) this.runQueries();
      });
    }

    /** Follows the state of a queue or pool, see `Subscription`. */
    subscribe(handlers, options = {}) {
      return new Subscription(this, handlers, options);
    }

    #schedule(pause) {
      if (this.timeout !== null || this.#outstanding > 0) return;
      this.timeout = setTimeout(() => this.runQueries(), pause);
    }
  }

  function settle(request, answer) {
    if (answer?.success) call(request, "cb", answer.result);
    else fail(request, new ShmoozeError(answer?.error ?? "The service answered neither success nor error.", 200));
  }

  function fail(request, error) {
    if (request.err) call(request, "err", error);
    else console.error(`${request.data?.cmd}: ${error.message}`);
  }

  // ------------------------------------------------------------------------------------------------------- State

  /**
   * The state after an event: pure, neither is changed. What an event does not touch stays the same object, so that
   * `===` tells what to draw anew. Events are described in docs/page.md.
   */
  function reduce(state, { type, data, id }) {
    if (type === "state") return data;
    if (!state || type === "log" || !EVENTS.includes(type)) return state;
    const list = "pool" in state ? "pool" : "queue";
    const next = { ...state, revision: Number(id) || state.revision };
    const change = (uid, how) => {
      const one = (module) => (module?.uid === uid ? { ...module, ...how(module) } : module);
      next[list] = next[list].map(one);
      next.background = one(next.background);
    };
    switch (type) {
      case "added": {
        const { background, index, ...module } = data;
        const others = next[list].filter(({ uid }) => uid !== data.uid);
        if (background) next.background = module;
        else next[list] = [...others.slice(0, index), module, ...others.slice(index ?? others.length)];
        break;
      }
      case "removed":
        next[list] = next[list].filter(({ uid }) => uid !== data.uid);
        if (next.background?.uid === data.uid) next.background = null;
        if (next.playing === data.uid) next.playing = null;
        break;
      case "moved": {
        const first = data.uids.map((wanted) => next[list].find(({ uid }) => uid === wanted)).filter(Boolean);
        next[list] = [...new Set([...first, ...next[list]])];
        break;
      }
      case "playing":
        // In a pool all play.
        if (list === "queue") next.playing = data.uid;
        change(data.uid, (module) => ({ state: "playing", since: data.since ?? module.since }));
        break;
      case "suspended":
        if (next.playing === data.uid) next.playing = null;
        change(data.uid, (module) => ({ state: "suspended", since: data.since ?? module.since }));
        break;
      case "parameters":
        change(data.uid, ({ parameters }) => ({ parameters: merged(parameters, data) }));
        break;
    }
    return next;
  }

  /** What a module's parameters are after it has set some and unset others. */
  function merged(before, { parameters = {}, unset = [] }) {
    const after = { ...before, ...parameters };
    for (const name of unset) delete after[name];
    return after;
  }

  /** The stream of server-sent events, piece by piece (the HTML standard, section 9.2.6). */
  class EventParser {
    /** The `id` of the last event. */
    lastEventId = "";
    /** The time before reconnecting that the server asks for, in ms; undefined until it does. */
    retry = undefined;
    #rest = "";
    #skipNewline = false;
    #type = "";
    #data = [];

    /** The events `{type, data, id}` that are whole now. */
    push(text) {
      if (text === "") return [];
      const piece = this.#skipNewline && text.startsWith("\n") ? text.slice(1) : text;
      this.#skipNewline = text.endsWith("\r");
      const lines = (this.#rest + piece).split(/\r\n|\r|\n/);
      this.#rest = lines.pop();
      return lines.map((line) => this.#line(line)).filter(Boolean);
    }

    #line(line) {
      if (line === "") return this.#event();
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (field === "event") this.#type = value;
      else if (field === "data") this.#data.push(value);
      else if (field === "id" && !value.includes("\0")) this.lastEventId = value;
      else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
      return null;
    }

    #event() {
      const event = { type: this.#type || "message", data: this.#data.join("\n"), id: this.lastEventId };
      const isEmpty = this.#data.length === 0;
      this.#type = "";
      this.#data = [];
      return isEmpty ? null : event;
    }
  }

  // ----------------------------------------------------------------------------------------------- Subscriptions

  /**
   * Follows the state of a queue or pool, over events or, where the service offers none, by asking.
   *
   * Handlers, all optional: one for each event, `added(data, state)` and so on; `change(state)` whenever the state is
   * another; `phase(phase, error)` when the connection is. Options: `signal` closes it; `interval` in ms and
   * `parameters`, `{type: [name, …]}`, are for asking.
   *
   *     connecting ─▶ live, polling ─▶ waiting (with the error) ─▶ connecting …      closed (with the error, if refused)
   */
  class Subscription {
    /** The local copy of the state; null before the first. Never changed in place. */
    state = null;
    /** How the connection stands: connecting, live, polling, waiting, closed. */
    phase = "connecting";
    #endpoint;
    #handlers;
    #options;
    #closing = new AbortController();
    #lastEventId = "";
    #firstWait = FIRST_WAIT;

    constructor(endpoint, handlers, options) {
      this.#endpoint = endpoint;
      this.#handlers = handlers;
      this.#options = options;
      const { signal } = options;
      signal?.addEventListener("abort", () => this.close(), { signal: this.#closing.signal });
      if (signal?.aborted) this.close();
      else this.#run();
    }

    /** Ends it. No handler is called afterwards but `phase`. */
    close() {
      this.#end();
    }

    async #run() {
      let failures = 0;
      const worked = () => {
        failures = 0;
      };
      while (this.phase !== "closed") {
        this.#enter("connecting");
        try {
          const isOffered = await this.#listen(worked);
          if (!isOffered) await this.#ask(worked);
        } catch (error) {
          if (this.phase === "closed") return;
          if (error.isFinal || error.status === 401 || error.status === 403) return this.#end(error);
          this.#enter("waiting", error);
        }
        await sleep(backoff(failures, this.#firstWait), this.#closing.signal);
        failures += 1;
      }
    }

    /** Follows the events until the stream ends. False where there are none. */
    async #listen(worked) {
      const attempt = new AbortController();
      const stop = () => attempt.abort();
      this.#closing.signal.addEventListener("abort", stop);
      const lost = () => attempt.abort(new ShmoozeError(`${this.#endpoint.url}/events is silent.`));
      let timer;
      const heard = () => {
        clearTimeout(timer);
        timer = setTimeout(lost, SILENCE);
      };
      try {
        heard();
        const headers = { Accept: "text/event-stream", ...(this.#lastEventId && { "Last-Event-ID": this.#lastEventId }) };
        const { url, token } = this.#endpoint;
        const target = { url: `${url}/events`, token };
        const response = await request(target, { headers, signal: attempt.signal, cache: "no-store" });
        if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return false;
        this.#enter("live");
        const parser = new EventParser();
        parser.lastEventId = this.#lastEventId;
        const decoder = new TextDecoder();
        const reader = response.body.getReader();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return true;
          heard();
          worked();
          for (const event of parser.push(decoder.decode(value, { stream: true }))) this.#take(event);
          this.#firstWait = parser.retry ?? FIRST_WAIT;
        }
      } catch (error) {
        if (error.status === 404 || error.status === 405) return false;
        throw error;
      } finally {
        clearTimeout(timer);
        attempt.abort();
        this.#closing.signal.removeEventListener("abort", stop);
      }
    }

    /** Asks again and again; ends only by an error or when closed. */
    async #ask(worked) {
      const { interval = INTERVAL, parameters = {} } = this.#options;
      this.#lastEventId = "";
      for (let before; this.phase !== "closed"; ) {
        const state = await snapshot(this.#endpoint, parameters);
        if (this.phase === "closed") return;
        worked();
        this.#enter("polling");
        const text = JSON.stringify(state);
        if (text !== before) this.#apply({ type: "state", data: state, id: "" });
        before = text;
        await sleep(interval, this.#closing.signal);
      }
    }

    /** An event as it came. One that cannot be understood is a reason to begin anew with a whole state. */
    #take({ type, data, id }) {
      if (this.phase === "closed" || !EVENTS.includes(type)) return;
      try {
        this.#apply({ type, data: JSON.parse(data), id });
        this.#lastEventId = id;
      } catch (cause) {
        this.#lastEventId = "";
        throw new ShmoozeError(`${this.#endpoint.url}: event "${type}" cannot be understood.`, 0, { cause });
      }
    }

    #apply(event) {
      const before = this.state;
      this.state = reduce(before, event);
      call(this.#handlers, event.type, event.data, this.state);
      if (this.state !== before) call(this.#handlers, "change", this.state);
    }

    #enter(phase, error) {
      if (this.phase === phase || this.phase === "closed") return;
      this.phase = phase;
      call(this.#handlers, "phase", phase, error);
      if (phase === "live" || phase === "polling") markAlive(this.#endpoint);
      if (phase === "waiting") markDead(this.#endpoint, error);
    }

    #end(error) {
      this.#enter("closed", error);
      this.#closing.abort();
    }
  }

  /** The state of a queue or pool as far as the commands of every service tell: revision and times are not among it. */
  async function snapshot(endpoint, parameters) {
    const commands = ["queue", "pool", "bg"].map((cmd) => ({ cmd, args: { parameters } }));
    const [queue, pool, background] = await post(endpoint, commands);
    const kind = queue.success ? "queue" : "pool";
    const list = queue.success ? queue.result : pool.result;
    if (!list) {
      const error = new ShmoozeError(`${endpoint.url} offers no events and is neither queue nor pool: ${queue.error}`, 200);
      throw Object.assign(error, { isFinal: true });
    }
    const withState = (module, plays) => ({ state: plays ? "playing" : "waiting", ...module });
    const modules = list.map((module, at) => withState(module, kind === "pool" || at === 0));
    const idle = background.result ? withState(background.result, modules.length === 0) : null;
    const playing = kind === "queue" ? (modules[0] ?? idle)?.uid ?? null : null;
    return { service: nameOf(endpoint), kind, revision: null, playing, [kind]: modules, background: idle };
  }

  const nameOf = ({ url }) => decodeURIComponent(url.split("/").at(-1));

  /** Waits for some ms, or until the signal is aborted. */
  function sleep(ms, signal) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener("abort", done);
      if (signal.aborted) done();
    });
  }

  // ---------------------------------------------------------------------------------------------------- The page

  /** The public settings, once they are loaded. */
  const settings_data = {};
  /** An endpoint for each service that the public settings name in `ports`, once they are loaded. */
  const endpoints = {};

  /**
   * Loads the public settings from below `base` (the setting `wsgi_prefix`, "/" unless changed), with a bearer token
   * for it and all endpoints where one is needed: a promise of `{settings_data, endpoints}`.
   */
  async function connect({ base = "/", token } = {}) {
    const prefix = base.replace(/\/*$/, "/");
    const response = await request({ url: `${prefix}settings.json`, token }, {});
    Object.assign(settings_data, await response.json());
    for (const name of Object.keys(settings_data.ports ?? {})) {
      if (name !== "wsgi") endpoints[name] = new Endpoint(prefix + encodeURIComponent(name), { token });
    }
    return { settings_data, endpoints };
  }

  /** Shows what is of class `disconnect-hide` and hides what is of class `disconnect-show`; fit for `onAlive`. */
  function regainConnection() {
    setShown(".disconnect-hide", true);
    setShown(".disconnect-show", false);
  }

  /** The other way round; fit for `onDead`. */
  function lostConnection() {
    setShown(".disconnect-show", true);
    setShown(".disconnect-hide", false);
  }

  /** How elements were displayed before they were hidden. */
  const displays = new WeakMap();

  function setShown(selector, isShown) {
    for (const element of document.querySelectorAll(selector)) {
      const { style } = element;
      if (isShown) {
        element.hidden = false;
        if (style.display === "none") style.display = displays.get(element) ?? "";
        // Where the page's own style sheet hides it at first.
        if (getComputedStyle(element).display === "none") style.display = "revert";
      } else if (style.display !== "none") {
        displays.set(element, style.display);
        style.display = "none";
      }
    }
  }

  globalThis.shmooze = {
    Endpoint,
    EventParser,
    ShmoozeError,
    Subscription,
    backoff,
    connect,
    endpoints,
    lostConnection,
    reduce,
    regainConnection,
    settings_data,
  };

  install(globalThis.shmooze);

  // ------------------------------------------------------------------------------- The original's classic script

  /** What a classic script does beyond a module: sets the global names of the original and loads the settings. */
  function install(shmooze) {
    const script = globalThis.document?.currentScript;
    if (!script || shmooze.ready) return;
    const { Endpoint, connect, endpoints, lostConnection, regainConnection, settings_data } = shmooze;
    // `data-base` of the script element says where services are, if not at "/".
    const base = script.dataset.base ?? "/";
    const BASE_URL = base.replace(/\/*$/, "");
    Object.assign(globalThis, { BASE_URL, Endpoint, endpoints, lostConnection, regainConnection });
    extendUnderscore(globalThis._);

    /** A promise of the settings, by when `endpoints` are there, too. */
    shmooze.ready = connect({ base }).then(async () => {
      globalThis.settings_data = settings_data;
      await isParsed();
      const { name, bg_color, fg_color } = settings_data;
      if (name) document.querySelectorAll("h1.title").forEach((title) => (title.textContent = name));
      if (bg_color) document.documentElement.style.backgroundColor = bg_color;
      if (fg_color) document.documentElement.style.color = fg_color;
      return settings_data;
    });
    shmooze.ready.catch((error) => console.error(`shmooze.js: the settings cannot be loaded: ${error.message}`));
  }

  /** The original put these into Underscore; so where a page has it. */
  function extendUnderscore(_) {
    if (typeof _?.mixin !== "function") return;
    if (_.str) _.mixin(_.str.exports());
    const made = (object, how) => Object.fromEntries(Object.entries(object).flatMap(how));
    _.mixin({
      objectMap: (object, change) => made(object, ([key, value]) => [[key, change(value)]]),
      objectFilter: (object, test) => made(object, ([key, value]) => (test(value) ? [[key, value]] : [])),
    });
  }

  async function isParsed() {
    if (document.readyState !== "loading") return;
    await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
  }
})();
