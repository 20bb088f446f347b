/** As much of a Dexie database with dexie-cloud-addon as is needed. */
interface Database {
  cloud: {
    options: { databaseUrl: string } | null;
    currentUser: { value: { refreshToken?: string; nonExportablePrivateKey?: CryptoKey } };
    logout(options?: { force?: boolean }): Promise<void>;
  };
}

/**
 * `db.cloud.logout()`, and then the end of the session on the server, which ends its access token too.
 * False: the server could not be told; its session ends when its refresh token does. Throws what the addon throws, and
 * then nothing was ended: somebody who was asked about unsynced changes has stayed.
 */
export function logout(db: Database, options?: { force?: boolean }): Promise<boolean>;

/**
 * - `session_locked`: an operator has locked the session or the person, or another device took its place
 * - `session_wiped`: an operator wants this device erased
 * - `reauthentication_required`: the session goes on when its person has signed in again
 * - `session_ended`: logged out, replaced by another login, or too long unused
 */
export type SessionCode = "session_locked" | "session_wiped" | "reauthentication_required" | "session_ended";

/**
 * Calls `ended` when the server refuses to refresh this device's session, of which an open page hears at once; once,
 * until the session goes on or there is another. The addon tells nobody, lets people go on with what they have, and
 * takes `db.cloud.login()` for done while its access token lives: `db.cloud.login({ email })` asks for a new code, and
 * keeps what is stored here.
 *
 * When the session was wiped, `erase` is called before, to erase what else the app keeps; then the database is erased,
 * as `db.cloud.logout({ force: true })` does it; then it is confirmed to the server. If `erase` throws or rejects, the
 * login stays, nothing is confirmed, and each later refresh tries it all again: so it may be called twice.
 *
 * Call it once, before `db.open()`. It wraps `globalThis.fetch`, and so hears nothing of a service worker's refreshes.
 */
export function watchSession(db: Database, ended?: (code: SessionCode) => unknown, erase?: () => unknown): void;
