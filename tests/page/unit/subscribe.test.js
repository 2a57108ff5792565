// Subscriptions: live, resumed, asked for where there are no events, and connected anew.

import assert from "node:assert/strict";
import test from "node:test";

import { Endpoint, backoff } from "shmooze";

import { settled, stopTime } from "../support/clock.js";
import { takeFetch } from "../support/server.js";

const STATE = { service: "queue", kind: "queue", revision: 5, playing: null, queue: [], background: null };

function start(t, handlers = {}, options = undefined, url = "/queue") {
  // No chance: each wait is the longest that it may be.
  t.mock.method(Math, "random", () => 0);
  const clock = stopTime(t);
  const server = takeFetch(t);
  const endpoint = new Endpoint(url, { token: "secret" });
  const heard = [];
  const note = (name) => (...what) => heard.push([name, ...what]);
  endpoint.onAlive = () => heard.push("alive");
  endpoint.onDead = () => heard.push("dead");
  const phase = (phase, error) => heard.push(error ? `${phase}: ${error.message}` : phase);
  const subscription = endpoint.subscribe({ phase, ...handlers }, options);
  t.after(() => subscription.close());
  return { clock, server, endpoint, heard, note, subscription };
}

test("live: each event reaches its handler with the state after it", async (t) => {
  const seen = [];
  const note = (name) => (data, state) => seen.push([name, data.uid ?? data.revision, state.revision]);
  const handlers = { state: note("state"), added: note("added"), log: note("log"), change: ({ revision }) => seen.push(revision) };
  const { server, heard, subscription } = start(t, handlers);
  assert.deepEqual([subscription.phase, subscription.state], ["connecting", null]);
  const request = server.next();
  assert.deepEqual([request.method, request.url], ["GET", "/queue/events"]);
  assert.equal(request.headers.get("Accept"), "text/event-stream");
  assert.equal(request.headers.get("Authorization"), "Bearer secret");
  assert.equal(request.headers.has("Last-Event-ID"), false);
  const stream = request.stream();
  stream.event("state", 5, STATE);
  stream.event("added", 6, { uid: "a", type: "echo" });
  stream.event("log", 6, { uid: "a", line: "hello" });
  stream.event("surprise", 6, { uid: "a" });
  await settled();
  assert.deepEqual(seen, [["state", 5, 5], 5, ["added", "a", 6], 6, ["log", "a", 6]]);
  assert.deepEqual(subscription.state.queue, [{ uid: "a", type: "echo" }]);
  assert.deepEqual(heard, ["live", "alive"]);
});

test("a character may be cut in two", async (t) => {
  const { server, subscription } = start(t);
  const bytes = [...new TextEncoder().encode(JSON.stringify({ ...STATE, service: "café ☕" }))];
  const body = new ReadableStream({
    start(controller) {
      for (const byte of [...new TextEncoder().encode("event: state\ndata: "), ...bytes, 10, 10]) controller.enqueue(Uint8Array.of(byte));
    },
  });
  server.next();
  globalThis.fetch = async () => new Response(body, { headers: { "Content-Type": "text/event-stream;charset=utf-8" } });
  const other = new Endpoint("/other").subscribe({});
  await settled();
  other.close();
  assert.equal(other.state.service, "café ☕");
  assert.equal(subscription.state, null);
});

test("a stream that ends is resumed after its last event, and the state is kept", async (t) => {
  const { clock, server, heard, subscription } = start(t);
  let stream = server.next().stream();
  stream.event("state", 5, STATE);
  stream.event("added", 7, { uid: "a", type: "echo" });
  await settled();
  stream.end();
  await clock.pass(499);
  assert.equal(server.requests.length, 0);
  await clock.pass(1);
  const request = server.next();
  assert.equal(request.headers.get("Last-Event-ID"), "7");
  stream = request.stream();
  await settled();
  assert.equal(subscription.phase, "live", "nothing may have happened meanwhile");
  stream.event("removed", 8, { uid: "a" });
  await settled();
  assert.deepEqual([subscription.state.revision, subscription.state.queue], [8, []]);
  assert.deepEqual(heard, ["live", "alive", "connecting", "live", "alive"], "an end in order is no death");
});

test("the server may say how soon to come back", async (t) => {
  const { clock, server } = start(t);
  const stream = server.next().stream();
  stream.write("retry: 40\n\n");
  await settled();
  stream.end();
  await clock.pass(39);
  assert.equal(server.requests.length, 0);
  await clock.pass(1);
  assert.equal(server.requests.length, 1);
});

