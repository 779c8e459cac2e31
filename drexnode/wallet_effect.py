"""What a signature will do, checked before it is given.

Guarantees: the outputs a body spends are read from the transactions that made them, whose hash is the name in
the input, so no node and no file can lie about them; `check_terms` lets a signature pass only for a TRANSFER
that changes the signer's own lock by exactly the expected amounts, and that spends nothing else the signer's
key could open: every other input is the key lock of somebody whose signature or key is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from drexnode import client as rpc
from drexnode.wallet_accounts import WalletError
from drexnode.wallet_draft import Draft
from ledger.genesis import chain_id_of, decode_genesis
from ledger.genesis_records import GenesisOutput
from ledger.locks import key_lock, keys_of, lock_of
from ledger.payloads import Kind
from ledger.transaction import Body, OutPoint, Output, decode_transaction
from primitives.errors import DecodeError

Sources = Mapping[OutPoint, Output]


class Place(NamedTuple):
    """A lock and an asset."""

    lock: bytes
    asset: str


def read_sources(client: rpc.Client, chain_id: bytes, body: Body) -> Sources:
    """The outputs that `body` spends, each checked against the hash in its name.

    Raises `WalletError` WALLET_SOURCE_UNKNOWN for one that the node can't show or shows falsely.
    """
    return sources_of(body, lambda txid: outputs_in(read_maker(client, chain_id, txid), chain_id, txid))


def sources_of(body: Body, outputs_of: Callable[[bytes], tuple[Output, ...]]) -> Sources:
    """The outputs that `body` spends, from those of each transaction. Raises WALLET_SOURCE_UNKNOWN."""
    made = {txid: outputs_of(txid) for txid in sorted({point.txid for point in body.inputs})}
    found = {}
    for point in body.inputs:
        outputs = made[point.txid]
        if point.index >= len(outputs):
            raise _unknown(point.txid)
        found[point] = outputs[point.index]
    return found


def read_maker(client: rpc.Client, chain_id: bytes, txid: bytes) -> bytes:
    """The bytes of a transaction as a node shows them, of the genesis document for the chain's id."""
    try:
        if txid == chain_id:
            return bytes.fromhex(client.run(rpc.genesis())["document"])
        view = client.run(rpc.transaction(txid.hex()))
        return b"" if view is None else bytes.fromhex(view["raw"])
    except (KeyError, ValueError):
        raise _unknown(txid) from None


def outputs_in(data: bytes, chain_id: bytes, txid: bytes) -> tuple[Output, ...]:
    """The outputs made by `data`, whose hash must be `txid`. Raises `WalletError` WALLET_SOURCE_UNKNOWN."""
    try:
        if txid == chain_id:
            document = decode_genesis(data)
            if chain_id_of(document) != chain_id:
                raise _unknown(txid)
            return tuple(_output(item) for item in document.outputs)
        transaction = decode_transaction(data, chain_id)
    except DecodeError:
        raise _unknown(txid) from None
    if transaction.txid != txid:
        raise _unknown(txid)
    return transaction.body.outputs


def _output(item: GenesisOutput) -> Output:
    return Output(item.asset, item.value, item.lock, b"")


def _unknown(txid: bytes) -> WalletError:
    message = f"no transaction {txid.hex()} that made an input is shown: what it spends is unknown"
    return WalletError("WALLET_SOURCE_UNKNOWN", message, txid=txid.hex())


def effect_of(body: Body, sources: Sources) -> dict[Place, int]:
    """Net change per lock and asset: > 0 gains, < 0 pays. Zero changes are left out."""
    net: dict[Place, int] = {}
    for point in body.inputs:
        spent = sources[point]
        place = Place(spent.lock, spent.asset)
        net[place] = net.get(place, 0) - spent.value
    for output in body.outputs:
        place = Place(output.lock, output.asset)
        net[place] = net.get(place, 0) + output.value
    return {place: change for place, change in sorted(net.items()) if change}


def check_terms(
    draft: Draft,
    sources: Sources,
    public_key: bytes,
    expected: Mapping[str, int],
    *,
    counterparties: Collection[bytes] = (),
) -> None:
    """Let a signature by `public_key` pass only for what is expected: asset -> change of its own lock.

    `counterparties` are keys whose locks may be spent as well, beside those of signatures that are there.
    Raises `WalletError` WALLET_TERMS_DIFFER.
    """
    if draft.body.kind != Kind.TRANSFER:
        raise _differ(f"it is a {Kind(draft.body.kind).name}, not a TRANSFER")
    lock = key_lock(public_key)
    changes = effect_of(draft.body, sources)
    found = {place.asset: change for place, change in changes.items() if place.lock == lock}
    wanted = {asset: change for asset, change in expected.items() if change}
    if found != wanted:
        raise _differ(f"it changes your holdings by {_words(found)}, agreed is {_words(wanted)}")
    allowed = {lock, *(key_lock(key) for key in [*draft.signers(), *counterparties])}
    for condition in draft.transaction.witness.conditions:
        if public_key not in keys_of(condition):
            allowed.add(lock_of(condition))
    for point in draft.body.inputs:
        if sources[point].lock not in allowed:
            raise _differ(f"it spends {point.txid.hex()}:{point.index}, and nobody shows whose that is")


def _words(changes: Mapping[str, int]) -> str:
    """In smallest units, as the file has them."""
    return ", ".join(f"{change:+d} {asset}" for asset, change in sorted(changes.items())) or "nothing"


def _differ(why: str) -> WalletError:
    return WalletError("WALLET_TERMS_DIFFER", f"not signed: {why}", next="ask the other side for a new file")
