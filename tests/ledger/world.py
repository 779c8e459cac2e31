"""A small ledger in a dictionary: BCB, STN, banks, a payment institution, and their clients.

`World.genesis()` writes the state that a genesis would; `apply`, `refused` and the helpers that make
transactions keep tests down to what they are about. Keys are made from names, so failures repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from ledger.apply import apply_transaction
from ledger.assets import AssetRecord, put_asset
from ledger.build import assemble, build_body, make_output, sign_body
from ledger.checks import check_stateless, verify_signatures
from ledger.context import BlockContext, LedgerParameters
from ledger.end_of_block import forget_expired
from ledger.locks import Condition, KeyLeaf, key_lock, lock_of, threshold
from ledger.payloads import Act, Credential, Holders, Kind, Payload, RegistryAct, Role
from ledger.registry import (
    CandidateRecord,
    CredentialRecord,
    LockRecord,
    ParticipantRecord,
    Purpose,
    put_authority,
    put_candidate,
    put_lock,
    put_participant,
    put_recovery,
    put_wallet,
)
from ledger.state import OUTPUT, VALIDATORS, StateView, read_balance, read_output
from ledger.supply import Supply, compare_books, read_supply
from ledger.transaction import Body, OutPoint, Output, Transaction
from primitives.codec import encode
from primitives.errors import InvalidTransaction
from primitives.keys import SigningKey, verify_many
from primitives.validators import ValidatorSet

CHAIN_ID = sha256(b"a test chain").digest()
BRL = "BRL"
BCB, STN, BANK_A, BANK_B, WALLET_CO, SMALL_BANK = (
    "00038166",
    "00394460",
    "AAAA1111",
    "BBBB2222",
    "CCCC3333",
    "DDDD4444",
)
DVT_A, DVT_B, DVT_SMALL = (f"BRL@{ispb}/DVT" for ispb in (BANK_A, BANK_B, SMALL_BANK))
MET_C = f"BRL@{WALLET_CO}/MET"
FREE = f"X:{STN}/GOLD"
REPLAY_WINDOW = 50
RECOVERY_DELAY = 10


def key(name: str) -> SigningKey:
    """The key of a name."""
    return SigningKey(sha256(b"test key " + name.encode()).digest())


def lock(name: str) -> bytes:
    """The key lock of a name."""
    return key_lock(key(name).public_key)


def lock_for(owner: str | bytes | Condition) -> bytes:
    """The lock of a name, of a condition, or itself."""
    if isinstance(owner, str):
        return lock(owner)
    return owner if isinstance(owner, bytes) else lock_of(owner)


def leaf(name: str) -> Condition:
    """The condition of one name's key."""
    return KeyLeaf(key(name).public_key)


VALIDATOR_NAMES = ("validator-0", "validator-1", "validator-2", "validator-3")
VALIDATOR_SET = ValidatorSet(0, tuple(sorted(key(name).public_key for name in VALIDATOR_NAMES)))
EMISSION_KEYS = ("bcb-1", "bcb-2", "bcb-3")
ISSUER_KEYS: dict[str, Sequence[str]] = {
    BRL: EMISSION_KEYS[:2],
    DVT_A: ["bank-a"],
    DVT_B: ["bank-b"],
    DVT_SMALL: ["small-bank"],
    MET_C: ["wallet-co"],
    FREE: ["stn"],
}
PARTICIPANTS = (
    (BANK_A, "Bank A", Role.BANK, "bank-a", ""),
    (BANK_B, "Bank B", Role.BANK, "bank-b", ""),
    (WALLET_CO, "Wallet Co", Role.PAYMENT_INSTITUTION, "wallet-co", ""),
    (SMALL_BANK, "Small Bank", Role.BANK, "small-bank", BANK_B),
    (STN, "Tesouro Nacional", Role.STN, "stn", ""),
)


class Dict:
    """A state kept in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def commit(self, view: StateView) -> None:
        delta = view.delta()
        compare_books(delta)
        for name, (old, new) in delta.changes.items():
            assert self.entries.get(name) == old
            if new is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = new


def policy(issuer: str, holders: Holders = Holders.CLIENTS, **fields: Any) -> AssetRecord:
    """An asset's policy with the usual values."""
    values: dict[str, Any] = {
        "decimals": 2,
        "cap": None,
        "min_value": 1,
        "order_authority": issuer,
        "burn_needs_issuer": True,
        "standing_consent": False,
        "reserve_lock": b"",
        "paused_by": (),
    }
    return AssetRecord(issuer=issuer, holders=holders, **{**values, **fields})


