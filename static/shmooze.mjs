// shmooze.js as a module. Imported, it sets no global but `shmooze` and loads nothing until `connect` is called.
import "./shmooze.js";

export const {
  Endpoint,
  EventParser,
  ShmoozeError,
  Subscription,
  backoff,
  connect,
  endpoints,
  lostConnection,
  reduce,
  regainConnection,
  settings_data,
} = globalThis.shmooze;
