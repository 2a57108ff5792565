// The library in Chromium: the page of docs/page.md, a queue that is killed and comes back, streams of events.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";

import { openPage, picture, startBrowser } from "../support/browser.js";
import { startEvents } from "../support/events.js";
import { PATIENCE, makeFamily, root } from "../support/family.js";

/** The files of the first page in the handbook, as they stand there. */
function example() {
  const text = readFileSync(join(root, "docs/page.md"), "utf8");
  const block = (language) => text.match(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "m"))[1];
  return { "jukebox.html": block("html"), "jukebox.js": block("js") };
}

const EMPTY = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Empty</title><link rel="icon" href="/static/icon.svg">';

let family;
let browser;

before(async () => {
  const { "jukebox.html": html, "jukebox.js": js } = example();
  family = await makeFamily({
    texts: {
      "jukebox.html": html,
      "jukebox.js": js,
      "empty.html": EMPTY,
      "both.html": `${EMPTY}<script src="/static/shmooze.js"></script>`,
    },
    queueApart: true,
  });
  browser = await startBrowser();
  await family.start("run");
  await family.start("queue");
});

after(async () => {
  await browser?.close();
  await family?.end();
});

test("the page of docs page md", { timeout: 2 * PATIENCE }, async (t) => {
  // The page names no icon; a service without events is 404 or 405.
  const page = await openPage(t, browser, `${family.url}/static/jukebox.html`, { expected: [/404|405/] });
  await page.locator("#status", { hasText: /^live$/ }).waitFor();
  await page.click("#add");
  await page.locator("li", { hasText: "Hello (playing)" }).waitFor();
  await page.click("#add");
  await page.locator("li", { hasText: /^Hello \((waiting|suspended)\)$/ }).waitFor();
  await picture(page, "handbook");
  await page.locator("li").first().click();
  await page.waitForFunction(() => document.querySelectorAll("li").length === 1);
  await page.locator("li", { hasText: "Hello (playing)" }).click();
  await page.waitForFunction(() => document.querySelectorAll("li").length === 0);
});

test("a queue that is killed and comes back", { timeout: 4 * PATIENCE }, async (t) => {
  const page = await openPage(t, browser, `${family.url}/static/empty.html`, { expected: [/404|405|502/] });
  await page.evaluate(async () => {
    const { connect } = await import("/static/shmooze.mjs");
    const { queue } = (await connect()).endpoints;
    window.heard = [];
    queue.onDead = () => heard.push("dead");
    window.queue = queue;
    window.subscription = queue.subscribe({ phase: (phase, error) => heard.push([phase, error?.status]) }, { interval: 50 });
  });
  const isUp = () => subscription.phase === "live" && subscription.state !== null;
  await page.waitForFunction(isUp);
  const { uid } = await page.evaluate(() => queue.query("add", { type: "echo", args: { title: "x" } }));
  await page.waitForFunction((uid) => subscription.state.queue.some((module) => module.uid === uid), uid);
  assert.equal(await page.evaluate(() => queue.alive), true);

  await family.stop("queue");
  await page.waitForFunction(() => heard.includes("dead"));
  const refused = await page.evaluate(() => queue.query("queue").catch(({ name, status, message }) => [name, status, message]));
  assert.deepEqual(refused.slice(0, 2), ["ShmoozeError", 502]);
  assert.match(refused[2], /queue|localhost|reach/i, "the gateway's sentence");

  await family.start("queue");
  await page.waitForFunction(isUp);
  await page.waitForFunction(() => subscription.state.queue.length === 0 && queue.alive);
  assert.ok(await page.evaluate(() => heard.some(([phase, status]) => phase === "waiting" && status === 502)));
  await page.evaluate(() => subscription.close());
  assert.equal(await page.evaluate(() => subscription.phase), "closed");
});

