// Verifies the Ed25519 signatures (`v1a`) of Standard Webhooks, which the published library does not.
import { createPublicKey, verify } from 'node:crypto'

const SECONDS_OFF_MAX = 300

/** Stands in for the `Webhook` of standardwebhooks where there is a public key (`whpk_…`) and no secret. */
export class PublicKeyWebhook {
  constructor(publicKey) {
    const x = Buffer.from(publicKey.replace(/^whpk_/, ''), 'base64').toString('base64url')
    this.key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  }

  /** What `body` says. `headers` have lower-case names, as Node gives them. */
  verify(body, headers) {
    const sentAt = headers['webhook-timestamp']
    if (!(Math.abs(Date.now() / 1000 - Number(sentAt)) <= SECONDS_OFF_MAX)) {
      throw new Error('webhook-timestamp is missing or more than five minutes off')
    }
    const signed = Buffer.from(`${headers['webhook-id']}.${sentAt}.${body}`)
    const signatures = (headers['webhook-signature'] ?? '').split(' ').map((each) => each.split(','))
    const ours = signatures.some(
      ([version, value = '']) => version === 'v1a' && verify(null, signed, this.key, Buffer.from(value, 'base64')),
    )
    if (!ours) throw new Error('No signature is of this key')
    return JSON.parse(body)
  }
}
