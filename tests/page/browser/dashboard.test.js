// The first page in Chromium, as people use it.

import assert from "node:assert/strict";
import { join } from "node:path";
import test, { after, afterEach, before } from "node:test";

import { assertAccessible } from "../support/accessibility.js";
import { openPage, picture, startBrowser } from "../support/browser.js";
import { PATIENCE, makeFamily, programs } from "../support/family.js";

/** A service without events is 404 or 405, one that is away 502. */
const EXPECTED = { expected: [/404|405|502/] };

let family;
let browser;

before(async () => {
  family = await makeFamily({
    queueApart: true,
    change({ services: { queue } }) {
      queue.modules.tiny = { process: [join(programs, "examples/tiny")], title: "Tiny", args: { n: { type: "integer" } } };
      // Long enough to be seen.
      Object.assign(queue.modules.problem.timeouts, { exit: 1500, terminate: 1500 });
    },
  });
  browser = await startBrowser();
  await family.start("run");
  await family.start("queue");
});

after(async () => {
  await browser?.close();
  await family?.end();
});

afterEach(async () => {
  const { result: queue } = await family.command("queue", "queue");
  const { result: background } = await family.command("queue", "bg");
  const { result: pool } = await family.command("pool", "pool");
  await family.command("queue", "rm", { uids: [...(queue ?? []), background].filter(Boolean).map(({ uid }) => uid) });
  await family.command("pool", "rm", { uids: pool.map(({ uid }) => uid) });
});

/** Opens it; answers with the page and its cards of queue and pool. */
async function open(t, shown = {}) {
  const page = await openPage(t, browser, `${family.url}/`, { ...EXPECTED, ...shown });
  await page.locator("#link.up").waitFor();
  const [queue, pool] = ["queue", "pool"].map((name) => page.locator(`section.${name}`));
  await Promise.all([queue.waitFor(), pool.waitFor()]);
  return { page, queue, pool, items: queue.locator("ol.items > .item") };
}

async function add(titles) {
  const commands = titles.map((title) => ({ cmd: "add", args: { type: "slides", args: { title, slides: "a|b|c", seconds: 100 } } }));
  return (await family.commands("queue", commands)).map(({ result }) => result.uid);
}

/** Waits until the queue shows these titles, in this order. */
async function shows(page, titles) {
  const wanted = titles.join("|");
  await page.waitForFunction(
    (wanted) => [...document.querySelectorAll("section.queue > ol .title")].map((title) => title.textContent).join("|") === wanted,
    wanted,
  );
}

test("adding by the form that the type declares", { timeout: 2 * PATIENCE }, async (t) => {
  const { page, queue, items } = await open(t);
  const form = queue.getByRole("form", { name: "Add: queue" });
  await form.getByLabel("Type").selectOption({ label: "Slide show" });
  assert.equal(await form.getByLabel("Seconds").inputValue(), "5", "the default");
  await form.getByLabel("Slides").fill("One|Two");
  await form.getByLabel("Seconds").fill("60");
  await form.getByLabel("Title").fill("A show");
  await form.getByRole("button", { name: "Add" }).click();
  await shows(page, ["A show"]);
  await items.first().locator(".state", { hasText: "playing" }).waitFor();
  assert.equal(await form.getByLabel("Title").inputValue(), "", "ready for the next");
  const { result } = await family.command("queue", "queue", { parameters: { slides: ["duration", "title"] } });
  assert.deepEqual(result[0].parameters, { duration: 120, title: "A show" });

  // A refusal is shown, and what was filled in stays.
  await form.getByLabel("Type").selectOption({ label: "Echo" });
  await form.getByLabel("Refuse").fill("not today");
  await form.getByRole("button", { name: "Add" }).click();
  await page.getByRole("alert").getByText("queue: not today").waitFor();
  assert.equal(await form.getByLabel("Refuse").inputValue(), "not today");
  await assertAccessible(page);
});

test("what plays has its own controls", { timeout: 2 * PATIENCE }, async (t) => {
  await add(["A show"]);
  const { page, items } = await open(t);
  const item = items.first();
  await item.getByRole("button", { name: "Pause" }).click();
  await item.locator(".state", { hasText: "paused" }).waitFor();
  await item.getByRole("slider").fill("150");
  await item.locator(".time", { hasText: "2:30 / 5:00" }).waitFor();
  assert.equal(await item.getByRole("button", { name: "Pause" }).isVisible(), false);
  await item.getByRole("button", { name: "Resume" }).click();
  await item.locator(".state", { hasText: "playing" }).waitFor();
  await item.getByText("Details").click();
  await item.getByRole("row", { name: "title A show" }).waitFor();
  await item.locator("dd", { hasText: "MiB" }).waitFor();
  await item.locator("dd", { hasText: /^\d+ %$/ }).waitFor();
  await picture(page, "dashboard details");
  await assertAccessible(page);
});

