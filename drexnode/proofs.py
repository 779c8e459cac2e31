"""Makes proofs that stand alone (`ledger/proof.py`) from a node's committed chain.

Promise: header, certificate, way from the genesis and state are of one block, the tip when it was begun.
Reads only, in slices of one page of the tree, and belongs to the thread that owns the chain.
"""

from __future__ import annotations

from drexnode.finalizer import Finalizer
from ledger.genesis import genesis_validators
from ledger.proof import PROOF_VERSION, Proof, Question, Subject
from ledger.slices import Slices, finish
from ledger.state import OUTPUT, SUPPLY, StateReader, read_output
from ledger.state_proof import StateProof
from ledger.state_prover import prove_address_in_slices, prove_entry, prove_output
from ledger.state_tree import StateTree
from ledger.transaction import OutPoint, decode_transaction
from ledger.votes import validators_value
from primitives.errors import DrexError, InvariantViolation
from storage.snapshot_writer import trust_path_to


def prove(chain: Finalizer, question: Question) -> Proof:
    """Answer a question as of the tip, without a pause.

    Raises `DrexError`: PROOF_NO_BLOCK, PROOF_TOO_LARGE, SNAPSHOT_NO_PATH; `StorageFailure`."""
    return finish(prove_in_slices(chain, question))


def prove_in_slices(chain: Finalizer, question: Question) -> Slices[Proof]:
    """`prove` for an event loop; leave it as soon as the chain has another head."""
    head = chain.head
    if head.certificate is None:
        message = "nothing is proven before block 1: the genesis has no certificate"
        raise DrexError("PROOF_NO_BLOCK", message)
    if chain.tree.root != head.header.state_root:
        raise InvariantViolation("STATE_ROOT_MISMATCH", f"the tree is not that of block {head.height}")
    proven = yield from state_proof_in_slices(chain.tree, chain.state, question)
    return Proof(
        PROOF_VERSION,
        chain.chain_id,
        question,
        head.header,
        head.certificate,
        validators_value(genesis_validators(chain.genesis)),
        trust_path_to(chain.store.state.view, head.header),
        proven,
    )


def state_proof(tree: StateTree, state: StateReader, question: Question) -> StateProof:
    """The part of a proof that the state root vouches for. Raises `DecodeError` (PROOF_TOO_LARGE)."""
    return finish(state_proof_in_slices(tree, state, question))


def state_proof_in_slices(tree: StateTree, state: StateReader, question: Question) -> Slices[StateProof]:
    """`state_proof` in slices; worthless once the tree has changed."""
    name = question.name
    match question.subject:
        case Subject.OUTPUT:
            return prove_output(tree, state, name[:32], int.from_bytes(name[32:], "big"), question.lock)
        case Subject.ADDRESS:
            return (yield from prove_address_in_slices(tree, state, question.lock))
        case Subject.SUPPLY:
            return prove_entry(tree, state, SUPPLY + name)


def lock_of_output(chain: Finalizer, outpoint: OutPoint) -> bytes:
    """The lock of an output, unspent or spent since: it says where in the tree the output would lie.

    Raises `DrexError`: PROOF_NEEDS_ADDRESS when this node does not know the output, BLOCK_PRUNED."""
    txid, index = outpoint.txid, outpoint.index
    value = chain.state.get(OUTPUT + txid + index.to_bytes(4, "big"))
    if value is not None:
        return read_output(value).lock
    locks = [output.lock for output in chain.genesis.outputs] if txid == chain.chain_id else []
    located = chain.queries.transaction(txid)
    if located is not None:
        locks = [output.lock for output in decode_transaction(located.raw, chain.chain_id).body.outputs]
    if index >= len(locks):
        message = f"no output {txid.hex()}:{index} is known here: name the address it should lie at"
        raise DrexError("PROOF_NEEDS_ADDRESS", message)
    return locks[index]
