// The demo's identity provider on a free port, under a test that tells it by lines of JSON what to become, and reads a
// line for each. It ends with the test: when there is nobody left to tell it anything.
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { identityProvider, signingKeys } from '../examples/identity-provider/provider.mjs'

const people = new Map()
const clients = []
let keys = signingKeys()
let lean = false
let answer

const orders = {
  person: (person) => people.set(person.sub, person),
  forget: () => people.clear(),
  client: (client) => clients.push(client),
  rotate: ({ keep }) => (keys = [...signingKeys(), ...(keep ? keys : [])]),
  lean: (wanted) => (lean = wanted),
}

const server = createServer((request, response) => answer(request, response)).listen(0, '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const build = () => (answer = identityProvider({ issuer, people, clients, keys, lean }))
  build()
  console.log(JSON.stringify(issuer))
  for await (const line of createInterface({ input: process.stdin })) {
    const [order, value] = JSON.parse(line)
    orders[order](value)
    build()
    console.log(JSON.stringify(keys.map(({ kid }) => kid)))
  }
  process.exit()
})