test("reordering by drag and by keyboard", { timeout: 2 * PATIENCE }, async (t) => {
  await add(["one", "two", "three", "four"]);
  const { page, items } = await open(t, { viewport: { width: 800, height: 1000 } });
  await shows(page, ["one", "two", "three", "four"]);
  const grip = (at) => items.nth(at).locator(".grip");
  const center = async (locator) => {
    const { x, y, width, height } = await locator.boundingBox();
    return [x + width / 2, y + height / 2];
  };
  const [x, y] = await center(grip(3));
  const [, top] = await center(items.nth(1));
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x, (y + top) / 2, { steps: 4 });
  await page.mouse.move(x, top - 8, { steps: 4 });
  await page.locator(".item.is-before").waitFor();
  await picture(page, "dashboard drag");
  await page.mouse.up();
  await shows(page, ["one", "four", "two", "three"]);

  await grip(1).focus();
  await page.keyboard.press("End");
  await shows(page, ["one", "two", "three", "four"]);
  await page.locator("#said", { hasText: "four is 4 of 4." }).waitFor({ state: "attached" });
  await page.keyboard.press("ArrowUp");
  await shows(page, ["one", "two", "four", "three"]);
  await page.locator("#said", { hasText: "four is 3 of 4." }).waitFor({ state: "attached" });
  await page.keyboard.press("Home");
  await shows(page, ["four", "one", "two", "three"]);
  await items.first().locator(".state", { hasText: "playing" }).waitFor();
  const { result } = await family.command("queue", "queue", { parameters: { slides: ["title"] } });
  assert.deepEqual(result.map(({ parameters }) => parameters.title), ["four", "one", "two", "three"]);
});

test("a removal can be undone until it is carried out", { timeout: 3 * PATIENCE }, async (t) => {
  await add(["one", "two", "three"]);
  const { page, items } = await open(t);
  // The page's time stands still while the removals can be undone.
  await page.clock.install();
  await page.reload();
  await shows(page, ["one", "two", "three"]);
  await page.clock.pauseAt(new Date(Date.now() + 60_000));
  await items.nth(1).getByRole("button", { name: "Remove two" }).click();
  await items.nth(2).getByRole("button", { name: "Remove three" }).click();
  await items.nth(1).locator(".undo").waitFor();
  await picture(page, "dashboard undo");
  await items.nth(1).getByRole("button", { name: "Undo the removal of two" }).click();
  await page.clock.runFor(4900);
  await shows(page, ["one", "two", "three"]);
  await page.clock.resume();
  await shows(page, ["one", "two"]);
  assert.equal(await items.nth(1).locator(".undo").isVisible(), false);
  // What plays is stopped at once.
  await items.first().getByRole("button", { name: "Stop one" }).click();
  await shows(page, ["two"]);
  await items.first().locator(".state", { hasText: "playing" }).waitFor();
});

test("an ending shows how far it has come", { timeout: 3 * PATIENCE }, async (t) => {
  const { page, queue, items } = await open(t);
  await family.command("queue", "add", { type: "problem", args: { noquit: true, noterm: true } });
  await items.first().getByRole("button", { name: /^Stop/ }).click();
  const ending = queue.locator(".ends");
  // The last, SIGKILL, is over in a moment.
  for (const step of ["exit", "terminate"]) {
    await ending.locator(`[data-step=${step}][aria-current=step]`).waitFor();
  }
  await picture(page, "dashboard ending");
  await assertAccessible(page);
  await ending.waitFor({ state: "detached" });
  const { result } = await family.command("queue", "history", { limit: 1 });
  assert.equal(result[0].reached, "kill");
});

