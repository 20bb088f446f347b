import type { Device } from "./device.js";

/**
 * A `fetchTokens` that signs in by a mailed code, for apps that ask without the addon's dialogs:
 * `db.cloud.configure({ databaseUrl, fetchTokens: withDevice(mailedCode({ databaseUrl, askEmail, askCode })) })`.
 *
 * `askEmail` is not called where `db.cloud.login({ email })` has said it. `askCode` is called again, with the server's
 * sentence, while the code is wrong. What either throws ends the login. Any other refusal is an alert of the addon's
 * (`db.cloud.userInteraction`), and `db.cloud.login()` throws. Demo users and magic links are not for this one.
 */
export function mailedCode(options: {
  databaseUrl: string;
  askEmail: () => string | Promise<string>;
  askCode: (email: string, problem?: string) => string | Promise<string>;
}): (params: {
  public_key: string;
  hints?: { email?: string; userId?: string };
  device?: Device;
}) => Promise<any>;
