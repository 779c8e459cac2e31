"""What wallets need: put a body together, sign it, assemble the witness. Offline, no state, no network.

Signing by several parties: each makes `sign_body` with its own keys; `assemble` joins the signatures in any
order. Fees do not exist; change is an ordinary output.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ledger.locks import Condition, lock_of
from ledger.payloads import Kind, Payload
from ledger.transaction import (
    VERSION,
    Body,
    OutPoint,
    Output,
    Transaction,
    Witness,
    make_transaction,
    sighash_of,
)
from primitives.codec import encode
from primitives.keys import SigningKey


def build_body(
    kind: Kind,
    inputs: Iterable[OutPoint] = (),
    outputs: Iterable[Output] = (),
    *,
    valid_from: int = 0,
    valid_until: int = 0,
    reference: bytes = b"",
    payload: Payload = (),
) -> Body:
    """Put a body together. `payload` is the kind's record, or the conditions of output locks in any order."""
    if isinstance(payload, tuple):
        payload = sort_conditions(payload)
    return Body(
        version=VERSION,
        kind=int(kind),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        valid_from=valid_from,
        valid_until=valid_until,
        reference=reference,
        payload=msgspec.Raw(encode(payload)),
    )


def make_output(asset: str, amount: int, lock: bytes, note: bytes = b"") -> Output:
    """An output of `amount` smallest units."""
    return Output(asset, amount, lock, note)


def sign_body(body: Body, chain_id: bytes, keys: Iterable[SigningKey]) -> list[tuple[bytes, bytes]]:
    """One (public key, signature) per key over the body's sighash."""
    message = sighash_of(body, chain_id)
    return [(key.public_key, key.sign(message)) for key in keys]


def assemble(
    body: Body,
    chain_id: bytes,
    signatures: Iterable[tuple[bytes, bytes]],
    *,
    conditions: Iterable[Condition] = (),
    preimages: Iterable[bytes] = (),
) -> Transaction:
    """Join body, signatures of all parties, revealed conditions and preimages into one transaction.

    Repeated entries are dropped and all are sorted. Raises `DecodeError` for what could not be decoded.
    """
    witness = Witness(
        signatures=tuple(sorted(dict(signatures).items())),
        conditions=sort_conditions(conditions),
        preimages=tuple(sorted(set(preimages))),
    )
    return make_transaction(body, witness, chain_id)


def build_transaction(
    body: Body,
    chain_id: bytes,
    keys: Sequence[SigningKey],
    *,
    conditions: Iterable[Condition] = (),
    preimages: Iterable[bytes] = (),
) -> Transaction:
    """Sign `body` with all `keys` and assemble it."""
    return assemble(
        body, chain_id, sign_body(body, chain_id, keys), conditions=conditions, preimages=preimages
    )


def sort_conditions(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """Distinct conditions, ascending by their lock: the order of witness and payload."""
    return tuple(condition for _, condition in sorted({lock_of(c): c for c in conditions}.items()))
