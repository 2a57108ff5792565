// The folder static/ as a package of npm, and its types.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import * as library from "shmooze";
import ts from "typescript";

const here = fileURLToPath(new URL("../", import.meta.url));
const root = join(here, "../..");
const manifest = JSON.parse(readFileSync(join(root, "static/package.json"), "utf8"));

test("the package holds the library and nothing else", () => {
  const options = { cwd: join(root, "static"), encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] };
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--offline"], options));
  assert.deepEqual(
    packed.files.map(({ path }) => path).sort(),
    ["package.json", "shmooze.d.ts", "shmooze.js", "shmooze.mjs"],
  );
  assert.equal(packed.name, "shmooze");
});

test("it has the version of the programs", () => {
  const [, version] = readFileSync(join(root, "Cargo.toml"), "utf8").match(/^version = "(.*)"$/m);
  assert.equal(manifest.version, version);
});

test("it needs no other package", () => {
  assert.deepEqual([manifest.dependencies, manifest.peerDependencies], [undefined, undefined]);
});

test("a program in TypeScript is checked against the types", () => {
  const { config } = ts.readConfigFile(join(here, "types/tsconfig.json"), ts.sys.readFile);
  const { options, fileNames } = ts.parseJsonConfigFileContent(config, ts.sys, join(here, "types"));
  const program = ts.createProgram(fileNames, options);
  const found = ts.getPreEmitDiagnostics(program);
  assert.deepEqual(found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n")), []);

  // What is declared is there, and the other way round.
  const checker = program.getTypeChecker();
  const declarations = program.getSourceFiles().find(({ fileName }) => fileName.endsWith("/static/shmooze.d.ts"));
  const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(declarations));
  const values = symbols.filter(({ flags }) => flags & ts.SymbolFlags.Value).map(({ name }) => name);
  assert.deepEqual(values.sort(), Object.keys(library).sort());
});