test("a stream of events is followed, resumed and ended", { timeout: 2 * PATIENCE }, async (t) => {
  const server = await startEvents(EMPTY);
  t.after(() => server.close());
  const page = await openPage(t, browser, `${server.url}/`, { expected: [/ERR_INCOMPLETE_CHUNKED_ENCODING/] });
  const first = server.nextStream();
  await page.evaluate(async () => {
    const { Endpoint } = await import("/static/shmooze.mjs");
    window.seen = [];
    window.subscription = new Endpoint("/queue", { token: "secret" }).subscribe({
      change: ({ revision }) => seen.push(revision),
      log: ({ line }) => seen.push(line),
    });
  });
  let stream = await first;
  assert.equal(stream.headers.authorization, "Bearer secret");
  assert.equal(stream.headers["last-event-id"], undefined);
  stream.event("state", 1, { service: "queue", kind: "queue", revision: 1, playing: null, queue: [], background: null });
  stream.event("added", 2, { uid: "a", type: "café" });
  stream.event("log", 2, { uid: "a", line: "hello" });
  await page.waitForFunction(() => seen.length === 3);
  assert.deepEqual(await page.evaluate(() => seen), [1, 2, "hello"]);

  const second = server.nextStream();
  stream.break();
  stream = await second;
  assert.equal(stream.headers["last-event-id"], "2");
  stream.event("removed", 3, { uid: "a", status: 0, reason: "rm" });
  await page.waitForFunction(() => subscription.state.revision === 3);
  assert.deepEqual(await page.evaluate(() => subscription.state.queue), []);

  const ended = stream.ended;
  await page.evaluate(() => subscription.close());
  await ended;
});

test("as a script and as a module there is one of everything", { timeout: 2 * PATIENCE }, async (t) => {
  const page = await openPage(t, browser, `${family.url}/static/both.html`);
  const same = await page.evaluate(async () => {
    const module = await import("/static/shmooze.mjs");
    const settings = await shmooze.ready;
    return [module.Endpoint === Endpoint, module.endpoints === endpoints, settings === settings_data, settings.name];
  });
  assert.deepEqual(same, [true, true, true, "shmooze example"]);

  const other = await openPage(t, browser, `${family.url}/static/empty.html`);
  const late = await other.evaluate(async () => {
    const module = await import("/static/shmooze.mjs");
    const before = "Endpoint" in window;
    const script = document.createElement("script");
    script.src = "/static/shmooze.js";
    script.dataset.base = "/";
    await new Promise((resolve) => {
      script.onload = resolve;
      document.head.append(script);
    });
    await shmooze.ready;
    return [before, window.Endpoint === module.Endpoint, window.BASE_URL, Object.keys(endpoints).length];
  });
  assert.deepEqual(late, [false, true, "", 4]);
});

test("what is hidden comes back as it was shown", { timeout: 2 * PATIENCE }, async (t) => {
  const page = await openPage(t, browser, `${family.url}/static/both.html`);
  const shown = await page.evaluate(async () => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(".disconnect-show { display: none } .grid { display: grid }");
    document.adoptedStyleSheets = [sheet];
    const make = (name, display = "", hidden = false) => {
      const element = document.createElement(name === "show" ? "p" : "div");
      element.className = name === "show" ? "disconnect-show" : "disconnect-hide";
      element.style.display = display;
      element.hidden = hidden;
      document.body.append(element);
      return element;
    };
    const elements = [make("show"), make("show", "none"), make("hide"), make("hide", "flex"), make("hide", "", true)];
    elements[2].classList.add("grid");
    const displays = () => elements.map((element) => getComputedStyle(element).display);
    const all = [];
    for (const change of [regainConnection, lostConnection, lostConnection, regainConnection, regainConnection, lostConnection]) {
      change();
      all.push(displays().join(" "));
    }
    return all;
  });
  const [alive, dead] = ["none none grid flex block", "block block none none none"];
  assert.deepEqual(shown, [alive, dead, dead, alive, alive, dead]);
});
