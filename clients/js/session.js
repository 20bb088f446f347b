// The session of this device on the server: how the app ends it, and how it hears that it was ended.

const ALGORITHM = "RSASSA-PKCS1-v1_5";
const WIPED = "session_wiped";
const CODES = ["session_locked", WIPED, "reauthentication_required", "session_ended"];

/** The addon's logout tells nobody; this one ends the session too. */
export async function logout(db, options) {
  const login = db.cloud.currentUser.value;
  await db.cloud.logout(options); // first, because somebody who is asked about unsynced changes may stay
  return !login.refreshToken || tell(`${db.cloud.options.databaseUrl}/logout`, login);
}

/** Calls `ended(code)` when the server refuses to go on with the session; a wiped device is erased, and says so. */
export function watchSession(db, ended, erase) {
  const { fetch } = globalThis;
  let told, wiping;
  globalThis.fetch = async (input, init) => {
    const answer = await fetch(input, init);
    if (input === `${db.cloud.options.databaseUrl}/token`) {
      const { grant_type, refresh_token } = JSON.parse(init.body);
      if (grant_type !== "refresh_token") return answer;
      const { code } = answer.status === 401 ? await answer.clone().json().catch(() => ({})) : {};
      const news = CODES.includes(code) && code + refresh_token;
      const current = refresh_token === db.cloud.currentUser.value.refreshToken;
      if (code === WIPED && current) wiping ??= wipe(db, erase).catch(console.error).finally(() => (wiping = null));
      if (news && news !== told) Promise.resolve(wiping).then(() => ended?.(code));
      if (news || answer.ok) told = news; // once: `ended` may well log in, which tries to refresh first
    }
    return answer;
  };
}

/** The login goes last: if `erase` fails, or the page is closed before, the next refresh is told again to wipe. */
async function wipe(db, erase) {
  const login = db.cloud.currentUser.value;
  await erase?.();
  await db.cloud.logout({ force: true });
  await tell(`${db.cloud.options.databaseUrl}/wiped`, login);
}

/** Sends the refresh token, signed as the addon signs a refresh. False: the server has not taken it. */
async function tell(url, { refreshToken, nonExportablePrivateKey }) {
  const time_stamp = Date.now();
  const text = new TextEncoder().encode(`${refreshToken}${time_stamp}`);
  const signed = new Uint8Array(await crypto.subtle.sign(ALGORITHM, nonExportablePrivateKey, text));
  const signature = btoa(String.fromCharCode(...signed));
  const body = JSON.stringify({ refresh_token: refreshToken, time_stamp, signing_algorithm: ALGORITHM, signature });
  const headers = { "content-type": "application/json" };
  return fetch(url, { method: "POST", headers, body, keepalive: true }).then(({ ok }) => ok, () => false);
}
