// A small identity provider to try single sign-on with: CLIENT_SECRET=… node op.mjs --redirect-uri URL
//
//   --port 9400              where it listens, on 127.0.0.1
//   --client-id admit        the one client that it knows; its secret is in CLIENT_SECRET
//   --client-name "An app"   what its page calls that client
//   --redirect-uri URL       where that client wants its people back, exactly
//   --people people.json     whom it knows
//
// It keeps nothing: keys are made when it starts, and everybody signs in without a password. Never let it vouch for
// people of a real app.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import { identityProvider, signingKeys } from './provider.mjs'

const { values: given } = parseArgs({
  options: {
    port: { type: 'string', default: '9400' },
    'client-id': { type: 'string', default: 'admit' },
    'client-name': { type: 'string' },
    'redirect-uri': { type: 'string' },
    people: { type: 'string', default: new URL('people.json', import.meta.url).pathname },
  },
})
const secret = process.env.CLIENT_SECRET
if (!secret || !given['redirect-uri']) {
  console.error('CLIENT_SECRET and --redirect-uri are missing. Example:\n  CLIENT_SECRET=… node op.mjs --redirect-uri http://localhost:8080/demo/oauth/callback/example-id')
  process.exit(2)
}

const issuer = `http://127.0.0.1:${given.port}`
const people = new Map(JSON.parse(readFileSync(given.people)).map((person) => [person.sub, person]))
const client = {
  client_id: given['client-id'],
  client_name: given['client-name'] ?? given['client-id'],
  client_secret: secret,
  redirect_uris: [given['redirect-uri']],
}
const provider = identityProvider({ issuer, people, clients: [client], keys: signingKeys() })
createServer(provider).listen(Number(given.port), '127.0.0.1', () => console.log(`The identity provider is at ${issuer}`))
