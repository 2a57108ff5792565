// What the gateway lets a page do, in Chromium: the first page needs no more, and what is put into it does nothing.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";

import { openPage, startBrowser } from "../support/browser.js";
import { PATIENCE, makeFamily } from "../support/family.js";

/** A page of the old kind, and one that frames it. */
const texts = {
  "inline.html": `<!doctype html><title>Inline</title><link rel="icon" href="/static/icon.svg"><p style="color: rgb(1, 2, 3)" id="said">-</p>
    <script>document.getElementById("said").textContent = "it ran";</script>`,
  "frame.html": `<!doctype html><title>Frame</title><link rel="icon" href="/static/icon.svg"><iframe src="inline.html"></iframe>`,
};
const LENIENT = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; frame-ancestors 'self'";
const FORBIDDEN = { expected: [/Content Security Policy/] };

let browser;
let family;
let lenient;

before(async () => {
  browser = await startBrowser();
  family = await makeFamily({ texts });
  lenient = await makeFamily({
    texts,
    change(settings) {
      settings.gateway = { ...settings.gateway, content_security_policy: LENIENT };
    },
  });
  await family.start();
  await lenient.start();
});

after(async () => {
  await browser?.close();
  await family?.end();
  await lenient?.end();
});

const violations = (page) => page.evaluate(() => window.violations);

test("policy: the first page does nothing that it forbids", { timeout: 2 * PATIENCE }, async (t) => {
  const { headers } = await fetch(family.url);
  assert.match(headers.get("content-security-policy"), /^default-src 'self';/);
  assert.doesNotMatch(headers.get("content-security-policy"), /unsafe/);
  const page = await openPage(t, browser, `${family.url}/`, { expected: [/404|405|502/] });
  await page.locator("#link.up").waitFor();
  await family.commands("queue", ["First", "Second"].map((title) => ({ cmd: "add", args: { type: "slides", args: { title, slides: "a|b" } } })));
  const items = page.locator("section.queue ol.items > .item");
  await items.nth(1).waitFor();
  await items.first().locator(".time").waitFor();
  await items.nth(1).locator(".remove").click();
  await items.nth(1).locator(".undo").click();
  assert.deepEqual(await violations(page), []);
});

test("policy: what is put into the first page does not run", { timeout: 2 * PATIENCE }, async (t) => {
  const page = await openPage(t, browser, `${family.url}/`, { expected: [/404|405|502/, ...FORBIDDEN.expected] });
  await page.locator("#link.up").waitFor();
  const ran = await page.evaluate(async () => {
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    document.body.insertAdjacentHTML("beforeend", `<a id="trap" onclick="window.ran = true">a</a>`);
    document.getElementById("trap").click();
    const elsewhere = document.createElement("img");
    const failed = new Promise((resolve) => elsewhere.addEventListener("error", resolve));
    elsewhere.src = "http://elsewhere.example/secret.png";
    document.body.append(elsewhere);
    await failed;
    return Boolean(window.ran);
  });
  assert.equal(ran, false);
  assert.deepEqual((await violations(page)).sort(), ["img-src", "script-src-attr", "script-src-elem"]);
});

test("policy: a page with scripts inline runs where the settings allow it", { timeout: 2 * PATIENCE }, async (t) => {
  const strict = await openPage(t, browser, `${family.url}/static/inline.html`, FORBIDDEN);
  assert.equal(await strict.locator("#said").textContent(), "-");
  assert.deepEqual((await violations(strict)).sort(), ["script-src-elem", "style-src-attr"]);

  const page = await openPage(t, browser, `${lenient.url}/static/frame.html`);
  const said = page.frameLocator("iframe").locator("#said");
  await said.filter({ hasText: "it ran" }).waitFor();
  assert.equal(await said.evaluate((element) => getComputedStyle(element).color), "rgb(1, 2, 3)");
});

test("policy: no page frames another unless the settings allow it", { timeout: 2 * PATIENCE }, async (t) => {
  const page = await openPage(t, browser, `${family.url}/static/frame.html`, { expected: [/frame-ancestors|refused|ERR_BLOCKED_BY_RESPONSE/i] });
  await page.waitForLoadState("load");
  assert.equal(await page.frameLocator("iframe").locator("#said").count(), 0);
});
