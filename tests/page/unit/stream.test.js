// The stream of events: the same whatever the pieces in which it comes.

import assert from "node:assert/strict";
import test from "node:test";

import { EventParser } from "shmooze";

const cases = {
  "an event": ["event: added\nid: 7\ndata: {}\n\n", [["added", "{}", "7"]]],
  "no type is a message": ["data: x\n\n", [["message", "x", ""]]],
  "several lines of data": ["data: a\ndata: b\ndata\n\n", [["message", "a\nb\n", ""]]],
  "the id stays until another": ["id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", [["message", "a", "1"], ["message", "b", "1"], ["message", "c", ""]]],
  "an id without data counts": ["id: 5\n\ndata: a\n\n", [["message", "a", "5"]]],
  "an id with NUL does not": ["id: 5\nid: 6\0\ndata: a\n\n", [["message", "a", "5"]]],
  "the type is of one event": ["event: x\n\ndata: a\n\nevent: y\ndata: b\n\n", [["message", "a", ""], ["y", "b", ""]]],
  "carriage returns": ["data: a\r\ndata: b\r\n\r\ndata: c\r\rdata: d\n\r\n", [["message", "a\nb", ""], ["message", "c", ""], ["message", "d", ""]]],
  "one space is left out": ["data:a\ndata:  b\n\n", [["message", "a\n b", ""]]],
  "colons in data": ['data: {"a": "b: c"}\n\n', [["message", '{"a": "b: c"}', ""]]],
  "comments and unknown fields": [": hello\n:\nfoo: bar\ndata x\ndata: a\n\n", [["message", "a", ""]]],
  "what is not ended is no event": ["data: a\n\ndata: b\n", [["message", "a", ""]]],
};

for (const [name, [text, expected]] of Object.entries(cases)) {
  test(name, () => {
    // Whole, in two pieces at each place, and character by character.
    const pieces = [[text], [...text], ...[...text].map((_, at) => [text.slice(0, at), text.slice(at)])];
    for (const parts of pieces) {
      const parser = new EventParser();
      const events = parts.flatMap((part) => parser.push(part));
      assert.deepEqual(events.map(({ type, data, id }) => [type, data, id]), expected, JSON.stringify(parts));
    }
  });
}

test("the server says how long to wait before the next attempt", () => {
  const parser = new EventParser();
  assert.equal(parser.retry, undefined);
  parser.push("retry: 250\nretry: soon\n");
  assert.equal(parser.retry, 250);
});
