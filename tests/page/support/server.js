// What answers in place of the network: each request waits until the test answers it.

/** Replaces `fetch` for one test. */
export function takeFetch(t) {
  const real = globalThis.fetch;
  t.after(() => {
    globalThis.fetch = real;
  });
  const requests = [];
  globalThis.fetch = (url, init = {}) =>
    new Promise((resolve, reject) => {
      init.signal?.addEventListener("abort", () => reject(init.signal.reason));
      requests.push({
        url,
        method: init.method ?? "GET",
        headers: new Headers(init.headers),
        body: init.body && JSON.parse(init.body),
        signal: init.signal,
        fail: (message) => reject(new TypeError(message)),
        answer: (body, status = 200, type = "text/json") =>
          resolve(new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers: { "Content-Type": type } })),
        stream: () => stream(resolve, init.signal),
      });
    });
  return {
    requests,
    /** Takes the oldest request that the test has not seen yet. */
    next() {
      const request = requests.shift();
      if (!request) throw new Error("nothing was requested");
      return request;
    },
  };
}

/** Answers with a stream of events that the test writes. */
function stream(resolve, signal) {
  let controller;
  const body = new ReadableStream({
    start(given) {
      controller = given;
      signal?.addEventListener("abort", () => controller.error(signal.reason));
    },
  });
  resolve(new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
  return {
    write: (text) => controller.enqueue(new TextEncoder().encode(text)),
    event: (type, id, data) => controller.enqueue(new TextEncoder().encode(`id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`)),
    end: () => controller.close(),
    lose: () => controller.error(new TypeError("network error")),
  };
}
