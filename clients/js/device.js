// Which device signs in: an identifier that this browser profile keeps, and how the logins of an app carry it.

const KEY = "admit-device";
const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/;
const BROWSERS = { "Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari" };
let ofThisPage;

/** What Admit is told of this device; `about` adds to it or says it better. */
export function device(about) {
  const { platform = "", userAgent = "", userAgentData } = globalThis.navigator ?? {};
  const system = userAgentData?.platform || platform;
  const mark = Object.keys(BROWSERS).find((mark) => userAgent.includes(mark));
  return { id: identifier(), label: `${BROWSERS[mark] ?? "Browser"} on ${system}`, platform: system, ...about };
}

function identifier() {
  try {
    if (UUID.test(localStorage.getItem(KEY))) return localStorage.getItem(KEY);
    localStorage.setItem(KEY, (ofThisPage ??= crypto.randomUUID()));
    return localStorage.getItem(KEY);
  } catch {
    return (ofThisPage ??= crypto.randomUUID()); // no storage here: the device is as old as the page
  }
}

/** Your own `fetchTokens`, which is given `device` too. */
export function withDevice(fetchTokens, about) {
  return (params) => fetchTokens({ ...params, device: device(about) });
}

/** Adds the device to every login that dexie-cloud-addon itself sends to `databaseUrl`; its dialogs stay. */
export function carryDevice(databaseUrl, about) {
  const { fetch } = globalThis;
  globalThis.fetch = (input, init) =>
    fetch(input, input === `${databaseUrl}/token` ? { ...init, body: carrying(init.body, about) } : init);
}

function carrying(body, about) {
  const request = JSON.parse(body);
  return request.grant_type === "refresh_token" ? body : JSON.stringify({ device: device(about), ...request });
}
