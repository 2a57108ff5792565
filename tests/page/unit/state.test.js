// The local copy of a service's state: what each event makes of it.

import assert from "node:assert/strict";
import test from "node:test";

import { reduce } from "shmooze";

const module = (uid, state = "suspended") => ({ uid, type: "echo", parameters: { title: uid }, state, since: 1 });

const queue = freeze({
  service: "queue",
  kind: "queue",
  revision: 5,
  playing: "a",
  queue: [module("a", "playing"), module("b"), module("c")],
  background: module("z"),
});

function freeze(value) {
  if (value && typeof value === "object") Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}

const after = (type, data, state = queue) => reduce(state, { type, data: freeze(data), id: "6" });
const uids = (state) => state.queue.map(({ uid }) => uid).join(" ");

test("a state replaces whatever was there", () => {
  assert.equal(reduce(null, { type: "state", data: queue, id: "5" }), queue);
  assert.equal(reduce(after("removed", { uid: "a" }), { type: "state", data: queue, id: "5" }), queue);
});

test("before the first state nothing is known", () => {
  assert.equal(reduce(null, { type: "added", data: module("d"), id: "6" }), null);
});

test("each change has the revision of its event", () => {
  assert.equal(after("removed", { uid: "a" }).revision, 6);
  assert.equal(reduce(queue, { type: "removed", data: { uid: "a" }, id: "" }).revision, 5);
});

test("added comes at the end, or where it is said", () => {
  const next = after("added", module("d", "starting"));
  assert.equal(uids(next), "a b c d");
  assert.deepEqual(next.queue[3], module("d", "starting"));
  assert.equal(uids(after("added", { ...module("d"), index: 1 })), "a d b c");
  assert.equal("index" in after("added", { ...module("d"), index: 1 }).queue[1], false);
});

test("one that is added twice is there once", () => {
  assert.equal(uids(after("added", module("b"))), "a c b");
});

test("a background is added beside the list and takes the place of the old one", () => {
  const next = after("added", { ...module("y"), background: true });
  assert.equal(uids(next), "a b c");
  assert.deepEqual(next.background, module("y"));
});

test("removed leaves the list, or leaves no background", () => {
  const next = after("removed", { uid: "a", status: 0, reason: "rm" });
  assert.equal(uids(next), "b c");
  assert.equal(next.playing, null);
  assert.equal(after("removed", { uid: "b" }).playing, "a");
  assert.equal(after("removed", { uid: "z" }).background, null);
});

test("moved brings those that are named to the front", () => {
  assert.equal(uids(after("moved", { uids: ["c", "nobody", "b", "c"] })), "c b a");
  assert.equal(uids(after("moved", { uids: ["b", "c", "a"] })), "b c a");
});

test("playing and suspended are the state of the module and of the service", () => {
  const played = after("playing", { uid: "b", since: 9 });
  assert.equal(played.playing, "b");
  assert.deepEqual(played.queue[1], { ...module("b", "playing"), since: 9 });
  const suspended = after("suspended", { uid: "a" });
  assert.equal(suspended.playing, null);
  assert.deepEqual(suspended.queue[0], module("a", "suspended"));
  assert.equal(after("suspended", { uid: "b" }).playing, "a");
  assert.equal(after("playing", { uid: "z" }).background.state, "playing");
  assert.equal(after("playing", { uid: null }).playing, null);
});

test("parameters are merged and taken away", () => {
  const next = after("parameters", { uid: "b", parameters: { position: 3 }, unset: ["title", "nothing"] });
  assert.deepEqual(next.queue[1].parameters, { position: 3 });
  assert.deepEqual(after("parameters", { uid: "z", parameters: { title: "y" } }).background.parameters, { title: "y" });
  const without = { ...queue, queue: [{ uid: "a", type: "echo" }] };
  assert.deepEqual(after("parameters", { uid: "a", parameters: { title: "x" } }, without).queue[0].parameters, { title: "x" });
});

test("what an event does not touch stays the same object", () => {
  const next = after("parameters", { uid: "b", parameters: { position: 3 } });
  assert.notEqual(next.queue[1], queue.queue[1]);
  assert.equal(next.queue[0], queue.queue[0]);
  assert.equal(next.background, queue.background);
});

test("a log and what is not known change nothing", () => {
  assert.equal(after("log", { uid: "a", line: "hello" }), queue);
  assert.equal(after("surprise", { uid: "a" }), queue);
});

test("a pool has its list under its own name", () => {
  const pool = freeze({ service: "pool", kind: "pool", revision: 1, playing: null, pool: [module("a", "playing")] });
  const next = after("added", module("b"), pool);
  assert.deepEqual(next.pool.map(({ uid }) => uid), ["a", "b"]);
  assert.equal(after("removed", { uid: "a" }, next).pool.length, 1);
});
