// A page of an app that tells its device: dexie-cloud-addon as published, and the helper of clients/js.

import Dexie from "dexie";
import dexieCloud from "dexie-cloud-addon";
import * as devices from "admit-device";
import { enroll, enrollmentToken } from "admit-device/enroll";
import { mailedCode } from "admit-device/mailed-code";
import { logout, watchSession } from "admit-device/session";

const { databaseUrl, logins } = Object.fromEntries(new URLSearchParams(location.search));
const db = new Dexie("device-tests", { addons: [dexieCloud] });
db.version(1).stores({ notes: "@id, written" });

const asked = (window.asked = []); // what `mailedCode` wanted to know, and why
const answers = (window.answers = {});
const ask = (name) => (...why) => {
  asked.push([name, ...why]);
  return new Promise((resolve) => (answers[name] = resolve));
};
const mailed = mailedCode({ databaseUrl, askEmail: ask("email"), askCode: ask("code") });
const fetchTokens = { own: devices.withDevice(async (params) => (window.given = params) && mailed(params)) }[logins];
db.cloud.configure({ databaseUrl, unsyncedTables: ["notes"], ...(fetchTokens && { fetchTokens }) });
if (!fetchTokens) devices.carryDevice(databaseUrl, { app_version: "1.4.0" });
const token = enrollmentToken();
if (token) enroll(db, token);
window.ended = []; // what the server said of the session
watchSession(db, (code) => window.ended.push(code), () => window.erase?.());

Object.assign(window, { db, ...devices, logout: () => logout(db) });
window.current = () => {
  const { isLoggedIn, userId } = db.cloud.currentUser.value;
  return { isLoggedIn, userId };
};
db.open().then(() => (document.body.dataset.open = "yes"));
