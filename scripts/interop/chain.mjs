// What makes a head true: its id, its parent, the validators that decided it, and a quorum of their seals.
import { ed25519 } from '@noble/curves/ed25519'
import { concat, equal, hex, pack, taggedHash, unpack } from './codec.mjs'

const STEP_COMMIT = 3
const GENESIS_VALIDATORS = 11 // place of the validators in a genesis document

/** The chain that a genesis document begins: its id, and the first set of validators. */
export function openChain (genesis) {
  const keys = unpack(genesis)[GENESIS_VALIDATORS].map(([key]) => key)
  return {
    id: taggedHash('drex/genesis', genesis),
    keys,
    quorum: Math.ceil((2 * keys.length) / 3),
    validatorsHash: taggedHash('drex/validators', pack([0, keys]))
  }
}

/** The fields of `[header, certificate]` that this program looks at, by name. */
export function readHead ([header, certificate]) {
  const [, height, parentId, timestampMs, , txCount, , stateRoot, validatorsHash, nextValidatorsHash] = header
  return {
    height,
    parentId,
    timestampMs,
    txCount,
    stateRoot,
    validatorsHash,
    nextValidatorsHash,
    certificate,
    id: taggedHash('drex/block', pack(header))
  }
}

/** Throws when a head is not final by a quorum of the chain's validators; returns how many sealed it. */
export function verifyHead (chain, head, parent) {
  if (parent !== null && !equal(head.parentId, parent.id)) throw new Error(`block ${head.height} has another parent`)
  if (!equal(head.validatorsHash, chain.validatorsHash)) throw new Error(`block ${head.height} was decided by another set`)
  const [version, height, round, blockId, seals] = head.certificate
  if (version !== 1) throw new Error('the certificate holds no COMMITs')
  if (height !== head.height || !equal(blockId, head.id)) throw new Error('the certificate is of another block')
  if (seals.length < chain.quorum) throw new Error(`${seals.length} seals, ${chain.quorum} are needed`)
  const domain = taggedHash('drex/domain', concat(chain.id, chain.validatorsHash))
  const message = taggedHash('drex/qbft', pack([domain, STEP_COMMIT, height, round, blockId]))
  let last = -1
  for (const [index, signature] of seals) {
    if (index <= last || index >= chain.keys.length) throw new Error('seals are ascending and by members of the set')
    last = index
    // zip215: the one rule by which every node of the network judges crafted keys and signatures
    if (!ed25519.verify(signature, message, chain.keys[index], { zip215: true })) {
      throw new Error(`the seal of validator ${index} on block ${height} is false`)
    }
  }
  if (!equal(head.nextValidatorsHash, head.validatorsHash)) {
    throw new Error(`the set changes after block ${height} to ${hex(head.nextValidatorsHash)}: a light observer ends here`)
  }
  return seals.length
}
