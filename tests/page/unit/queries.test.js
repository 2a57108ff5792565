// Commands: what goes out in which list, and whose answer is whose.

import assert from "node:assert/strict";
import test from "node:test";

import { Endpoint, ShmoozeError, connect, endpoints, settings_data } from "shmooze";

import { settled, stopTime } from "../support/clock.js";
import { takeFetch } from "../support/server.js";

function start(t, options) {
  const clock = stopTime(t);
  const server = takeFetch(t);
  const endpoint = new Endpoint("/queue", options);
  const heard = [];
  endpoint.onAlive = () => heard.push("alive");
  endpoint.onDead = () => heard.push("dead");
  const note = (name) => (what) => heard.push(what === undefined ? name : [name, what instanceof Error ? what.message : what]);
  return { clock, server, endpoint, heard, note };
}

/** What is written to the console meanwhile. */
function takeConsole(t) {
  const lines = [];
  t.mock.method(console, "error", (line) => lines.push(String(line)));
  return lines;
}

test("all commands of one turn go out as one list in their order, and each callback gets its result", async (t) => {
  const { clock, server, endpoint, heard, note } = start(t);
  endpoint.deferQuery({ cmd: "queue" }, note("first"));
  endpoint.deferQuery({ cmd: "rm", args: { uids: ["a"] } }, note("second"));
  endpoint.deferQuery({ cmd: "bg" });
  assert.equal(server.requests.length, 0, "not before the turn has ended");
  await clock.pass(0);
  const request = server.next();
  assert.deepEqual([request.method, request.url], ["POST", "/queue"]);
  assert.match(request.headers.get("Content-Type"), /^(text|application)\/json$/);
  assert.deepEqual(request.body, [{ cmd: "queue" }, { cmd: "rm", args: { uids: ["a"] } }, { cmd: "bg" }]);
  request.answer([{ success: true, result: [1] }, { success: true }, { success: true }]);
  await settled();
  assert.deepEqual(heard, ["alive", ["first", [1]], "second"]);
  assert.equal(endpoint.alive, true);
  assert.equal(server.requests.length, 0);
  assert.deepEqual(clock.pending(), [], "no timer is left");
});

test("each error reaches its own callback and no other", async (t) => {
  const { clock, server, endpoint, heard, note } = start(t);
  const lines = takeConsole(t);
  endpoint.deferQuery({ cmd: "a" }, note("a"), note("a fails"));
  endpoint.deferQuery({ cmd: "b" }, note("b"), note("b fails"));
  endpoint.deferQuery({ cmd: "c" }, note("c"));
  await clock.pass(0);
  server.next().answer([{ success: true }, { success: false, error: "No b today." }, { success: false, error: "No c." }]);
  await settled();
  assert.deepEqual(heard, ["alive", "a", ["b fails", "No b today."]]);
  assert.deepEqual(lines, ["c: No c."], "what nobody takes is shown");
});

test("what is deferred while a list is under way waits for its answer; what is forced does not", async (t) => {
  const { clock, server, endpoint } = start(t);
  endpoint.deferQuery({ cmd: "first" });
  await clock.pass(0);
  const first = server.next();
  endpoint.deferQuery({ cmd: "second" });
  endpoint.deferQuery({ cmd: "third" });
  await clock.pass(1000);
  assert.equal(server.requests.length, 0);
  endpoint.forceQuery({ cmd: "now" });
  assert.deepEqual(server.next().body.map(({ cmd }) => cmd), ["second", "third", "now"], "in their order");
  endpoint.deferQuery({ cmd: "last" });
  first.answer([{ success: true }]);
  await clock.pass(0);
  assert.equal(server.requests.length, 0, "the forced list is under way still");
});