test("a background and a pool", { timeout: 2 * PATIENCE }, async (t) => {
  const { page, queue, pool } = await open(t, { viewport: { width: 1280, height: 800 } });
  await queue.getByText("Set background").first().click();
  await queue.getByRole("form", { name: "Set background: queue" }).getByRole("button").click();
  const background = queue.locator(".background .item");
  await background.locator(".more", { hasText: /\d\d:\d\d:\d\d/ }).waitFor();
  await pool.getByRole("form", { name: "Add: pool" }).getByRole("button").click();
  const tile = pool.locator(".item");
  await tile.locator(".more", { hasText: /\d\d:\d\d:\d\d/ }).waitFor();
  await add(["Summer holidays", "The hackspace", "Opening hours"]);
  await queue.locator(".background .state", { hasText: /suspended|waiting/ }).waitFor();
  // A command with arguments is a form.
  await tile.getByText("Details").click();
  await tile.getByLabel("Format").fill("at %H");
  await tile.getByRole("button", { name: "Format" }).click();
  await tile.locator(".more", { hasText: /^at \d\d$/ }).waitFor();
  await tile.getByText("Details").click();
  await picture(page, "dashboard");
  await assertAccessible(page);
  await tile.getByRole("button", { name: /^Stop/ }).click();
  await tile.waitFor({ state: "detached" });
  await background.getByRole("button", { name: /^Remove/ }).click();
  await background.waitFor({ state: "detached" });
});

test("a service that is killed and comes back", { timeout: 4 * PATIENCE }, async (t) => {
  const [uid] = await add(["A show"]);
  const { page, queue, items } = await open(t);
  await shows(page, ["A show"]);
  await family.stop("queue");
  await queue.getByRole("alert").getByText("Connection lost").waitFor();
  await page.locator("#link.down", { hasText: "Connection lost" }).waitFor();
  await picture(page, "dashboard lost");
  await assertAccessible(page);
  await family.start("queue");
  await page.locator("#link.up", { hasText: "Live" }).waitFor();
  assert.equal(await queue.locator(".lost").isVisible(), false);
  await page.waitForFunction((uid) => !document.querySelector(`[data-uid="${uid}"]`), uid);
  await add(["The next"]);
  await items.first().locator(".title", { hasText: "The next" }).waitFor();
});

test("two hundred in the queue", { timeout: 4 * PATIENCE }, async (t) => {
  const { page, items } = await open(t);
  const commands = Array.from({ length: 200 }, (_, n) => ({ cmd: "add", args: { type: "tiny", args: { n } } }));
  const added = await family.commands("queue", commands);
  assert.ok(added.every(({ success }) => success));
  await page.waitForFunction(() => document.querySelectorAll("section.queue > ol .item").length === 200);
  const last = added[199].result.uid;
  await page.locator(`[data-uid="${last}"] .grip`).focus();
  await page.keyboard.press("Home");
  await page.waitForFunction((uid) => document.querySelector("section.queue > ol .item").dataset.uid === uid, last);
  await items.first().locator(".is-playing, .playing").first().waitFor();
  const { result } = await family.command("queue", "queue");
  assert.equal(result[0].uid, last);
  // What is not touched is not drawn anew.
  const kept = await page.evaluate(async (uid) => {
    const before = document.querySelector(`section.queue > ol .item:nth-child(100)`);
    before.marked = true;
    return document.querySelector(`section.queue > ol .item:nth-child(100)`).marked && before.dataset.uid !== uid;
  }, last);
  assert.ok(kept);
});

for (const [name, shown] of Object.entries({
  phone: { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  dark: { viewport: { width: 1280, height: 800 }, colorScheme: "dark" },
  wall: { viewport: { width: 2560, height: 1440 } },
})) {
  test(`as ${name}`, { timeout: 2 * PATIENCE }, async (t) => {
    await add(["Sunday morning, with a title that is longer than any screen is wide", "Second", "Third"]);
    await family.command("queue", "set_bg", { type: "clock" });
    await family.command("pool", "add", { type: "clock" });
    await family.command("pool", "add", { type: "echo", args: { title: "Echo" } });
    const { page, items, pool } = await open(t, shown);
    await items.nth(2).waitFor();
    await pool.locator(".item").nth(1).waitFor();
    await items.first().locator(".time").waitFor();
    await assertAccessible(page);
    await picture(page, `dashboard ${name}`);
    const isWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    assert.equal(isWide, false, "nothing sticks out");
    // As large as a finger wants it (WCAG 2.2, 2.5.8).
    const small = await page.evaluate(() =>
      [...document.querySelectorAll("button, input, select, summary")]
        .filter((element) => element.checkVisibility())
        .map((element) => [element.outerHTML.slice(0, 80), element.getBoundingClientRect()])
        .filter(([, { width, height }]) => width < 24 || height < 24)
        .map(([html]) => html),
    );
    assert.deepEqual(small, []);
  });
}
