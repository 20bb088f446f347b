// The first login of a newcomer, with dexie-cloud-addon as it comes from npm and a sign-in of our own look.

import Dexie from "dexie";
import dexieCloud from "dexie-cloud-addon";
import { carryDevice, device } from "admit-device";
import { logout, watchSession } from "admit-device/session";
import { comingIn, deviceRows, eventRow, signedIn, signedOut } from "./views.js";

const { databaseUrl, inboxUrl, eventsUrl } = await (await fetch("config.json")).json();

const db = new Dexie("first-login", { addons: [dexieCloud] });
db.version(1).stores({ notes: "@id, written" });
db.cloud.configure({
  databaseUrl,
  // We draw the dialogs of `db.cloud.userInteraction` ourselves.
  customLoginGui: true,
});

// From now on each login says which device it comes from. Without this line the addon's new key would be a new device.
carryDevice(databaseUrl);
// When an operator has locked this session, its person is asked for a new code.
watchSession(db, () => signIn({ email: db.cloud.currentUser.value.email }));

const main = document.getElementById("main");
const events = new Map();
let shown = "";
// Back from a provider: the addon takes what it needs out of the address, and opens when that is done.
let opening = location.search.includes("dxc-auth=");

// Both observables tell everything: who is here, and what the addon wants to ask that person.
db.cloud.currentUser.subscribe(draw);
db.cloud.userInteraction.subscribe(draw);

function draw() {
  const user = db.cloud.currentUser.value;
  const interaction = db.cloud.userInteraction.value;
  const [key, view] =
    user.isLoggedIn && !interaction
      ? [JSON.stringify([user.claims, user.license, user.data]), () => signedIn(user, { signOut, events: told(user) })]
      : opening && !interaction
        ? ["opening", comingIn]
        : [interaction, () => signedOut(interaction, { signIn, inboxUrl, databaseUrl })];
  if (key === shown) return; // nothing a person would notice: leave their cursor where it is
  shown = key;
  main.replaceChildren(view());
  main.querySelector("[data-first]")?.focus();
  if (user.isLoggedIn) listDevices();
}

async function signIn(hints) {
  try {
    await db.cloud.login(hints);
  } catch (error) {
    if (error.name !== "AbortError") console.error(error);
    draw();
  }
}

async function signOut() {
  await logout(db); // the addon's own tells nobody: the session would go on
  // The same page, ready for the next newcomer.
  signIn();
}

// The page knows its own device. The others are known to its server, which asks Admit for those of this token's owner.
async function listDevices() {
  const { accessToken } = db.cloud.currentUser.value;
  const answer = await fetch("devices", { headers: { authorization: `Bearer ${accessToken}` } });
  document.getElementById("devices")?.replaceChildren(...deviceRows(await answer.json(), device().id));
}

// What the receiver of this demo was told, from its memory and then as it comes. Your own page would not ask: events
// are for the systems behind it.
new EventSource(eventsUrl).onmessage = ({ lastEventId, data }) => {
  if (events.has(lastEventId)) return;
  events.set(lastEventId, JSON.parse(data));
  const event = events.get(lastEventId);
  if (!isAbout(db.cloud.currentUser.value, event)) return;
  document.getElementById("events")?.prepend(eventRow(event));
  listDevices(); // it may be another one that has come
};

function told(user) {
  return [...events.values()].filter((event) => isAbout(user, event)).reverse();
}

function isAbout(user, event) {
  return event.data.user?.user_id === user.userId;
}

await db.open();
opening = false;
if (!db.cloud.currentUser.value.isLoggedIn) signIn();
