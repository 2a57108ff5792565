// A page in TypeScript. It is never run: it must pass the checks, and where it says so it must not.

import { Endpoint, ShmoozeError, backoff, connect, endpoints, reduce, regainConnection } from "shmooze";
import type { Module, Phase, State, StateEvent } from "shmooze";

const { settings_data } = await connect({ base: "/api/", token: "secret" });
const title: string | undefined = settings_data.name;

const queue: Endpoint = endpoints.queue ?? new Endpoint("/queue", { token: "secret" });
queue.onAlive = regainConnection;
queue.onDead = null;
queue.token = title;

const { uid } = await queue.query<{ uid: string }>("add", { type: "slides", args: { slides: ["a", "b"] } });
queue.deferQuery({ cmd: "rm", args: { uids: [uid] } }, undefined, (error) => console.error(error.status, error.message));
queue.forceQuery({ cmd: "queue" }, (modules: Module[]) => console.log(modules.length));
queue.runQueries();

const closing = new AbortController();
const subscription = queue.subscribe(
  {
    added: ({ uid, type, background = false }, state) => console.log(uid, type, background, state?.revision),
    parameters: ({ parameters = {}, unset = [] }) => console.log(Object.keys(parameters), unset.join()),
    change: (state) => console.log(state.queue?.map((module) => module.parameters?.title)),
    phase: (phase: Phase, error) => console.log(phase, error instanceof ShmoozeError && error.status),
  },
  { signal: closing.signal, interval: 500, parameters: { slides: ["title"] } },
);
const event: StateEvent = { type: "moved", data: { uids: [uid] }, id: "7" };
const next: State | null = reduce(subscription.state, event);
const wait: number = backoff(3);
subscription.close();

// @ts-expect-error: the state is never changed in place.
if (next?.queue) next.queue.push();
// @ts-expect-error: there is no such event.
queue.subscribe({ changed: () => {} });
// @ts-expect-error: a command has a name.
queue.deferQuery({ args: {} });
// @ts-expect-error: arguments are an object.
await queue.query("add", "slides");
// @ts-expect-error: events have data of their own.
reduce(null, { type: "moved", data: { uid }, id: "" });

export { wait };