test("what a callback defers goes out next, as one list", async (t) => {
  const { clock, server, endpoint } = start(t);
  const again = () => endpoint.deferQuery({ cmd: "again" });
  endpoint.deferQuery({ cmd: "a" }, again);
  endpoint.deferQuery({ cmd: "b" }, again);
  await clock.pass(0);
  server.next().answer([{ success: true }, { success: true }]);
  await clock.pass(0);
  assert.deepEqual(server.next().body, [{ cmd: "again" }, { cmd: "again" }]);
});

test("without an answer every error callback is called, and the next list waits half a second", async (t) => {
  const { clock, server, endpoint, heard, note } = start(t);
  endpoint.deferQuery({ cmd: "a" }, note("a"), note("a fails"));
  endpoint.deferQuery({ cmd: "b" }, note("b"), note("b fails"));
  endpoint.runQueries(note("all"), note("none"));
  server.next().fail("connection refused");
  await settled();
  const sentence = "/queue does not answer: connection refused";
  assert.deepEqual(heard, ["dead", ["a fails", sentence], ["b fails", sentence], ["none", sentence]]);
  assert.equal(endpoint.alive, false);
  heard.length = 0;
  endpoint.deferQuery({ cmd: "c" }, note("c"));
  await clock.pass(499);
  assert.equal(server.requests.length, 0);
  await clock.pass(1);
  server.next().answer([{ success: true }]);
  await settled();
  assert.deepEqual(heard, ["alive", "c"]);
});

test("runQueries calls back once all answers were", async (t) => {
  const { server, endpoint, heard, note } = start(t);
  endpoint.deferQuery({ cmd: "a" }, note("a"));
  endpoint.deferQuery({ cmd: "b" }, note("b"));
  endpoint.runQueries(note("all"), note("none"));
  server.next().answer([{ success: true }, { success: true }]);
  await settled();
  assert.deepEqual(heard, ["alive", "a", "b", "all"]);
  endpoint.runQueries(note("nothing to send"));
  await settled();
  assert.equal(server.requests.length, 0);
  assert.equal(heard.length, 4);
});

for (const [status, body, type, message, isDead] of [
  [502, { success: false, error: "queue cannot be reached." }, "text/json", "queue cannot be reached.", true],
  [504, "", "text/html", ": 504 ", true],
  [404, "Not found.\n", "text/plain; charset=utf-8", "Not found.", true],
  [401, { success: false, error: "queue takes a token." }, "text/json", "queue takes a token.", false],
  [413, { success: false, error: "Too long." }, "text/json", "Too long.", false],
]) {
  test(`status ${status} is an error in the gateway's words and ${isDead ? "a dead" : "no dead"} endpoint`, async (t) => {
    const { clock, server, endpoint, heard } = start(t);
    const failing = endpoint.query("queue");
    await clock.pass(0);
    server.next().answer(body, status, type);
    await assert.rejects(failing, { name: "ShmoozeError", status, message });
    assert.deepEqual(heard, isDead ? ["dead"] : []);
  });
}

for (const [what, body, message] of [
  ["not JSON", "<html>", "/queue does not answer in JSON."],
  ["one answer for two", [{ success: true }], "/queue does not answer each command."],
  ["an error for all", { success: false, error: "Line too long." }, "Line too long."],
  ["nothing", "null", "/queue does not answer each command."],
]) {
  test(`an answer that is ${what} is an error for each command`, async (t) => {
    const { clock, server, endpoint } = start(t);
    const failing = [endpoint.query("a"), endpoint.query("b")];
    const results = Promise.allSettled(failing);
    await clock.pass(0);
    server.next().answer(body);
    assert.deepEqual((await results).map(({ reason }) => reason.message), [message, message]);
  });
}

test("an answer is waited for no longer than 15 s", async (t) => {
  const { clock, server, endpoint, heard } = start(t);
  const failing = endpoint.query("queue");
  const rejected = assert.rejects(failing, { status: 0, message: /silent for 15 s/ });
  await clock.pass(14_999);
  assert.deepEqual(heard, []);
  await clock.pass(1);
  await rejected;
  assert.deepEqual([heard, server.next().signal.aborted], [["dead"], true]);
});

