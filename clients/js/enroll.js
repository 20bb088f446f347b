// Signs in by the link or QR code that an operator gave: …#enrollment_token=TOKEN

import { device } from "./device.js";
import { send } from "./token.js";

const NAME = "enrollment_token";

/** The token in the address, or null. */
export function enrollmentToken() {
  return fragment().get(NAME);
}

/** Lets the next login redeem the token. */
export function enroll(db, enrollment_token, about) {
  const { options } = db.cloud;
  const { fetchTokens } = options;
  options.fetchTokens = async ({ public_key }) => {
    const grant_type = "urn:admit:enrollment-token";
    const request = { grant_type, enrollment_token, scopes: ["ACCESS_DB"], public_key, device: device(about) };
    const redeem = () => send(options.databaseUrl, request);
    const answer = await redeem().catch(redeem); // the answer was lost: the same key may ask again
    if (answer.status === 429 || answer.status >= 500) return answer; // for the moment: the token is still good
    options.fetchTokens = fetchTokens;
    const rest = fragment();
    rest.delete(NAME);
    history.replaceState(history.state, "", `${location.pathname}${location.search}#${rest}`.replace(/#$/, ""));
    return answer;
  };
}

function fragment() {
  return new URLSearchParams(location.hash.slice(1));
}
