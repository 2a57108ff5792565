// The first page: every queue and pool of the application, live. It is an example, too: all that it knows of services it
// knows from shmooze.mjs.
//
//   main ── subscribes to every service ──▶ Service, a card ──▶ List ──▶ ModuleView
//                                              │ forms                    │ controls, details
//                                              ╰──────── commands ◀───────╯
//
// What is drawn is what a service said last: a command changes nothing here by itself.

import { connect } from "../shmooze.mjs";
import { $, complain, say } from "./parts.js";
import { Service, typesOf } from "./service.js";

const base = document.documentElement.dataset.base;
const PAUSE = 1000;

/** The cards by the names of their services, and those of whom nothing was heard yet. */
const services = new Map();
const silent = new Set();

// Tokens for services that take one: of the address (/#token=…), where it does not stay, or asked for. Kept for this tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname + location.search);
}

/** Asks for a token for a service; undefined where there is none. One question at a time. */
let asking = Promise.resolve();
function askForToken(name, refused) {
  const dialog = $("#token");
  asking = asking.then(async () => {
    // Another service may have taken one meanwhile.
    const known = sessionStorage.getItem("token");
    if (known && known !== refused) return known;
    say($("h2", dialog), refused ? `${name} does not know this token. Another one?` : `${name} takes a token.`);
    $("input", dialog).value = "";
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "given") return undefined;
    sessionStorage.setItem("token", $("input", dialog).value.trim());
    return sessionStorage.getItem("token");
  });
  return asking;
}

/** Follows a service for good, if it is a queue or a pool. */
async function follow(name, endpoint) {
  endpoint.token = sessionStorage.getItem("token") ?? undefined;
  silent.add(name);
  let types;
  for (;;) {
    try {
      types ??= await typesOf(endpoint);
      await live(name, endpoint, types);
      return;
    } catch (error) {
      if (error.isFinal) return void silent.delete(name);
      if (error.status === 401) {
        endpoint.token = await askForToken(name, endpoint.token);
        if (!endpoint.token) return;
      } else if (error.status === 403) {
        return complain(`${name}: ${error.message}`);
      } else {
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    } finally {
      drawLink();
    }
  }
}

/** Follows a service as long as it lets itself be followed; fails with the reason why it does not. */
function live(name, endpoint, types) {
  return new Promise((_, reject) => {
    const handlers = {
      change(state) {
        silent.delete(name);
        if (!services.has(name)) add(new Service(name, endpoint, state.kind, types));
        services.get(name).draw(state);
      },
      log: (event) => services.get(name)?.log(event),
      phase(phase, error) {
        if (phase === "closed") return reject(error);
        if (phase !== "connecting") services.get(name)?.lost(phase === "waiting" ? error : null);
        drawLink();
      },
    };
    endpoint.subscribe(handlers, { parameters: Service.parametersFor(types) });
  });
}

/** Puts a card in the order of the settings. */
function add(service) {
  services.set(service.name, service);
  const next = [...order.slice(order.indexOf(service.name) + 1)].map((name) => services.get(name)?.card).find(Boolean);
  $("#services").insertBefore(service.card, next ?? null);
  drawLink();
}

/** Whether all is well, at the top of the page. */
function drawLink(problem = null) {
  const lost = [...services.values()].filter((service) => service.isLost).length;
  const link = $("#link");
  link.classList.toggle("down", problem !== null || lost > 0);
  link.classList.toggle("up", problem === null && lost === 0 && services.size > 0);
  say(link, problem ?? (lost ? "Connection lost" : services.size > 0 ? "Live" : "Connecting…"));
  $("#empty").hidden = services.size > 0;
  $("#silent").hidden = silent.size === 0 || services.size === 0;
  say($("#silent"), `Not answering: ${[...silent].join(", ")}`);
}

let order = [];
async function start() {
  let application;
  try {
    application = await connect({ base });
  } catch {
    drawLink("The gateway cannot be reached");
    setTimeout(start, PAUSE);
    return;
  }
  const { settings_data, endpoints } = application;
  say($("#name"), settings_data.name ?? "shmooze");
  document.title = settings_data.name ?? "shmooze";
  if (!settings_data.ports) complain("The settings do not make “ports” public, so the services are not known.");
  order = Object.keys(endpoints);
  for (const [name, endpoint] of Object.entries(endpoints)) follow(name, endpoint);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) for (const service of services.values()) service.measure();
});
// What waits for its undoing when the page is left is carried out: it was said.
addEventListener("pagehide", () => services.forEach((service) => service.flush()));
start();
