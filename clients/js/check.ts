// Uses every type together with those of the published addon. `npm run check` compiles it; nothing runs it.

import Dexie from "dexie";
import dexieCloud from "dexie-cloud-addon";
import { carryDevice, device, withDevice, type Device } from "admit-device";
import { enroll, enrollmentToken } from "admit-device/enroll";
import { mailedCode } from "admit-device/mailed-code";
import { logout, watchSession } from "admit-device/session";

const databaseUrl = "https://login.example.com/notes";
const db = new Dexie("notes", { addons: [dexieCloud] });

type Options = Parameters<typeof db.cloud.configure>[0];
type Login = Parameters<NonNullable<Options["fetchTokens"]>>[0];

const here: Device = device({ label: "Till 3", app_version: "1.4.0" });
const id: string = here.id;
carryDevice(databaseUrl);
carryDevice(databaseUrl, { id, platform: "ios" });

const own: Options = {
  databaseUrl,
  fetchTokens: withDevice(async ({ public_key, hints, device }: Login & { device: Device }) => {
    const body = JSON.stringify({ public_key, email: hints?.email, device: device.id });
    return (await fetch("/tokens", { method: "POST", body })).json();
  }),
};

const mailed: Options = {
  databaseUrl,
  fetchTokens: withDevice(
    mailedCode({ databaseUrl, askEmail: () => prompt("Email") ?? "", askCode: async (email, problem) => `${email}${problem}` }),
  ),
};
db.cloud.configure(own);
db.cloud.configure(mailed);

const token: string | null = enrollmentToken();
if (token) enroll(db, token, { label: "Till 3" });
const told: Promise<boolean> = logout(db, { force: true });
void told;
watchSession(db);
watchSession(db, (code) => code === "session_wiped", () => indexedDB.deleteDatabase("more"));

// @ts-expect-error: a label is text
device({ label: 3 });
// @ts-expect-error: there is no such member
device({ colour: "red" });
// @ts-expect-error: there may be no token
enroll(db, enrollmentToken());
// @ts-expect-error: the callbacks are needed
mailedCode({ databaseUrl });
// @ts-expect-error: no session ends so
watchSession(db, (code) => code === "session_over");
// @ts-expect-error: it is a database that has an addon
logout({});
