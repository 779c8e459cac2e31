// Bytes: tagged SHA-256, canonical MessagePack, frames of a direct stream (docs/encodings.md, docs/network.md).
import { createHash } from 'node:crypto'
import { decode, encode } from '@msgpack/msgpack'

const sha256 = (...parts) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

/** H(tag, data) = SHA-256(SHA-256(tag) || SHA-256(tag) || data) */
export const taggedHash = (tag, data) => {
  const digest = sha256(new TextEncoder().encode(tag))
  return sha256(digest, digest, data)
}

/** Arrays of integers, bytes and text: the shortest form of each, which is what the canonical encoding is. */
export const pack = (value) => encode(value)
export const unpack = (bytes) => decode(bytes)

export const hex = (bytes) => Buffer.from(bytes).toString('hex')
export const fromHex = (text) => new Uint8Array(Buffer.from(text, 'hex'))
export const equal = (left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)) === 0

export const concat = (...parts) => new Uint8Array(Buffer.concat(parts))

/** `payload` with its length in front, an unsigned varint. */
export function frame (payload) {
  const length = []
  let rest = payload.length
  while (rest > 0x7f) {
    length.push((rest & 0x7f) | 0x80)
    rest >>>= 7
  }
  return concat(new Uint8Array([...length, rest]), payload)
}

/** The frames of a stream's pieces, as they become whole. */
export async function * frames (source, maxBytes) {
  let buffer = Buffer.alloc(0)
  for await (const piece of source) {
    buffer = Buffer.concat([buffer, piece.subarray()])
    for (;;) {
      const header = varint(buffer, maxBytes)
      if (header === null || buffer.length < header.size + header.length) break
      const end = header.size + header.length
      yield new Uint8Array(buffer.subarray(header.size, end))
      buffer = buffer.subarray(end)
    }
  }
}

function varint (buffer, maxBytes) {
  let length = 0
  for (let place = 0; place < 5; place++) {
    if (place >= buffer.length) return null
    length += (buffer[place] & 0x7f) * 2 ** (7 * place)
    if (buffer[place] < 0x80) {
      if (length > maxBytes) throw new Error(`a frame of ${length} bytes, at most ${maxBytes} are allowed`)
      return { length, size: place + 1 }
    }
  }
  throw new Error('a frame\'s length is not a varint of at most five bytes')
}
