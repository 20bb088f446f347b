// One request for tokens. Not for apps: what it resolves to is what dexie-cloud-addon expects of a `fetchTokens`.

/** Tokens; or, where the server says no, the sentence that the addon shows in a dialog before it throws. */
export async function send(databaseUrl, request) {
  const answer = await fetch(`${databaseUrl}/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
  });
  if (answer.ok) return answer.json();
  const text = await answer.text();
  return { type: "error", title: "Not signed in", messageCode: "GENERIC_ERROR", message: sentence(text), status: answer.status };
}

function sentence(text) {
  try {
    const { message, error_description } = JSON.parse(text);
    return message ?? error_description ?? text;
  } catch {
    return text;
  }
}
