// An observer of a drexnode network in js-libp2p: connects with a join bundle, follows heads, verifies certificates.
//
//     node observer.mjs bundle.json [--heads N] [--stranger] [--flip-bit]
//
// One JSON line for each head that holds. Ends with 0 after N heads beyond the tip that it met, with 1 for a head that
// does not hold, with 3 when no peer admits it. --stranger takes a key that nobody registered; --flip-bit changes the
// first seal that arrives, to see it refused.
import './node20.mjs'
import { readFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { setImmediate as breathe } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { fromHex, hex, pack, unpack } from './codec.mjs'
import { openChain, readHead, verifyHead } from './chain.mjs'
import { BLOCKS, REQUEST, openRequests, readChannel, serveRequests } from './streams.mjs'

const FALSE_HEAD = 1
const NOT_ADMITTED = 3
const HEADERS_A_REQUEST = 64
const WIRE_VERSION = 1
const ADMISSION_MS = 3_000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    heads: { type: 'string', default: '3' },
    stranger: { type: 'boolean', default: false },
    'flip-bit': { type: 'boolean', default: false }
  }
})
const [body] = unpack(fromHex(JSON.parse(readFileSync(positionals[0], 'utf8')).record))
const [, genesis, , , , seed, peers] = body
const chain = openChain(genesis)
const tell = (fact) => process.stdout.write(`${JSON.stringify(fact)}\n`)

const node = await createLibp2p({
  privateKey: await generateKeyPairFromSeed('Ed25519', values.stranger ? randomBytes(32) : seed),
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()]
})
tell({ event: 'started', peer_id: node.peerId.toString(), chain_id: hex(chain.id) })

let tip = null
let ask = null
let wanted = Infinity
let work = Promise.resolve()

const status = () => pack([WIRE_VERSION, chain.id, tip?.height ?? 0, tip?.id ?? new Uint8Array(32), 1, 'observer', 'js'])

/** Verify one head and make it the tip. */
function accept (head) {
  if (values['flip-bit'] && head.height > 0) head.certificate[4][0][1][0] ^= 1
  const seals = head.height === 0 ? 0 : verifyHead(chain, head, tip)
  tip = head
  tell({ event: 'head', height: head.height, block_id: hex(head.id), seals, txs: head.txCount })
}

/** Fetch and verify headers up to a height. */
async function catchUp (height) {
  while ((tip?.height ?? -1) < height) {
    const [heads] = unpack(await ask('headers', pack([(tip?.height ?? -1) + 1, HEADERS_A_REQUEST])))
    if (heads.length === 0) throw new Error('the peer lacks what it announced')
    for (const head of heads) {
      accept(readHead(head))
      await breathe() // between two heads the connection's pings are answered
    }
  }
}

/** A peer announced a head: verified at once when it is the next, else with all before it. */
async function hear (payload) {
  const head = readHead(unpack(payload))
  work = work.then(async () => {
    if (ask === null || head.height <= (tip?.height ?? -1)) return
    if (tip !== null && head.height === tip.height + 1) accept(head)
    else await catchUp(head.height)
    if (tip.height >= wanted) await end(0, { event: 'done', height: tip.height })
  }).catch((error) => end(FALSE_HEAD, { event: 'false_head', reason: error.message }))
}

async function end (code, fact) {
  tell(fact)
  await Promise.race([node.stop(), new Promise((resolve) => setTimeout(resolve, 1_000))])
  process.exit(code)
}

// A node opens its channels on us as we do on it; those that an observer has no use for are read and let go.
await node.handle(BLOCKS, ({ stream }) => { readChannel(stream, hear).catch(() => {}) })
await node.handle(REQUEST, ({ stream }) => { serveRequests(stream, { status }).catch(() => {}) })
for (const channel of ['consensus', 'transactions']) {
  await node.handle(`/drex/${channel}/1`, ({ stream }) => { readChannel(stream, () => {}).catch(() => {}) })
}

let refusal = 'no peer in the bundle'
for (const address of peers) {
  try {
    const connection = await node.dial(multiaddr(address), { signal: AbortSignal.timeout(ADMISSION_MS) })
    const asks = await openRequests(connection)
    const late = new Promise((_resolve, reject) => setTimeout(() => reject(new Error('no answer')), ADMISSION_MS))
    const [, , height] = unpack(await Promise.race([asks('status', status()), late]))
    ask = asks
    tell({ event: 'admitted', by: address, height })
    wanted = height + Number(values.heads)
    work = work.then(() => catchUp(height))
    await work
    break
  } catch (error) {
    refusal = `${address}: ${error.message}`
    if (ask !== null) await end(FALSE_HEAD, { event: 'false_head', reason: error.message })
  }
}
if (ask === null) await end(NOT_ADMITTED, { event: 'not_admitted', reason: refusal })
