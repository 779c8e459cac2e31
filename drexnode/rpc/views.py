"""Values of the node as JSON: bytes in lower-case hex, amounts as text, heights and times as integers.

Absent things are null. Field names are public interface (docs/rpc.md).
"""

from __future__ import annotations

from typing import Any

from drexnode.rpc.chain_values import StoredBlock, StoredTransaction, TransactionState
from drexnode.rpc.money_values import AssetInfo, ParticipantInfo, UnspentOutput
from drexnode.rpc.node_values import NodeIdentity, PendingInfo
from ledger.genesis import decode_genesis
from ledger.genesis_json import document_to_json
from ledger.locks import key_lock
from ledger.transaction import Output, Transaction, decode_transaction
from primitives.address import encode_address
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.validators import ValidatorSet


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def header_view(header: BlockHeader) -> dict[str, Any]:
    """A block header and its id."""
    view: dict[str, Any] = {"block_id": block_id(header).hex()}
    for name in header.__struct_fields__:
        value = getattr(header, name)
        view[name] = value.hex() if isinstance(value, bytes) else value
    return view


def certificate_view(certificate: CommitCertificate, validators: ValidatorSet | None) -> dict[str, Any]:
    """A certificate; `signers` are the public keys, in the order of `seals`."""
    view: dict[str, Any] = {
        "version": certificate.version,
        "height": certificate.height,
        "round": certificate.round,
        "block_id": certificate.block_id.hex(),
        "seals": [{"validator": index, "signature": seal.hex()} for index, seal in certificate.seals],
    }
    if validators is not None:
        view["signers"] = [validators.keys[index].hex() for index, _ in certificate.seals]
        view["validators"] = validators.size
        view["quorum"] = validators.quorum
    return view


def block_view(
    block: StoredBlock, identity: NodeIdentity, validators: ValidatorSet | None, *, full: bool
) -> dict[str, Any]:
    """A final block: header, round and signers of its certificate, and its transactions."""
    certificate = block.certificate
    view = header_view(block.header)
    view["round"] = None if certificate is None else certificate.round
    view["certificate"] = None if certificate is None else certificate_view(certificate, validators)
    if full:
        view["transactions"] = block_transaction_views(block, identity)
    else:
        view["transactions"] = [txid.hex() for txid in block.txids]
    return view


def block_transaction_views(block: StoredBlock, identity: NodeIdentity) -> list[dict[str, Any]]:
    """The decoded transactions of a block that was read in full."""
    views = []
    for index, raw in enumerate(block.transactions):
        transaction = decode_transaction(raw, identity.chain_id)
        place = {"height": block.header.height, "index": index, "block_id": block.block_id.hex()}
        views.append({**_transaction(transaction, identity), "status": "FINAL", **place})
    return views


def transaction_view(stored: StoredTransaction, identity: NodeIdentity) -> dict[str, Any]:
    """A stored transaction, decoded, with its place when it is final."""
    transaction = decode_transaction(stored.raw, identity.chain_id)
    return {
        **_transaction(transaction, identity),
        "status": "PENDING" if stored.height is None else "FINAL",
        "height": stored.height,
        "index": stored.index,
        "block_id": _hex(stored.block_id),
    }


def _transaction(transaction: Transaction, identity: NodeIdentity) -> dict[str, Any]:
    body, witness = transaction.body, transaction.witness
    return {
        "txid": transaction.txid.hex(),
        "wtxid": transaction.wtxid.hex(),
        "kind": transaction.kind.name,
        "version": body.version,
        "inputs": [{"txid": item.txid.hex(), "index": item.index} for item in body.inputs],
        "outputs": [_output(index, item, identity) for index, item in enumerate(body.outputs)],
        "valid_from": body.valid_from,
        "valid_until": body.valid_until,
        "reference": body.reference.hex(),
        "payload": bytes(body.payload).hex(),
        "signers": [
            {"public_key": key.hex(), "address": encode_address(identity.address_prefix, key_lock(key))}
            for key, _ in witness.signatures
        ],
        "conditions": len(witness.conditions),
        "preimages": [item.hex() for item in witness.preimages],
        "size_bytes": transaction.size,
        "raw": transaction.raw.hex(),
    }


def _output(index: int, output: Output, identity: NodeIdentity) -> dict[str, Any]:
    return {
        "index": index,
        "asset": output.asset,
        "amount": str(output.value),
        "address": encode_address(identity.address_prefix, output.lock),
        "lock": output.lock.hex(),
        "note": output.note.hex(),
    }


def state_view(state: TransactionState) -> dict[str, Any]:
    """The state of a transaction."""
    return {
        "txid": state.txid.hex(),
        "status": state.status,
        "height": state.height,
        "index": state.index,
        "block_id": _hex(state.block_id),
        "round": state.round,
        "code": state.code,
        "reason": state.reason,
    }


def pending_view(item: PendingInfo) -> dict[str, Any]:
    """A transaction that waits for a block."""
    return {
        "txid": item.txid.hex(),
        "wtxid": item.wtxid.hex(),
        "kind": item.kind,
        "size_bytes": item.size_bytes,
        "participant": item.participant,
        "added_ms": item.added_ms,
        "parents": [parent.hex() for parent in item.parents],
    }


def unspent_view(item: UnspentOutput, identity: NodeIdentity) -> dict[str, Any]:
    """An unspent output."""
    return {
        "txid": item.txid.hex(),
        "index": item.index,
        "asset": item.asset,
        "amount": str(item.amount),
        "address": encode_address(identity.address_prefix, item.lock),
        "note": item.note.hex(),
        "height": item.height,
    }


def participant_view(item: ParticipantInfo, identity: NodeIdentity) -> dict[str, Any]:
    """A participant; its locks as addresses."""
    settlement = item.settlement_lock
    return {
        "ispb": item.ispb,
        "name": item.name,
        "role": item.role,
        "sponsor": item.sponsor,
        "settlement_address": None
        if settlement is None
        else encode_address(identity.address_prefix, settlement),
        "addresses": [encode_address(identity.address_prefix, lock) for lock in item.locks],
    }


def asset_view(item: AssetInfo, identity: NodeIdentity) -> dict[str, Any]:
    """An asset and its policy."""
    reserve = item.reserve_lock
    return {
        "asset": item.asset,
        "issuer": item.issuer,
        "decimals": item.decimals,
        "holders": item.holders,
        "cap": None if item.cap is None else str(item.cap),
        "min_value": str(item.min_value),
        "order_authority": item.order_authority,
        "paused": item.paused,
        "burn_needs_issuer": item.burn_needs_issuer,
        "standing_consent": item.standing_consent,
        "reserve_address": None if reserve is None else encode_address(identity.address_prefix, reserve),
    }


def genesis_view(identity: NodeIdentity) -> dict[str, Any]:
    """The genesis document: its exact bytes in hex, whose hash is the chain id, and its JSON view."""
    return {
        "network": identity.network,
        "chain_id": identity.chain_id.hex(),
        "document": identity.genesis.hex(),
        "view": document_to_json(decode_genesis(identity.genesis)),
    }
