// Passkeys: asks the server for options, the authenticator for an answer, and sends it with the form.
// A form with data-passkey="use" signs in, one with "make" makes a passkey. Without this script, passwords work.

const known = "PublicKeyCredential" in window && isSecureContext

if (!known) document.querySelectorAll("[data-with-script]").forEach(each => (each.hidden = true))

document.addEventListener("submit", async event => {
  const form = event.target
  if (!known || !form.dataset.passkey || event.submitter?.value === "password") return
  event.preventDefault()
  const problem = form.querySelector("[data-problem]")
  problem.hidden = true
  event.submitter.disabled = true
  try {
    const options = await optionsFor(form)
    const make = form.dataset.passkey === "make"
    const publicKey = make ? optionsToMake(options) : optionsToUse(options)
    const credential = await (make ? navigator.credentials.create({ publicKey }) : navigator.credentials.get({ publicKey }))
    form.elements.credential.value = JSON.stringify(toJson(credential))
    form.submit()
  } catch (error) {
    problem.querySelector("span").textContent = sentenceFor(error)
    problem.hidden = false
    event.submitter.disabled = false
    event.submitter.ariaBusy = null
  }
})

async function optionsFor(form) {
  const body = new URLSearchParams()
  for (const name of ["csrf", "name", "email"]) {
    if (form.elements[name]?.value) body.set(name, form.elements[name].value)
  }
  const response = await fetch(form.dataset.options, { method: "POST", body, headers: { Accept: "application/json" } })
  const answer = await response.json()
  if (!response.ok) throw new Refused(answer.message)
  return answer
}

class Refused extends Error {}

function sentenceFor(error) {
  if (error instanceof Refused) return error.message
  if (error.name === "InvalidStateError") return "This device has a passkey for you already."
  if (error.name === "NotAllowedError") return "No passkey was used. Try again, or use another way."
  if (error.name === "SecurityError") return "Passkeys work only at the address that PUBLIC_URL names. Open the Manager there."
  return "The passkey could not be used. Try again, or use another way."
}

// Not every browser of today reads and writes this JSON itself (WebAuthn §5.1.8 to §5.1.10).

function optionsToMake(options) {
  if (PublicKeyCredential.parseCreationOptionsFromJSON) return PublicKeyCredential.parseCreationOptionsFromJSON(options)
  return {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: (options.excludeCredentials ?? []).map(each => ({ ...each, id: bytes(each.id) })),
  }
}

function optionsToUse(options) {
  if (PublicKeyCredential.parseRequestOptionsFromJSON) return PublicKeyCredential.parseRequestOptionsFromJSON(options)
  return { ...options, challenge: bytes(options.challenge), allowCredentials: [] }
}

function toJson(credential) {
  if (credential.toJSON) return credential.toJSON()
  const { response } = credential
  const told = {}
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) told[name] = text(response[name])
  }
  return { id: credential.id, rawId: text(credential.rawId), type: credential.type, response: told, clientExtensionResults: {} }
}

function bytes(value) {
  return Uint8Array.from(atob(value.replaceAll("-", "+").replaceAll("_", "/")), each => each.charCodeAt(0))
}

function text(buffer) {
  return btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")
}
