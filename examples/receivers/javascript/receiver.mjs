// Receives events: ENDPOINT_SECRET=whsec_… node receiver.mjs
import { createServer } from 'node:http'
import { Webhook } from 'standardwebhooks'
import { PublicKeyWebhook } from './public_key.mjs'

const REQUEST_CHARACTERS_MAX = 1_000_000

const secret = process.env.ENDPOINT_SECRET
const webhook = secret.startsWith('whpk_') ? new PublicKeyWebhook(secret) : new Webhook(secret)
const seen = new Set() // in real life a table, written in the transaction of what the event causes

const server = createServer(async (request, response) => {
  try {
    let body = ''
    for await (const piece of request.setEncoding('utf8')) {
      if ((body += piece).length > REQUEST_CHARACTERS_MAX) throw new Error('It is too long')
    }
    const event = webhook.verify(body, request.headers)
    const id = request.headers['webhook-id']
    const again = seen.has(id)
    seen.add(id)
    console.log(event.type, event.data.user?.user_id ?? '-', ...(again ? ['again'] : []))
    response.end()
  } catch (error) {
    response.writeHead(400).end(`This is no event that Admit has signed: ${error.message}.\n`)
  }
})
server.listen(Number(process.env.PORT ?? 9100), '127.0.0.1', () => {
  console.log(`Waiting for events at http://127.0.0.1:${server.address().port}/`)
})
