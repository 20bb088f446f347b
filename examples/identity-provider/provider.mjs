// An OpenID Connect provider of npm's oidc-provider, with people of ours and pages of ours.
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Provider, interactionPolicy } from 'oidc-provider'
import { chooserPage, errorPage, welcomePage } from './pages.mjs'

const STYLE = readFileSync(new URL('style.css', import.meta.url))
const FORM_CHARACTERS_MAX = 1_000
const SESSION_COOKIE = 'example_id_session'
const COOKIE_KEYS = [randomBytes(32).toString('base64url')]
// There is no form-action: a browser holds the whole way back to the app against it, whose address differs by client.
const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
}

/** Two private keys that sign ID tokens, one for each kind of signature that a client may want. */
export function signingKeys() {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return [['RS256', rsa], ['ES256', curve]].map(([alg, { privateKey }]) => ({
    ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomBytes(6).toString('hex'),
  }))
}

/**
 * Answers HTTP requests as the provider at `issuer`.
 *
 * `people` is a Map from `sub` to the claims of somebody, and may change while it runs. `clients` are those of
 * oidc-provider. Tokens are signed with the first of `keys` that fits; all of them are published. With `lean`, an ID
 * token says no more than who signed in, and the rest is at the userinfo endpoint.
 */
export function identityProvider({ issuer, people, clients, keys, lean = false }) {
  const policy = interactionPolicy.base()
  policy.remove('consent') // those who run the provider have agreed to its clients
  const provider = new Provider(issuer, {
    clients,
    jwks: { keys },
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', 'groups', 'org'],
    },
    conformIdTokenClaims: lean,
    cookies: {
      keys: COOKIE_KEYS,
      names: { session: SESSION_COOKIE, interaction: 'example_id_login', resume: 'example_id_resume' },
    },
    features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: false } },
    findAccount: (_context, sub) => people.has(sub) && { accountId: sub, claims: () => people.get(sub) },
    interactions: { policy, url: (_context, { uid }) => `/login/${uid}` },
    loadExistingGrant: grantWhatIsAsked,
    pkce: { required: () => true },
    responseTypes: ['code'],
    renderError: (context, { error, error_description: description }) => {
      Object.entries(PAGE_HEADERS).forEach((header) => context.set(...header))
      context.body = errorPage(error, description)
    },
    ttl: { AuthorizationCode: 60, AccessToken: 600, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
  })
  const answer = provider.callback()

  return async (request, response) => {
    forgetWhoWasHere(request)
    if (request.url === '/style.css') {
      response.writeHead(200, { 'content-type': 'text/css; charset=utf-8' }).end(STYLE)
    } else if (request.url === '/') {
      response.writeHead(200, PAGE_HEADERS).end(welcomePage(issuer))
    } else if (request.url.startsWith('/login/')) {
      await logIn(provider, people, request, response)
    } else {
      answer(request, response)
    }
  }
}

/** Each login begins with the list of people, so that whoever tries the demo can be one after the other. */
function forgetWhoWasHere(request) {
  const cookies = (request.headers.cookie ?? '').split('; ')
  request.headers.cookie = cookies.filter((cookie) => !cookie.startsWith(SESSION_COOKIE)).join('; ')
}

async function grantWhatIsAsked({ oidc }) {
  const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId })
  grant.addOIDCScope([...oidc.requestParamOIDCScopes].join(' '))
  await grant.save()
  return grant
}

/** Shows the people, and takes the choice: one of them, or nobody. */
async function logIn(provider, people, request, response) {
  try {
    const { params } = await provider.interactionDetails(request, response)
    if (request.method !== 'POST') {
      const client = await provider.Client.find(params.client_id)
      response.writeHead(200, PAGE_HEADERS).end(chooserPage([...people.values()], client, params.redirect_uri))
      return
    }
    const sub = (await form(request)).get('person')
    const result = people.has(sub)
      ? { login: { accountId: sub } }
      : { error: 'access_denied', error_description: 'Nobody was chosen' }
    await provider.interactionFinished(request, response, result)
  } catch (error) {
    const page = errorPage(error.error ?? 'server_error', error.error_description ?? error.message)
    response.writeHead(error.statusCode ?? 500, PAGE_HEADERS).end(page)
  }
}

async function form(request) {
  let body = ''
  for await (const piece of request.setEncoding('utf8')) {
    if ((body += piece).length > FORM_CHARACTERS_MAX) throw new Error('The form is too long')
  }
  return new URLSearchParams(body)
}
