// Types of shmooze.mjs. What each thing does is written in shmooze.js and docs/page.md.

/** Settings that are public. */
export interface Settings {
  name?: string;
  ports?: Record<string, number>;
  wsgi_prefix?: string;
  static_prefix?: string;
  bg_color?: string;
  fg_color?: string;
  [key: string]: unknown;
}

/** A command to a service. */
export interface Command {
  cmd: string;
  args?: object;
}

/** A module of a queue or pool. */
export interface Module {
  readonly uid: string;
  readonly type: string;
  /** `"waiting"` until it is told to play or suspend for the first time; `"restarting"` while it has ended and is to be started again. */
  readonly state?: "playing" | "suspended" | "waiting" | "restarting";
  /** Since when it is in this state, in seconds since 1970. */
  readonly since?: number;
  readonly parameters?: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

/** The state of a queue or pool. The list is under the name of its kind. */
export interface State {
  readonly service: string;
  readonly kind: "queue" | "pool";
  /** Grows with each change; null where the service offers no events. */
  readonly revision: number | null;
  /** The uid of what plays in a queue. */
  readonly playing: string | null;
  readonly queue?: readonly Module[];
  readonly pool?: readonly Module[];
  readonly background?: Module | null;
  readonly [key: string]: unknown;
}

/** What events carry, by their name. */
export interface Events {
  state: State;
  /** Appended, unless there is an index; or the new background. */
  added: Module & { readonly index?: number; readonly background?: boolean };
  removed: { readonly uid: string; readonly status?: unknown; readonly reason?: string };
  /** These come first now, in this order. */
  moved: { readonly uids: readonly string[] };
  /** The uid is null where nothing plays any more. */
  playing: { readonly uid: string | null; readonly since?: number };
  suspended: { readonly uid: string; readonly since?: number };
  parameters: { readonly uid: string; readonly parameters?: Readonly<Record<string, unknown>>; readonly unset?: readonly string[] };
  log: { readonly uid: string; readonly line: string; readonly [key: string]: unknown };
}

/** An event for `reduce`. */
export type StateEvent = { [Type in keyof Events]: { type: Type; data: Events[Type]; id: string } }[keyof Events];

/** How the connection of a subscription stands. */
export type Phase = "connecting" | "live" | "polling" | "waiting" | "closed";

/** What is called when; all optional. */
export type Handlers = {
  [Type in keyof Events]?: (data: Events[Type], state: State | null) => void;
} & {
  /** Whenever the state is another. */
  change?: (state: State) => void;
  /** Whenever the connection is; with an error when `waiting`, and when `closed` because the service refused. */
  phase?: (phase: Phase, error?: ShmoozeError) => void;
};

export interface SubscribeOptions {
  /** Closes the subscription. */
  signal?: AbortSignal;
  /** How often a service is asked that offers no events, in ms; 1,000 unless given. */
  interval?: number;
  /** Which parameters it is asked for, by module type. With events all come. */
  parameters?: Record<string, readonly string[]>;
}

/** Why a command or a subscription failed. */
export class ShmoozeError extends Error {
  constructor(message: string, status?: number, options?: ErrorOptions);
  /** That of HTTP: 200 where the service itself refused, 0 where there was no answer. */
  status: number;
}

export class Endpoint {
  constructor(url: string, options?: { token?: string });
  readonly url: string;
  /** Sent as `Authorization: Bearer …`. */
  token: string | undefined;
  readonly alive: boolean;
  onAlive: (() => void) | null;
  onDead: (() => void) | null;
  deferQuery(data: Command, cb?: (result: any) => void, err?: (error: ShmoozeError) => void): void;
  forceQuery(data: Command, cb?: (result: any) => void, err?: (error: ShmoozeError) => void): void;
  runQueries(cb?: () => void, err?: (error: ShmoozeError) => void): void;
  query<Result = unknown>(cmd: string, args?: object, options?: { urgent?: boolean }): Promise<Result>;
  subscribe(handlers: Handlers, options?: SubscribeOptions): Subscription;
}

export class Subscription {
  constructor(endpoint: Endpoint, handlers: Handlers, options: SubscribeOptions);
  readonly state: State | null;
  readonly phase: Phase;
  close(): void;
}

/** The stream of server-sent events, piece by piece. */
export class EventParser {
  lastEventId: string;
  retry: number | undefined;
  push(text: string): { type: string; data: string; id: string }[];
}

export const settings_data: Settings;
export const endpoints: Record<string, Endpoint>;

export function connect(options?: {
  /** What the paths of services begin with: the setting `wsgi_prefix`. */
  base?: string;
  token?: string;
}): Promise<{ settings_data: Settings; endpoints: Record<string, Endpoint> }>;
export function reduce(state: State | null, event: StateEvent): State | null;
export function backoff(failures: number, first?: number, random?: () => number): number;
export function lostConnection(): void;
export function regainConnection(): void;
