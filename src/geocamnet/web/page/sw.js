// Offline: the files of the page are kept. The network is asked first, so a new model or page is seen at once; where it
// does not answer, the kept file is. Build: BUILD_OF_THIS_PAGE

const ENGINE = new URL(self.location.href).searchParams.get("build"); // the one that this browser runs
const KEPT = "geocamnet-BUILD_OF_THIS_PAGE";

self.addEventListener("install", (event) => {
  const keep = async () => {
    const { files, engines } = await (await fetch("site.json", { cache: "no-cache" })).json();
    await (await caches.open(KEPT)).addAll(["./", ...files, ...(engines[ENGINE] ?? engines.plain)]);
    await self.skipWaiting();
  };
  event.waitUntil(keep());
});

self.addEventListener("activate", (event) => {
  const tidy = async () => {
    const mine = new URL(self.registration.scope).pathname; // a host may serve other pages under other paths
    for (const name of await caches.keys()) {
      if (!name.startsWith("geocamnet-") || name === KEPT) continue;
      const requests = await (await caches.open(name)).keys();
      if (requests.some((one) => new URL(one.url).pathname.startsWith(mine))) await caches.delete(name);
    }
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  event.respondWith(answer(request));
});

async function answer(request) {
  let response;
  try {
    response = await fetch(request);
    if (!response.ok) throw new TypeError(String(response.status));
  } catch (error) {
    const kept = await (await caches.open(KEPT)).match(request, { ignoreSearch: true });
    if (kept) response = kept;
    else if (!response) throw error;
  }
  return isolated(response);
}

/** What WebAssembly threads need; a static host does not send it. */
function isolated(response) {
  if (response.type === "opaque" || response.status === 304) return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
