import type { Device } from "./device.js";

/** As much of a Dexie database with dexie-cloud-addon as is needed. */
interface Database {
  cloud: { options: { databaseUrl: string; fetchTokens?: (params: any) => Promise<any> } | null };
}

/** The token of a link such as `https://app.example.com/#enrollment_token=…`, which this page was opened by, or null. */
export function enrollmentToken(): string | null;

/**
 * Lets the next login redeem the token. Call it after `db.cloud.configure`; then log in as always. When the token was
 * redeemed or refused, it is taken out of the address, and logins are again what they were. A refusal is an alert of the
 * addon's, and `db.cloud.login()` throws.
 *
 * Ask before you call it: a link may come from somebody who wants your people in an account of theirs. Whoever is signed
 * in stays so, and the token is redeemed at the next login on this page.
 */
export function enroll(db: Database, token: string, about?: Partial<Device>): void;