test("attempts are ever rarer up to a ceiling, and begin anew after a success", async (t) => {
  const { clock, server, heard } = start(t);
  const waits = [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    server.next().fail("refused");
    await settled();
    const [wait] = clock.pending();
    waits.push(wait);
    await clock.pass(wait - 1);
    assert.equal(server.requests.length, 0);
    await clock.pass(1);
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
  assert.deepEqual(heard.slice(0, 3), ["waiting: /queue/events does not answer: refused", "dead", "connecting"]);
  const stream = server.next().stream();
  stream.event("state", 5, STATE);
  await settled();
  stream.lose();
  await settled();
  assert.deepEqual(heard.slice(-4), ["live", "alive", "waiting: network error", "dead"]);
  assert.deepEqual(clock.pending(), [500]);
});

test("one that accepts and says nothing is no success", async (t) => {
  const { clock, server } = start(t);
  const waits = [];
  for (let attempt = 0; attempt < 3; attempt += 1) {
    server.next().stream().end();
    await settled();
    waits.push(clock.pending()[0]);
    await clock.pass(waits.at(-1));
  }
  assert.deepEqual(waits, [500, 1000, 2000]);
});

test("chance takes up to half of a wait", () => {
  assert.equal(backoff(2, 500, () => 0), 2000);
  assert.equal(backoff(2, 500, () => 0.5), 1500);
  assert.ok(backoff(2, 500, () => 0.999) > 1000);
  assert.equal(backoff(2000, 500, () => 0), 15000);
});

test("a stream that is silent for a minute is lost", async (t) => {
  const { clock, server, subscription } = start(t);
  const request = server.next();
  const stream = request.stream();
  stream.event("state", 5, STATE);
  await clock.pass(59_000);
  stream.write(": still here\n\n");
  await clock.pass(59_999);
  assert.equal(subscription.phase, "live");
  await clock.pass(1);
  assert.deepEqual([subscription.phase, request.signal.aborted], ["waiting", true]);
  await clock.pass(500);
  assert.equal(server.next().headers.get("Last-Event-ID"), "5");
});

test("an event that cannot be understood makes it begin anew with a whole state", async (t) => {
  const { clock, server, heard, subscription } = start(t);
  const broken = server.next();
  const stream = broken.stream();
  stream.event("state", 5, STATE);
  stream.write("id: 6\nevent: added\ndata: {oops\n\n");
  await settled();
  assert.equal(heard.at(-2), 'waiting: /queue: event "added" cannot be understood.');
  assert.equal(broken.signal.aborted, true, "the stream is let go of");
  await clock.pass(500);
  const request = server.next();
  assert.equal(request.headers.has("Last-Event-ID"), false);
  request.stream().event("state", 9, { ...STATE, revision: 9 });
  await settled();
  assert.equal(subscription.state.revision, 9);
});

test("a token that is refused ends it, in the gateway's words", async (t) => {
  const { clock, server, heard, subscription } = start(t);
  server.next().answer({ success: false, error: "Token is not known to queue." }, 401);
  await clock.pass(60_000);
  assert.deepEqual(heard, ["closed: Token is not known to queue."]);
  assert.deepEqual([subscription.phase, server.requests.length], ["closed", 0]);
});

for (const [name, refuse] of Object.entries({
  404: (request) => request.answer("Not found.\n", 404, "text/plain"),
  405: (request) => request.answer("Method not allowed.\n", 405, "text/plain"),
  "a page": (request) => request.answer("<!doctype html>", 200, "text/html"),
})) {
  test(`where ${name} is in place of events the service is asked each second`, async (t) => {
    const states = [];
    const parameters = { echo: ["title"] };
    const { clock, server, heard, subscription } = start(t, { state: (state) => states.push(state) }, { parameters });
    refuse(server.next());
    await settled();
    const list = [{ uid: "a", type: "echo", parameters: { title: "x" } }, { uid: "b", type: "echo", parameters: {} }];
    const answer = [{ success: true, result: list }, { success: false, error: "Bad command." }, { success: true }];
    const request = server.next();
    assert.equal(request.url, "/queue");
    assert.deepEqual(request.body, ["queue", "pool", "bg"].map((cmd) => ({ cmd, args: { parameters } })));
    request.answer(answer);
    await settled();
    assert.deepEqual(states, [
      {
        service: "queue",
        kind: "queue",
        revision: null,
        playing: "a",
        queue: [{ ...list[0], state: "playing" }, { ...list[1], state: "waiting" }],
        background: null,
      },
    ]);
    await clock.pass(999);
    assert.equal(server.requests.length, 0);
    await clock.pass(1);
    server.next().answer(answer);
    await clock.pass(1000);
    assert.equal(states.length, 1, "nothing has changed");
    server.next().answer([{ success: true, result: [] }, answer[1], { success: true, result: { uid: "z", type: "clock" } }]);
    await settled();
    assert.equal(states.length, 2);
    assert.equal(subscription.state.playing, "z");
    assert.deepEqual(subscription.state.background, { uid: "z", type: "clock", state: "playing" });
    assert.deepEqual(heard, ["polling", "alive"]);
  });
}

test("a pool is asked, too", async (t) => {
  const { server, subscription } = start(t, {}, { interval: 50 }, "/api/caf%C3%A9");
  server.next().answer("", 404);
  await settled();
  const bad = { success: false, error: "Bad command." };
  server.next().answer([bad, { success: true, result: [{ uid: "a", type: "clock" }] }, bad]);
  await settled();
  assert.deepEqual(subscription.state, {
    service: "café",
    kind: "pool",
    revision: null,
    playing: null,
    pool: [{ uid: "a", type: "clock", state: "playing" }],
    background: null,
  });
});

test("when asking fails, events are tried again", async (t) => {
  const { clock, server, heard, subscription } = start(t);
  server.next().answer("", 404);
  await settled();
  server.next().answer({ success: false, error: "queue cannot be reached." }, 502);
  await settled();
  assert.deepEqual(heard, ["waiting: queue cannot be reached.", "dead"]);
  await clock.pass(500);
  const request = server.next();
  assert.equal(request.url, "/queue/events");
  request.stream().event("state", 5, STATE);
  await settled();
  assert.deepEqual(subscription.state, STATE);
  assert.deepEqual(heard.slice(2), ["connecting", "live", "alive"]);
});

test("a service that is neither queue nor pool and has no events is told at once", async (t) => {
  const { clock, server, heard } = start(t, {}, {}, "/volume");
  server.next().answer("", 404);
  await settled();
  const bad = { success: false, error: "Bad command." };
  server.next().answer([bad, bad, bad]);
  await clock.pass(60_000);
  assert.deepEqual(heard, ["closed: /volume offers no events and is neither queue nor pool: Bad command."]);
  assert.equal(server.requests.length, 0);
});

test("close ends the stream, and nothing is heard afterwards", async (t) => {
  const states = [];
  const { clock, server, heard, subscription } = start(t, { change: (state) => states.push(state) });
  const request = server.next();
  const stream = request.stream();
  stream.event("state", 5, STATE);
  await settled();
  subscription.close();
  subscription.close();
  await clock.pass(60_000);
  assert.equal(request.signal.aborted, true);
  assert.deepEqual([states.length, heard, server.requests.length], [1, ["live", "alive", "closed"], 0]);
  assert.deepEqual(clock.pending(), [], "no timer is left");
});

test("a handler may close it", async (t) => {
  const { clock, server, heard, subscription } = start(t, { state: () => subscription.close(), added: () => heard.push("added") });
  const stream = server.next().stream();
  stream.event("state", 5, STATE);
  stream.event("added", 6, { uid: "a", type: "echo" });
  stream.end();
  await settled();
  assert.deepEqual([heard, clock.pending()], [["live", "alive", "closed"], []]);

  const phase = (phase) => phase === "waiting" && other.close();
  const other = new Endpoint("/queue").subscribe({ phase });
  server.next().fail("refused");
  await settled();
  assert.deepEqual([other.phase, clock.pending()], ["closed", []]);
});

test("close ends the asking and the waiting, too", async (t) => {
  const { clock, server, subscription } = start(t);
  server.next().answer("", 404);
  await settled();
  const asked = server.next();
  subscription.close();
  asked.answer([{ success: true, result: [] }, { success: false }, { success: true }]);
  await clock.pass(60_000);
  assert.equal(subscription.state, null);

  const other = new Endpoint("/queue").subscribe({});
  server.next().fail("refused");
  await settled();
  other.close();
  await clock.pass(60_000);
  assert.deepEqual([server.requests.length, clock.pending()], [0, []]);
});

test("a signal closes it, even one that has been given already", async (t) => {
  const abort = new AbortController();
  const { server, heard, endpoint } = start(t, {}, { signal: abort.signal });
  const request = server.next();
  abort.abort();
  await settled();
  assert.deepEqual([heard, request.signal.aborted], [["closed"], true]);
  assert.equal(endpoint.subscribe({}, { signal: abort.signal }).phase, "closed");
  assert.equal(server.requests.length, 0);
});

test("a handler that throws is shown and stops nothing", async (t) => {
  const lines = [];
  t.mock.method(console, "error", (line) => lines.push(String(line)));
  const { server, subscription } = start(t, {
    state() {
      throw new Error("mine");
    },
  });
  const stream = server.next().stream();
  stream.event("state", 5, STATE);
  stream.event("added", 6, { uid: "a", type: "echo" });
  await settled();
  assert.deepEqual([subscription.phase, subscription.state.revision, lines], ["live", 6, ["Error: mine"]]);
});