@dataclass
class World:
    """A state, the block in which the next transaction would stand, and the next reference."""

    state: Dict = field(default_factory=Dict)
    height: int = 100
    timestamp_ms: int = 1_800_000_000_000
    serial: int = 0
    validators: ValidatorSet = VALIDATOR_SET
    spenders: dict[OutPoint, tuple[bytes, int]] = field(default_factory=dict)

    @classmethod
    def genesis(cls) -> World:
        """BCB with 2-of-3 emission, banks with cash locks, assets, and clients of each issuer."""
        world = cls()
        view = StateView(world.state)
        emission = threshold(2, *(leaf(name) for name in EMISSION_KEYS))
        put_authority(view, Credential.EMISSION, CredentialRecord(emission))
        put_authority(view, Credential.ORDERS, CredentialRecord(leaf("bcb-orders")))
        put_authority(view, Credential.REGISTRY, CredentialRecord(leaf("bcb-registry")))
        put_recovery(view, leaf("bcb-recovery"))
        put_participant(view, BCB, ParticipantRecord("Banco Central", Role.BCB, None, lock("bcb-cash"), ""))
        put_lock(view, lock("bcb-cash"), LockRecord(BCB, Purpose.SETTLEMENT, "", 0))
        for ispb, name, role, owner, sponsor in PARTICIPANTS:
            settlement = b"" if sponsor else lock(f"{owner}-cash")
            credential = CredentialRecord(leaf(owner))
            put_participant(view, ispb, ParticipantRecord(name, role, credential, settlement, sponsor))
            if settlement:
                put_lock(view, settlement, LockRecord(ispb, Purpose.SETTLEMENT, "", 0))
        put_lock(view, lock("reserve"), LockRecord(WALLET_CO, Purpose.RESERVE, MET_C, 0))
        put_asset(view, BRL, policy(BCB, Holders.PARTICIPANTS))
        for asset, issuer in ((DVT_A, BANK_A), (DVT_B, BANK_B), (DVT_SMALL, SMALL_BANK)):
            put_asset(view, asset, policy(issuer))
        put_asset(view, MET_C, policy(WALLET_CO, reserve_lock=lock("reserve")))
        put_asset(view, FREE, policy(STN, Holders.ANY, burn_needs_issuer=False))
        for issuer, names in (
            (BANK_A, ("alice", "ana", "bob")),
            (BANK_B, ("bob", "bia")),
            (WALLET_CO, ("caio", "cris")),
            (SMALL_BANK, ("davi",)),
        ):
            for name in names:
                put_wallet(view, issuer, lock(name), 0)
        for name in (*VALIDATOR_NAMES, "candidate"):
            put_candidate(view, key(name).public_key, CandidateRecord(BANK_A))
        view.put(VALIDATORS, encode([0, list(world.validators.keys)]))
        world.state.commit(view)
        return world

    # --- applying

    @property
    def context(self) -> BlockContext:
        parameters = LedgerParameters(BCB, REPLAY_WINDOW, RECOVERY_DELAY)
        find_spender = self.spenders.get
        return BlockContext(self.height, self.timestamp_ms, parameters, self.validators, find_spender)

    def apply(self, transaction: Transaction) -> Transaction:
        """Check and apply wholly, as a node does; commit."""
        check_stateless(transaction)
        verify_signatures(transaction, verify_many)
        view = StateView(self.state)
        apply_transaction(view, transaction, self.context)
        self.state.commit(view)
        for point in transaction.body.inputs:
            self.spenders[point] = (transaction.txid, self.height)
        return transaction

    def refused(self, transaction: Transaction) -> str:
        """The code by which the transaction is refused; it must change nothing."""
        view = StateView(self.state)
        try:
            check_stateless(transaction)
            verify_signatures(transaction, verify_many)
            apply_transaction(view, transaction, self.context)
        except InvalidTransaction as error:
            assert view.delta().changes == {}, "a refused transaction left a trace"
            return error.code
        raise AssertionError("the transaction was accepted")

    def advance(self, blocks: int) -> None:
        """Close the block and go on: what expired is forgotten, as at the end of every block."""
        for _ in range(blocks):
            view = StateView(self.state)
            for _ in forget_expired(view, self.height):
                pass
            self.state.commit(view)
            self.height += 1

    # --- looking

    def balance(self, name: str, asset: str) -> int:
        return read_balance(self.state, lock(name), asset)

    def supply(self, asset: str) -> Supply:
        return read_supply(self.state, asset)

    def outputs(self, name_or_lock: str | bytes, asset: str) -> list[tuple[OutPoint, int]]:
        """Unspent outputs of (name, asset), in the order of their keys."""
        wanted = lock(name_or_lock) if isinstance(name_or_lock, str) else name_or_lock
        found = []
        for name, value in sorted(self.state.entries.items()):
            if name[:1] == OUTPUT:
                output = read_output(value)
                if (output.lock, output.asset) == (wanted, asset):
                    found.append((OutPoint(name[1:33], int.from_bytes(name[33:], "big")), output.amount))
        return found

    # --- making

    def body(
        self,
        kind: Kind,
        inputs: Iterable[OutPoint] = (),
        outputs: Iterable[Output] = (),
        payload: Payload = (),
        **fields: Any,
    ) -> Body:
        """A body with a fresh reference, and with valid_until where the kind needs it."""
        self.serial += 1
        inputs = tuple(inputs)
        values: dict[str, Any] = {"reference": b"ref-%d" % self.serial}
        if not inputs:
            values["valid_until"] = self.height + 5
        return build_body(kind, inputs, outputs, payload=payload, **{**values, **fields})

    def sign(
        self,
        body: Body,
        signers: Sequence[str],
        conditions: Iterable[Condition] = (),
        preimages: Iterable[bytes] = (),
    ) -> Transaction:
        signatures = sign_body(body, CHAIN_ID, [key(name) for name in signers])
        return assemble(body, CHAIN_ID, signatures, conditions=conditions, preimages=preimages)

    def emission(
        self, asset: str, amount: int, to: str, signers: Sequence[str], **fields: Any
    ) -> Transaction:
        return self.sign(
            self.body(Kind.EMISSION, (), [make_output(asset, amount, lock(to))], **fields), signers
        )

    def fund(self, to: str, asset: str, amount: int) -> OutPoint:
        """Emit `amount` by the asset's issuer (and its backing first); return the new output."""
        if asset == MET_C:
            self.fund("reserve", BRL, amount)
        return self.apply(self.emission(asset, amount, to, ISSUER_KEYS[asset])).outpoint(0)

    def transfer(self, sender: str, to: str, asset: str, amount: int) -> Transaction:
        """A transfer from as many outputs as needed, with change."""
        picked, total = [], 0
        for point, value in self.outputs(sender, asset):
            if total >= amount:
                break
            picked.append(point)
            total += value
        outputs = [make_output(asset, amount, lock(to))]
        if total > amount:
            outputs.append(make_output(asset, total - amount, lock(sender)))
        return self.sign(self.body(Kind.TRANSFER, picked, outputs), [sender])

    def spend(
        self,
        inputs: Iterable[OutPoint],
        outputs: Iterable[tuple[str, int, str | bytes | Condition]],
        signers: Sequence[str],
        *,
        kind: Kind = Kind.TRANSFER,
        payload: Payload = (),
        conditions: Iterable[Condition] = (),
        preimages: Iterable[bytes] = (),
        **fields: Any,
    ) -> Transaction:
        """A transaction with exactly these inputs and (asset, amount, owner) outputs."""
        made = [make_output(asset, amount, lock_for(owner)) for asset, amount, owner in outputs]
        body = self.body(kind, inputs, made, payload, **fields)
        return self.sign(body, signers, conditions, preimages)

    def act(self, actor: str, act: Act, signers: Sequence[str], **fields: Any) -> Transaction:
        """A REGISTRY transaction."""
        return self.sign(self.body(Kind.REGISTRY, payload=RegistryAct(actor, act), **fields), signers)

    def order(self, kind: Kind, payload: Payload, signers: Sequence[str], **fields: Any) -> Transaction:
        """A FREEZE, UNFREEZE or VALIDATOR_VOTE."""
        return self.sign(self.body(kind, payload=payload, **fields), signers)
