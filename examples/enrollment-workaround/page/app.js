// An app with synced tables, whose team wants to hear of enrollments and works around the lack of a web hook for them.

import Dexie from "dexie";
import dexieCloud from "dexie-cloud-addon";
import { carryDevice, device } from "admit-device";
import { logout } from "admit-device/session";

const databaseUrl = new URLSearchParams(location.search).get("databaseUrl") ?? "http://localhost:8080/notes";
const db = new Dexie("enrollment-workaround", { addons: [dexieCloud] });
db.version(1).stores({ registration: "@id", local: "user_id" });
db.cloud.configure({ databaseUrl, unsyncedTables: ["local"] });
carryDevice(databaseUrl);

// The workaround. `local` never leaves this browser: it is what JourneyApps calls LocalDB. `registration` is synced.
async function register({ isLoggedIn, userId }) {
  if (!isLoggedIn) return;
  await db.transaction("rw", db.local, db.registration, async () => {
    if (await db.local.get(userId)) return;
    await db.local.add({ user_id: userId });
    await db.registration.add({ user_id: userId, device_id: device().id });
  });
}
db.cloud.currentUser.subscribe(register);
// Here it ends.

const [who, signIn, signOut] = ["who", "in", "out"].map((id) => document.getElementById(id));
signIn.onclick = () => db.cloud.login({ email: db.cloud.currentUser.value.email }).catch(console.warn);
signOut.onclick = () => logout(db);
db.open().then(() =>
  db.cloud.currentUser.subscribe(({ isLoggedIn, userId }) => {
    who.textContent = isLoggedIn ? `${userId} is signed in.` : "Nobody is signed in.";
  }),
);
window.db = db; // for the console
