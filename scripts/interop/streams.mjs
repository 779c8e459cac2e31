// The streams of a connection: one for each kind and side, frames on all of them (docs/network.md, "Streams").
import { concat, frame, frames } from './codec.mjs'

export const BLOCKS = '/drex/blocks/1'
export const REQUEST = '/drex/request/1'
const MAX_FRAME = 1 << 20
const REQUEST_KIND = 0
const CHUNK = 2
const ERROR = 3
const UNKNOWN_METHOD = 1

/** Items that a sink takes as they come. */
function queue () {
  const items = []
  let wake = () => {}
  return {
    push: (item) => { items.push(item); wake() },
    async * [Symbol.asyncIterator] () {
      for (;;) {
        while (items.length > 0) yield items.shift()
        await new Promise((resolve) => { wake = resolve })
      }
    }
  }
}

/** Asks one peer: `ask(method, payload)` gives the bytes of its answer. */
export async function openRequests (connection) {
  const stream = await connection.newStream(REQUEST)
  const out = queue()
  const waiting = new Map()
  stream.sink(out).catch(() => {})
  const listen = async () => {
    for await (const body of frames(stream.source, MAX_FRAME)) {
      const id = Buffer.from(body).readUInt32BE(1)
      const asked = waiting.get(id)
      if (asked === undefined) continue
      if (body[0] === CHUNK) {
        asked.chunks.push(body.subarray(6))
        if (body[5] === 1) { waiting.delete(id); asked.resolve(concat(...asked.chunks)) }
      } else if (body[0] === ERROR) {
        waiting.delete(id)
        asked.reject(new Error(`refused with code ${body[5]}: ${Buffer.from(body.subarray(6)).toString()}`))
      }
    }
  }
  listen().catch(() => {}).finally(() => {
    for (const asked of waiting.values()) asked.reject(new Error('the connection was lost'))
    waiting.clear()
  })
  let next = 1
  return (method, payload) => new Promise((resolve, reject) => {
    const head = Buffer.alloc(6)
    head.writeUInt8(REQUEST_KIND, 0)
    head.writeUInt32BE(next, 1)
    head.writeUInt8(method.length, 5)
    waiting.set(next++, { resolve, reject, chunks: [] })
    out.push(frame(concat(head, Buffer.from(method, 'ascii'), payload)))
  })
}

/** Answers what a peer asks: `answers[method](payload)` gives bytes; every other method is unknown. */
export async function serveRequests (stream, answers) {
  const out = queue()
  stream.sink(out).catch(() => {})
  for await (const body of frames(stream.source, MAX_FRAME)) {
    if (body[0] !== REQUEST_KIND) continue
    const id = body.subarray(1, 5)
    const method = Buffer.from(body.subarray(6, 6 + body[5])).toString('ascii')
    const answer = answers[method]
    if (answer === undefined) out.push(frame(concat([ERROR], id, [UNKNOWN_METHOD], Buffer.from(`no ${method} here`))))
    else out.push(frame(concat([CHUNK], id, [1], answer(body.subarray(6 + body[5])))))
  }
}

/** Calls `hear` with the payload of every frame that a peer writes on a channel. */
export async function readChannel (stream, hear) {
  for await (const payload of frames(stream.source, MAX_FRAME)) await hear(payload)
}
