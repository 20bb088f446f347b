// A page that a team might have: Dexie with dexie-cloud-addon as published, and the addon's own dialogs.

import Dexie from "dexie";
import dexieCloud from "dexie-cloud-addon";

const { databaseUrl } = Object.fromEntries(new URLSearchParams(location.search));
const db = new Dexie("browser-tests", { addons: [dexieCloud] });
db.version(1).stores({ notes: "@id, written" });
db.cloud.configure({ databaseUrl, unsyncedTables: ["notes"] });

window.db = db;
window.users = []; // every currentUser that the app was told of
db.cloud.currentUser.subscribe((user) => {
  window.users.push(user);
  document.body.dataset.user = JSON.stringify(seen(user));
});
window.current = () => seen(db.cloud.currentUser.value);
db.open().then(() => (document.body.dataset.open = "yes"));

function seen({ isLoggedIn, userId, name, email, data, license, claims }) {
  return { isLoggedIn, userId, name, email, data, license, claims };
}
