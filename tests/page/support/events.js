// A server whose streams of events the test writes, with the files of static/ beside them.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";

import { root } from "./family.js";

const TYPES = { ".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml" };

/** Starts it, with a page at "/". */
export async function startEvents(page) {
  const waiting = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    if (pathname === "/") {
      response.writeHead(200, { "Content-Type": "text/html" }).end(page);
    } else if (pathname.endsWith("/events")) {
      response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
      waiting.shift()?.({
        headers: request.headers,
        event: (type, id, data) => response.write(`id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`),
        /** Ends it without an end, as a gateway that is killed does. */
        break: () => response.socket.destroy(),
        /** Kept when the browser has let go of it. */
        ended: once(response, "close"),
      });
    } else {
      const file = join(root, "static", pathname.replace(/^\/static\//, ""));
      response.writeHead(200, { "Content-Type": TYPES[extname(file)] }).end(readFileSync(file));
    }
  });
  server.listen({ port: 0, host: "localhost" });
  await once(server, "listening");
  return {
    url: `http://localhost:${server.address().port}`,
    /** The next stream that is asked for. */
    nextStream: () => new Promise((resolve) => waiting.push(resolve)),
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
