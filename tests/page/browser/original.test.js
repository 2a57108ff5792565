// A page written for the original, with jQuery, Underscore, underscore.string and Backbone, served by shmooze-run.

import assert from "node:assert/strict";
import { join } from "node:path";
import test, { after, before } from "node:test";

import { openPage, picture, startBrowser } from "../support/browser.js";
import { PATIENCE, makeFamily, root } from "../support/family.js";

const here = join(root, "tests/page");
const modules = join(here, "node_modules");
const files = {
  original: join(here, "pages/original"),
  "original/assets/jquery.js": join(modules, "jquery/dist/jquery.js"),
  "original/assets/underscore.js": join(modules, "underscore/underscore.js"),
  "original/assets/underscore.string.js": join(modules, "underscore.string/lib/underscore.string.js"),
  "original/assets/backbone.js": join(modules, "backbone/backbone.js"),
};

let browser;
let family;
let apart;

before(async () => {
  browser = await startBrowser();
  family = await makeFamily({ files });
  apart = await makeFamily({ files, queueApart: true });
  await family.start();
});

after(async () => {
  await browser?.close();
  await family?.end();
  await apart?.end();
});

/** Opens the page with an empty queue; `lists` will be what it sends to the queue. */
async function open(t, { command, url }, options) {
  const { result } = await command("queue", "queue");
  await command("queue", "rm", { uids: result.map(({ uid }) => uid) });
  // The application's own service starts beside the others.
  for (const end = Date.now() + PATIENCE; !(await command("volume", "get_volume")).success; ) assert(Date.now() < end);
  const page = await openPage(t, browser, `${url}/static/original/index.html`, options);
  await page.locator("#type option").first().waitFor({ state: "attached" });
  const lists = [];
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/queue")) lists.push(request.postDataJSON());
  });
  return { page, lists };
}

async function add(page, type, name) {
  await page.selectOption("#type", type);
  await page.fill("#name", name);
  await page.click("#add [type=submit]");
}

const item = (page, text) => page.locator("#queue li", { hasText: text });

test("original: settings, colours and other services", { timeout: 2 * PATIENCE }, async (t) => {
  const { page } = await open(t, family);
  await page.locator("#volume", { hasText: "050 at shmooze example" }).waitFor();
  await page.locator("h1.title", { hasText: "shmooze example" }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.style.backgroundColor), "rgb(18, 52, 86)");
  assert.deepEqual(await page.evaluate(() => Object.keys(endpoints).sort()), ["nlp", "pool", "queue", "volume"]);
  const filtered = await page.evaluate(() => _.objectFilter({ a: 1, b: 2 }, (value) => value > 1));
  assert.deepEqual(filtered, { b: 2 });
});

test("original: add, ask, tell, remove", { timeout: 2 * PATIENCE }, async (t) => {
  const { page, lists } = await open(t, family);
  await add(page, "echo", "first");
  await item(page, "First | playing").waitFor();
  await add(page, "echo", "second");
  await item(page, "Second | initialized").waitFor();
  const after = lists.map((list) => list.map(({ cmd }) => cmd)).filter((names) => names.includes("add"));
  assert.deepEqual(after.map((names) => names[names.indexOf("add") + 1]), ["queue", "queue"], "in one list, in order");

  await item(page, "Second").locator(".ask").click();
  await item(page, "it is initialized").waitFor();
  await item(page, "Second").locator(".paint").click();
  await item(page, "Second | initialized | blue").waitFor();
  await picture(page, "original-queue");
  await item(page, "First").locator(".rm").click();
  await item(page, "Second | playing").waitFor();
  assert.equal(await page.locator("#queue li").count(), 1);
  assert.equal(await page.locator("#error").textContent(), "");
});

test("original: each error reaches its own callback", { timeout: 2 * PATIENCE }, async (t) => {
  const { page, lists } = await open(t, family);
  await add(page, "echo", "only");
  await item(page, "Only | playing").waitFor();
  await item(page, "Only").locator(".fail").click();
  await page.locator("#error", { hasText: "Not in this weather." }).waitFor();
  await picture(page, "original-error");

  lists.length = 0;
  const heard = await page.evaluate(async () => {
    const heard = [];
    const note = (name) => [(result) => heard.push([name, "answer", result?.length]), (error) => heard.push([name, error.message])];
    queue_endpoint.deferQuery({ cmd: "nonsense" }, ...note("a"));
    queue_endpoint.deferQuery({ cmd: "queue" }, ...note("b"));
    queue_endpoint.deferQuery({ cmd: "ask_module", args: { uid: "00000000-0000-0000-0000-000000000000", parameters: [] } }, ...note("c"));
    await new Promise((resolve) => queue_endpoint.runQueries(resolve));
    return heard;
  });
  assert.deepEqual(heard, [["a", "Bad command."], ["b", "answer", 1], ["c", "Module identifier not in queue"]]);
  assert.ok(lists.some((list) => list.length >= 3 && list.at(-3).cmd === "nonsense"), "they went out as one list");
});

test("original: lost and regained", { timeout: 4 * PATIENCE }, async (t) => {
  await apart.start("run");
  await apart.start("queue");
  const { page } = await open(t, apart, { expected: [/502|ERR_/] });
  await add(page, "echo", "before");
  await item(page, "Before | playing").waitFor();
  assert.deepEqual(await page.evaluate(() => [calls.alive > 0, calls.dead]), [true, 0]);
  assert.equal(await page.locator("#lost").isVisible(), false);

  // The queue is killed: the gateway answers, but not for it. Then everything is gone.
  for (const name of ["queue", "run"]) {
    await apart.stop(name);
    await page.locator("#lost").waitFor({ state: "visible" });
    await page.locator("#content").waitFor({ state: "hidden" });
    await picture(page, `original-lost-${name}`);
    assert.ok(await page.evaluate(() => calls.dead > 0 && !queue_endpoint.alive));

    await apart.start(name);
    await page.locator("#content").waitFor({ state: "visible" });
    await page.locator("#lost").waitFor({ state: "hidden" });
    await page.waitForFunction(() => queue_endpoint.alive);
    await add(page, "echo", `after ${name}`);
    await item(page, `After ${name}`).waitFor();
    await page.evaluate(() => (calls.dead = 0));
  }
  assert.equal(await item(page, "Before").count(), 0, "what the queue had before it was killed is gone");
});
