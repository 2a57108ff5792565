// What axe-core finds on a page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Fails where the page, as it is now, keeps anybody out. */
export async function assertAccessible(page) {
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    // What comes into view is half transparent until it is there.
    await Promise.all(document.getAnimations().filter(({ effect }) => effect.getComputedTiming().iterations < 9).map(({ finished }) => finished));
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map(({ html, any }) => `${html}\n    ${any.map(({ message }) => message)}`).join("\n  ")}`);
  });
  assert.deepEqual(violations, [], violations.join("\n"));
}