test("query is a promise of the result, or of the service's sentence", async (t) => {
  const { clock, server, endpoint } = start(t);
  const added = endpoint.query("add", { type: "echo" });
  const refused = endpoint.query("tell_module", { uid: "x", cmd: "y" });
  const silent = endpoint.query("rm", { uids: [] });
  await clock.pass(0);
  const request = server.next();
  assert.deepEqual(request.body[0], { cmd: "add", args: { type: "echo" } });
  request.answer([{ success: true, result: { uid: "u" } }, { success: false, error: "Module identifier not in queue" }, { success: true }]);
  assert.deepEqual(await added, { uid: "u" });
  await assert.rejects(refused, (error) => {
    assert(error instanceof ShmoozeError);
    assert.deepEqual([error.message, error.status], ["Module identifier not in queue", 200]);
    return true;
  });
  assert.equal(await silent, undefined);
});

test("an urgent query does not wait for the turn nor for what is under way", async (t) => {
  const { server, endpoint } = start(t);
  endpoint.query("add", { type: "slow" }, { urgent: true });
  endpoint.query("rm", { uids: ["a"] }, { urgent: true });
  assert.deepEqual(server.requests.map(({ body }) => body[0].cmd), ["add", "rm"]);
});

test("a callback that throws is shown and stops nothing", async (t) => {
  const { clock, server, endpoint, heard, note } = start(t);
  const lines = takeConsole(t);
  endpoint.onAlive = () => {
    throw new Error("mine");
  };
  endpoint.deferQuery({ cmd: "a" }, () => {
    throw new Error("yours");
  });
  endpoint.deferQuery({ cmd: "b" }, note("b"));
  await clock.pass(0);
  server.next().answer([{ success: true }, { success: true }]);
  await settled();
  assert.deepEqual([heard, lines], [["b"], ["Error: mine", "Error: yours"]]);
  endpoint.deferQuery({ cmd: "c" });
  await clock.pass(0);
  assert.equal(server.requests.length, 1);
});

test("a token goes with every request, and may change", async (t) => {
  const { server, endpoint } = start(t, { token: "first" });
  endpoint.forceQuery({ cmd: "queue" });
  endpoint.token = "second";
  endpoint.forceQuery({ cmd: "queue" });
  endpoint.token = undefined;
  endpoint.forceQuery({ cmd: "queue" });
  assert.deepEqual(server.requests.map(({ headers }) => headers.get("Authorization")), ["Bearer first", "Bearer second", null]);
});

test("connect makes an endpoint of each public port but the gateway's own", async (t) => {
  const server = takeFetch(t);
  const connecting = connect({ base: "/api", token: "secret" });
  const request = server.next();
  assert.deepEqual([request.url, request.headers.get("Authorization")], ["/api/settings.json", "Bearer secret"]);
  request.answer({ name: "Test", ports: { queue: 1, "café/1": 2, wsgi: 3 } });
  const connected = await connecting;
  assert.equal(connected.endpoints, endpoints);
  assert.equal(connected.settings_data, settings_data);
  assert.deepEqual(Object.entries(endpoints).map(([name, { url, token }]) => [name, url, token]), [
    ["queue", "/api/queue", "secret"],
    ["café/1", "/api/caf%C3%A9%2F1", "secret"],
  ]);
  assert.equal(settings_data.name, "Test");
});

test("connect without settings is an error", async (t) => {
  const server = takeFetch(t);
  const connecting = connect();
  server.next().answer("Not found.\n", 404, "text/plain");
  await assert.rejects(connecting, { status: 404, message: "Not found." });
});

test("as a module it sets no global but shmooze", () => {
  for (const name of ["Endpoint", "endpoints", "settings_data", "BASE_URL", "lostConnection"]) {
    assert.equal(name in globalThis, false, name);
  }
  assert.equal(globalThis.shmooze.Endpoint, Endpoint);
});
