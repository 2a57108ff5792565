// A real Chromium.

import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { PATIENCE, root } from "./family.js";

const pictures = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "page");

/** Starts it. */
export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Its sandbox refuses root.
    chromiumSandbox: process.getuid() !== 0,
    args: ["--disable-gpu", "--disable-quic"],
    timeout: PATIENCE,
  });
}

/** The pictures that README.md shows: made anew with `SHMOOZE_BLESS=1`. */
const SHOWN = ["dashboard", "dashboard phone"];

/** Keeps a picture of a page as it is now, in `target/page/`. */
export async function picture(page, name) {
  mkdirSync(pictures, { recursive: true });
  const file = `${name.replaceAll(/[^a-z0-9]+/gi, "-")}.png`;
  await page.screenshot({ path: join(pictures, file) });
  if (process.env.SHMOOZE_BLESS && SHOWN.includes(name)) copyFileSync(join(pictures, file), join(root, "docs/pictures", file));
}

/**
 * Opens a page. When the test ends a picture of it is taken, and it must not have complained of anything but of what was
 * `expected`: what the gateway's policy forbids is a complaint, too. What else is given is for the browser: a viewport, a colour scheme.
 */
export async function openPage(t, browser, url, { expected = [], ...shown } = {}) {
  const context = await browser.newContext({ viewport: { width: 800, height: 600 }, ...shown });
  await context.addInitScript(() => {
    window.violations = [];
    addEventListener("securitypolicyviolation", ({ effectiveDirective }) => window.violations.push(effectiveDirective));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  t.after(async () => {
    await picture(page, `end of ${t.name}`);
    await context.close();
    const unexpected = complaints.filter((text) => !expected.some((pattern) => pattern.test(text)));
    if (unexpected.length > 0) throw new Error(`the page complains:\n${unexpected.join("\n")}`);
  });
  await page.goto(url);
  return page;
}
