// A clock that stands still until it is moved, in place of the timers of the library under test.

const real = { setTimeout, clearTimeout };

/** Stops the time for one test. Timers of Node's own need the true one: nothing of the network may be used meanwhile. */
export function stopTime(t) {
  const timers = new Map();
  let now = 0;
  let last = 0;
  globalThis.setTimeout = (callback, ms = 0) => {
    last += 1;
    timers.set(last, { callback, at: now + ms });
    return last;
  };
  globalThis.clearTimeout = (id) => timers.delete(id);
  t.after(() => Object.assign(globalThis, real));

  return {
    /** When the pending timers are due, in ms from now, the first first. */
    pending() {
      return [...timers.values()].map(({ at }) => at - now).sort((a, b) => a - b);
    },

    /** Lets some ms pass, and all that follows from it happen. */
    async pass(ms) {
      const end = now + ms;
      for (;;) {
        await settled();
        const [first] = [...timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at);
        if (!first) break;
        const [id, { callback, at }] = first;
        timers.delete(id);
        now = Math.max(now, at);
        callback();
      }
      now = end;
    },
  };
}

/** Waits until no promise is left that can go on by itself. */
export async function settled() {
  // One turn runs every microtask; a few more are for what streams hand from turn to turn.
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
