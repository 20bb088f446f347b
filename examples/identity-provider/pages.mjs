// What a person sees at the provider. Each page is a function of values; nothing here talks to anybody.

/** For somebody who has come without an app. */
export function welcomePage(issuer) {
  return page('Welcome', html`
    <h1>Nothing to do here</h1>
    <p>Apps send their people to this identity provider, and it sends them back. Its issuer is
      <span class="mono">${issuer}</span>; the rest is in its
      <a href="/.well-known/openid-configuration">discovery document</a>.</p>`)
}

/** Who is it? `client` is the one that asks, `returnTo` where it wants its people back. */
export function chooserPage(people, client, returnTo) {
  return page('Choose an account', html`
    <h1>Choose an account</h1>
    <p class="muted">to go on to <strong>${client.clientName ?? client.clientId}</strong>
      at <span class="mono">${new URL(returnTo).host}</span></p>
    <form method="post" autocomplete="off">
      <ul class="people">${people.map(personRow)}</ul>
      <p class="foot"><button class="quiet" name="person" value="">Cancel</button>
        <span class="muted">Part of a demo: nobody has a password.</span></p>
    </form>`)
}

/** What went wrong, in the words of the standard, and in ours where they say more. */
export function errorPage(error, description = '') {
  return page('This did not work', html`
    <h1>This did not work</h1>
    <p>${CURES[error] ?? 'Go back to the app and begin once more.'}</p>
    <p class="mono muted">${error}${description && `: ${description}`}</p>`)
}

const CURES = {
  invalid_client: 'The app that sent you is not registered here. Whoever runs it can register it.',
  invalid_redirect_uri: 'The app wants you back at an address that is not registered here. Whoever runs it can register it.',
}

function personRow({ sub, name, email, email_verified: verified }) {
  return html`<li><button class="person" name="person" value="${sub}">
    <span class="face" aria-hidden="true">${initials(name)}</span>
    <span class="who"><strong>${name}</strong> <span class="muted">${email}</span>
      ${verified ? '' : html`<span class="badge">not verified</span>`}</span>
  </button></li>`
}

function initials(name) {
  return name.split(' ').map((word) => word[0]).join('').slice(0, 2).toUpperCase()
}

function page(title, body) {
  return String(html`<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>${title} · Example ID</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
  <p class="brand"><span aria-hidden="true">◆</span> Example ID</p>
  ${body}
</main>
</body>
</html>
`)
}

/** Markup in which every value is text, unless it is markup itself. */
function html(pieces, ...values) {
  return raw(pieces.map((piece, place) => piece + markup(values[place] ?? '')).join(''))
}

function markup(value) {
  if (Array.isArray(value)) return value.map(markup).join('')
  return value instanceof Markup ? value.text : String(value).replace(/[&<>"']/g, (each) => `&#${each.charCodeAt(0)};`)
}

class Markup {
  constructor(text) {
    this.text = text
  }

  toString() {
    return this.text
  }
}

function raw(text) {
  return new Markup(text)
}
