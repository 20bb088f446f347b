// A `fetchTokens` that signs in by a mailed code and asks for address and code as you like.

import { send } from "./token.js";

export function mailedCode({ databaseUrl, askEmail, askCode }) {
  return async ({ public_key, hints, device }) => {
    const email = hints?.email ?? (await askEmail());
    const request = { grant_type: "otp", scopes: ["ACCESS_DB"], email, intent: hints?.intent, device };
    const sent = await send(databaseUrl, request);
    if (sent.type !== "otp-sent") return sent;
    for (let problem; ; ) {
      const otp = await askCode(email, problem);
      const answer = await send(databaseUrl, { ...request, otp, otp_id: sent.otp_id, public_key });
      if (answer.status !== 401) return answer;
      problem = answer.message;
    }
  };
}
