// A page that a team might have: Dexie with dexie-cloud-addon as published, and tables of every kind.

import Dexie, { PropModification, add, remove, replacePrefix } from "dexie";
import dexieCloud from "dexie-cloud-addon";

const { databaseUrl, requireAuth } = Object.fromEntries(new URLSearchParams(location.search));
const db = new Dexie("synced", { addons: [dexieCloud] });
db.version(1).stores({
  notes: "@id, tag, n",
  settings: "name",
  pairs: "[left+right], left",
  drafts: "++id",
});
db.cloud.configure({ databaseUrl, unsyncedTables: ["drafts"], requireAuth: requireAuth === "yes" });

window.db = db;
window.dexie = { PropModification, add, remove, replacePrefix };
window.current = () => {
  const { isLoggedIn, userId, name, email, data, license, claims } = db.cloud.currentUser.value;
  return { isLoggedIn, userId, name, email, data, license, claims };
};

// What a table holds, by key, so that it can be compared in another language.
window.dump = async (table) =>
  JSON.stringify(
    await db.table(table).orderBy(":id").toArray().then((objects) => objects.map(plain)),
  );

// How many changes wait to be sent.
window.waiting = async () => {
  const queues = db.tables.filter(({ name }) => name.endsWith("_mutations"));
  const counts = await Promise.all(queues.map((queue) => queue.count()));
  return counts.reduce((sum, count) => sum + count, 0);
};

db.open().then(() => (document.body.dataset.open = "yes"));

function plain(value) {
  if (value === undefined) return { type: "undefined" };
  if (typeof value === "bigint") return { type: "bigint", of: String(value) };
  if (typeof value === "number" && !Number.isFinite(value)) return { type: "number", of: String(value) };
  if (value instanceof Date) return { type: "date", of: value.getTime() };
  if (value instanceof Set) return { type: "set", of: [...value].map(plain) };
  if (value instanceof Map) return { type: "map", of: [...value].map(plain) };
  if (value instanceof ArrayBuffer) return { type: "buffer", of: [...new Uint8Array(value)] };
  if (ArrayBuffer.isView(value)) return { type: value.constructor.name, of: [...value] };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  const members = Object.entries(value).filter(([name]) => !["owner", "realmId", "$ts"].includes(name));
  return Object.fromEntries(members.sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, plain(v)]));
}
