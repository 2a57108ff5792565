// shmooze-run with the settings of the example, on free ports, and with a folder of pages of the test's own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../../", import.meta.url));
/** Where the programs are. */
export const programs = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug");

/** Nothing that is waited for takes longer, in ms, unless something is wrong. */
export const PATIENCE = 30_000;

/** A port that nobody uses now and nobody is given who asks for any: those are from another range. */
let last = 10_000 + (process.pid % 250) * 80;
async function freePort() {
  for (;;) {
    last += 1;
    const server = createServer();
    const isFree = await new Promise((resolve) => {
      server.once("error", () => resolve(false));
      server.listen({ port: last, host: "localhost" }, () => resolve(true));
    });
    if (!isFree) continue;
    server.close();
    await once(server, "close");
    return last;
  }
}

/**
 * What serves `files`, `{path below /static/: file or folder}`, beside those of `static/`. With `queueApart` the queue is a
 * process of its own, started by `start("queue")`. What else the settings shall be, `change(settings)` says.
 */
export async function makeFamily({ files = {}, texts = {}, queueApart = false, change = () => {} } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "shmooze-page-"));
  const pages = join(folder, "static");
  cpSync(join(root, "static"), pages, { recursive: true });
  for (const [path, file] of Object.entries(files)) {
    mkdirSync(join(pages, path, ".."), { recursive: true });
    cpSync(file, join(pages, path), { recursive: true });
  }
  for (const [path, text] of Object.entries(texts)) writeFileSync(join(pages, path), text);

  const examples = join(root, "examples");
  const text = readFileSync(join(examples, "settings.json"), "utf8").replaceAll("${SHMOOZE_SETTINGS_DIR}", examples);
  const settings = JSON.parse(text);
  for (const name of Object.keys(settings.ports)) settings.ports[name] = await freePort();
  Object.assign(settings, { static_path: pages, log_database_path: join(folder, "log.sqlite3"), bg_color: "#123456" });
  settings.public.push("bg_color");
  // A busy machine is no fault of a module's.
  for (const { modules, backgrounds } of Object.values(settings.services)) {
    for (const type of [modules, backgrounds].flatMap((types) => Object.values(types ?? {}))) type.timeouts = { connect: 20_000, command: 10_000 };
  }
  change(settings);
  writeFileSync(join(folder, "queue.json"), JSON.stringify(settings));
  if (queueApart) delete settings.services.queue;
  writeFileSync(join(folder, "run.json"), JSON.stringify(settings));

  const url = `http://localhost:${settings.ports.wsgi}`;
  const running = new Map();
  const family = {
    url,

    /** Starts `run` or `queue`, and waits until it serves. */
    async start(name = "run") {
      // Should this test be killed, they end as well.
      const words = ["--pdeathsig", "TERM", join(programs, `shmooze-${name}`), "--settings", join(folder, `${name}.json`)];
      const env = { ...process.env, SHMOOZE_SCOPES: "process-groups" };
      const child = spawn("setpriv", words, { env, stdio: ["ignore", "pipe", "pipe"] });
      running.set(name, child);
      const said = [];
      let timer;
      const serves = new Promise((resolve, reject) => {
        const fail = (why) => reject(new Error(`shmooze-${name} ${why}; it said:\n${said.join("\n")}`));
        timer = setTimeout(fail, PATIENCE, "does not serve");
        child.once("error", reject);
        child.once("exit", () => fail("ended"));
        const hear = (line) => {
          said.push(line);
          if (line.includes(name === "run" ? " is open at " : " serves ")) resolve();
        };
        for (const stream of [child.stdout, child.stderr]) createInterface(stream).on("line", hear);
      });
      await serves.finally(() => clearTimeout(timer));
    },

    /** Ends the whole in order, or the queue that is apart as a crash would, and waits for the end. */
    async stop(name = "run", signal = name === "run" ? "SIGTERM" : "SIGKILL") {
      const child = running.get(name);
      running.delete(name);
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, "exit");
        child.kill(signal);
        await ended;
      }
      // Others may have inherited them.
      child.stdout.destroy();
      child.stderr.destroy();
    },

    /** Sends a command as a program would. */
    command: (service, cmd, args) => family.commands(service, { cmd, args }),

    /** Sends a list of commands, or one, as a program would. */
    async commands(service, commands) {
      const headers = { "Content-Type": "application/json" };
      const response = await fetch(`${url}/${service}`, { method: "POST", headers, body: JSON.stringify(commands) });
      return response.json();
    },

    /** Ends everything in order and clears up. */
    async end() {
      for (const name of [...running.keys()]) await family.stop(name, "SIGTERM");
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return family;
}
