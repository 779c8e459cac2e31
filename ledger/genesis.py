"""The genesis document: what a network agrees on before its first block, and the state that follows from it.

The document is a canonical array; `chain_id = H("drex/genesis", document)`, so it does not contain the id and
every signature on the chain is tied to all of it. Its JSON is a view (`ledger/genesis_json.py`). Promises:
a document that decodes and passes `check_genesis` gives a state in which every ledger rule holds; equal
documents give equal genesis blocks on every machine. Layout: docs/encodings.md, "Genesis".
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.context import LedgerParameters
from ledger.genesis_checks import check_genesis
from ledger.genesis_records import GenesisDocument
from ledger.genesis_state import genesis_view
from ledger.parameters import ChainParameters
from ledger.state import StateDelta
from ledger.state_tree import StateTree, TreePatch
from primitives.block import HEADER_VERSION, BlockHeader, BlockId, block_id
from primitives.codec import decode, encode
from primitives.hashing import ZERO_HASH, tagged_hasher
from primitives.keys import PUBLIC_KEY_BYTES
from primitives.limits import MAX_GENESIS_BYTES
from primitives.merkle import merkle_root
from primitives.validators import ValidatorSet

_hash_genesis = tagged_hasher("drex/genesis")


@dataclass(frozen=True, slots=True)
class GenesisState:
    """Height 0: a header, and the delta and patch that fill an empty state and an empty tree."""

    header: BlockHeader
    block_id: BlockId
    delta: StateDelta
    patch: TreePatch
    validators: ValidatorSet


def encode_genesis(document: GenesisDocument) -> bytes:
    """The canonical bytes of a document."""
    return encode(document)


def decode_genesis(data: bytes) -> GenesisDocument:
    """Read and check a document. Raises `DecodeError`: GENESIS_INVALID says which part breaks which rule."""
    document = decode(data, GenesisDocument, max_bytes=MAX_GENESIS_BYTES)
    check_genesis(document)
    return document


def chain_id_of(document: GenesisDocument) -> bytes:
    """H("drex/genesis", document), 32 bytes."""
    return _hash_genesis(encode(document))


def genesis_validators(document: GenesisDocument) -> ValidatorSet:
    """The set of epoch 0, which decides height 1."""
    return ValidatorSet(0, tuple(validator.public_key for validator in document.validators))


def ledger_parameters(document: GenesisDocument) -> LedgerParameters:
    """The part of the parameters that the rules of transactions need."""
    chain: ChainParameters = document.parameters
    return LedgerParameters(document.bcb.ispb, chain.replay_window_blocks, chain.recovery_delay_blocks)


def make_genesis_state(document: GenesisDocument, tree: StateTree) -> GenesisState:
    """Height 0 of the chain. `tree` is empty and stays so. Raises `DecodeError` (GENESIS_INVALID)."""
    check_genesis(document)
    validators = genesis_validators(document)
    delta = genesis_view(document, chain_id_of(document), validators).delta()
    patch = tree.apply(delta.changes)
    header = BlockHeader(
        version=HEADER_VERSION,
        height=0,
        parent_id=ZERO_HASH,
        timestamp_ms=document.timestamp_ms,
        proposer=bytes(PUBLIC_KEY_BYTES),
        tx_count=0,
        tx_root=merkle_root([]),
        state_root=patch.root,
        validators_hash=validators.hash,
        next_validators_hash=validators.hash,
    )
    return GenesisState(header, block_id(header), delta, patch, validators)
