"""An independent judge: what each accepted transaction may have done, kept in plain dictionaries.

Shares no rule with `ledger/`: it reads the transaction, the state before and after as raw entries, and knows
by a table of names who may do what. Each `check_*` is one line of "What must hold" in docs/ledger.md.
"""

from __future__ import annotations

from collections import Counter

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from ledger.payloads import (
    Freeze,
    Kind,
    Move,
    Pause,
    RegistryAct,
    RestoreWallet,
    Resume,
    SetReserveLock,
    Unfreeze,
    ValidatorVote,
)
from ledger.transaction import OutPoint, Transaction
from tests.ledger.play import BANK_KEYS, ISSUERS
from tests.ledger.world import (
    BCB,
    BRL,
    DVT_A,
    DVT_B,
    EMISSION_KEYS,
    MET_C,
    VALIDATOR_NAMES,
    World,
    key,
    lock,
)

Entries = dict[bytes, bytes]
Place = tuple[bytes, str]
NAMES = (
    *("alice", "ana", "bob", "bia", "caio", "cris", "stranger", "thief"),
    *(
        "bank-a",
        "bank-b",
        "wallet-co",
        "bank-a-cash",
        "bank-b-cash",
        "wallet-co-cash",
        "reserve",
        "reserve-2",
    ),
    *VALIDATOR_NAMES,
    *("bcb-1", "bcb-2", "bcb-3", "bcb-orders", "bcb-registry", "bcb-recovery", "stn"),
)
NAME_OF_KEY: dict[bytes, str] = {key(name).public_key: name for name in NAMES}
NAME_OF_LOCK = {lock(name): name for name in NAMES}
VAULT_NAMES = {"alice", "ana", "bob"}
CASH_OF = {DVT_A: lock("bank-a-cash"), DVT_B: lock("bank-b-cash")}


def outputs_in(entries: Entries) -> dict[tuple[bytes, int], tuple[bytes, int, str]]:
    """Every unspent output: (txid, index) -> (lock, amount, asset)."""
    return {
        (name[1:33], int.from_bytes(name[33:], "big")): (
            value[:32],
            int.from_bytes(value[32:40], "big"),
            value[40:].decode(),
        )
        for name, value in entries.items()
        if name[:1] == b"o"
    }


def sums_of(entries: Entries) -> Counter[Place]:
    """Sum of the unspent outputs per (lock, asset)."""
    sums: Counter[Place] = Counter()
    for owner, amount, asset in outputs_in(entries).values():
        sums[owner, asset] += amount
    return sums


def circulating(entries: Entries) -> Counter[str]:
    """Sum of the unspent outputs per asset."""
    total: Counter[str] = Counter()
    for (_, asset), amount in sums_of(entries).items():
        total[asset] += amount
    return total


class Referee:
    """Watches accepted transactions and remembers what it needs to judge the next."""

    def __init__(self, world: World) -> None:
        self.before: Entries = dict(world.state.entries)
        self.freezes: dict[tuple[Place, str, bytes], int] = {}
        self.spent: set[OutPoint] = set()
        self.acts: set[bytes] = set()
        self.references: set[tuple[str, bytes]] = set()
        self.reserve = lock("reserve")

    def observe(self, world: World, transaction: Transaction) -> None:
        """Take an accepted transaction into the books, after the checks."""
        payload = transaction.payload
        if isinstance(payload, Freeze):
            self.freezes[(payload.lock, payload.asset), payload.author, payload.order_id] = payload.amount
        if isinstance(payload, Unfreeze):
            self.freezes.pop(((payload.lock, payload.asset), payload.author, payload.order_id), None)
        if isinstance(payload, RegistryAct) and isinstance(payload.act, SetReserveLock):
            self.reserve = payload.act.lock
        self.spent.update(transaction.body.inputs)
        if not transaction.body.inputs:
            self.acts.add(transaction.txid)
        if transaction.kind is Kind.EMISSION:
            self.references.add((transaction.body.outputs[0].asset, transaction.body.reference))
        self.before = dict(world.state.entries)

    # --- what must hold

    def check_supply(self, world: World, transaction: Transaction) -> None:
        """Emitted − burned = Σ unspent, per asset; and each running balance is the sum of its outputs."""
        after = world.state.entries
        for asset in ISSUERS:
            entry = after.get(b"s" + asset.encode(), bytes(16))
            booked = int.from_bytes(entry[:8], "big") - int.from_bytes(entry[8:], "big")
            assert booked == circulating(after)[asset], asset
        sums = {b"b" + owner + asset.encode(): total for (owner, asset), total in sums_of(after).items()}
        balances = {name: int.from_bytes(value, "big") for name, value in after.items() if name[:1] == b"b"}
        assert balances == sums

    def check_balanced(self, world: World, transaction: Transaction) -> None:
        """What each kind may do to what circulates: only EMISSION creates, TRANSFER changes nothing."""
        change = circulating(world.state.entries)
        change.subtract(circulating(self.before))
        moved = {asset: amount for asset, amount in change.items() if amount}
        match transaction.kind:
            case Kind.EMISSION:
                assert len(moved) == 1
                assert all(amount > 0 for amount in moved.values())
            case Kind.BURN:
                assert len(moved) == 1
                assert all(amount < 0 for amount in moved.values())
            case Kind.MOVE:
                assert all(amount < 0 for amount in moved.values())
            case Kind.INTERBANK_TRANSFER:
                pass  # judged by check_interbank
            case _:
                assert moved == {}

    def check_interbank(self, world: World, transaction: Transaction) -> None:
        """Σ retail unchanged, three assets moved by one amount, from the right cash lock to the right one."""
        if transaction.kind is not Kind.INTERBANK_TRANSFER:
            return
        after, before = circulating(world.state.entries), circulating(self.before)
        change = {asset: after[asset] - before[asset] for asset in (DVT_A, DVT_B, MET_C, BRL)}
        fell = [asset for asset, amount in change.items() if amount < 0]
        rose = [asset for asset, amount in change.items() if amount > 0]
        assert change[BRL] == 0
        assert len(fell) == len(rose) == 1, change
        amount = change[rose[0]]
        assert change[fell[0]] == -amount
        assert ISSUERS[fell[0]] != ISSUERS[rose[0]]
        moved = sums_of(world.state.entries)
        moved.subtract(sums_of(self.before))
        cash = {owner: value for (owner, asset), value in moved.items() if asset == BRL and value}
        lock_of = {**CASH_OF, MET_C: self.reserve}
        assert cash == {lock_of[fell[0]]: -amount, lock_of[rose[0]]: amount}
        signers = self._signers(transaction)
        assert BANK_KEYS[ISSUERS[fell[0]]] in signers
        assert BANK_KEYS[ISSUERS[rose[0]]] in signers

    def check_spent_once(self, world: World, transaction: Transaction) -> None:
        """Every input was unspent before, is listed once, and never comes back."""
        inputs = transaction.body.inputs
        unspent = outputs_in(self.before)
        assert len(set(inputs)) == len(inputs)
        for point in inputs:
            assert point not in self.spent
            assert (point.txid, point.index) in unspent
        assert not {(point.txid, point.index) for point in inputs} & set(outputs_in(world.state.entries))

    def check_frozen(self, world: World, transaction: Transaction) -> None:
        """The holder's act never goes below what is frozen, nor a bank's below what BCB froze."""
        after, before = sums_of(world.state.entries), sums_of(self.before)
        forced = transaction.payload if isinstance(transaction.payload, Move) else None
        if forced is not None and forced.actor == BCB:
            return
        for place, amount in before.items():
            if after[place] < amount:
                floor = sum(
                    frozen
                    for (frozen_place, author, _), frozen in self.freezes.items()
                    if frozen_place == place and (forced is None or author == BCB)
                )
                assert after[place] >= floor, (NAME_OF_LOCK.get(place[0]), place[1])

    def check_backed(self, world: World, transaction: Transaction) -> None:
        """Circulating e-money ≤ BRL under its reserve lock."""
        payload = transaction.payload
        reserve = self.reserve
        if isinstance(payload, RegistryAct) and isinstance(payload.act, SetReserveLock):
            reserve = payload.act.lock
        assert circulating(world.state.entries)[MET_C] <= sums_of(world.state.entries)[reserve, BRL]

    def check_authority(self, world: World, transaction: Transaction) -> None:
        """Nobody without the row's authority changes supply, freezes, moves or registers."""
        signers, payload = self._signers(transaction), transaction.payload
        spent = {outputs_in(self.before)[point.txid, point.index] for point in transaction.body.inputs}
        if isinstance(payload, Move):
            for _, _, asset in spent:
                self._assert_orders(payload.actor, asset, signers)
            return
        for owner, _, _ in spent:
            name = NAME_OF_LOCK.get(owner)
            if name is None:
                assert len(VAULT_NAMES & signers) >= 2, "the vault was opened by fewer than two"
            else:
                assert name in signers, f"{name} did not sign"
        if transaction.kind in (Kind.EMISSION, Kind.BURN):
            self._assert_issuer(self._changed_asset(world), signers)
        elif isinstance(payload, Freeze):
            self._assert_orders(payload.author, payload.asset, signers)
        elif isinstance(payload, Unfreeze):
            self._assert_lifts(payload.actor, payload.author, signers)
        elif isinstance(payload, RegistryAct):
            self._assert_act(payload, signers)
        elif isinstance(payload, ValidatorVote):
            assert NAME_OF_KEY[payload.voter] in signers

    def check_once(self, world: World, transaction: Transaction) -> None:
        """No authorised act applies twice, no order replaces one that stands; an emission's reference is
        unique per asset for ever."""
        assert transaction.txid not in self.acts
        payload = transaction.payload
        if isinstance(payload, Freeze):
            assert ((payload.lock, payload.asset), payload.author, payload.order_id) not in self.freezes
        if transaction.kind is Kind.EMISSION:
            asset = transaction.body.outputs[0].asset
            assert (asset, transaction.body.reference) not in self.references

    # --- the table of authorities, by names

    def _signers(self, transaction: Transaction) -> set[str]:
        """Names whose signature libsodium accepts: the names' keys are ordinary ones."""
        names = set()
        for public_key, signature in transaction.witness.signatures:
            try:
                VerifyKey(public_key).verify(transaction.sighash, signature)
            except BadSignatureError:
                continue
            names.add(NAME_OF_KEY[public_key])
        return names

    def _changed_asset(self, world: World) -> str:
        after, before = circulating(world.state.entries), circulating(self.before)
        (asset,) = (name for name in ISSUERS if after[name] != before[name])
        return asset

    def _assert_issuer(self, asset: str, signers: set[str]) -> None:
        if asset == BRL:
            assert len(signers & set(EMISSION_KEYS)) >= 2
        else:
            assert BANK_KEYS[ISSUERS[asset]] in signers

    def _assert_orders(self, actor: str, asset: str, signers: set[str]) -> None:
        assert actor in (BCB, ISSUERS[asset])
        assert ("bcb-orders" if actor == BCB else BANK_KEYS[actor]) in signers

    def _assert_lifts(self, actor: str, author: str, signers: set[str]) -> None:
        assert actor in (BCB, author)
        assert ("bcb-orders" if actor == BCB else BANK_KEYS[actor]) in signers

    def _assert_act(self, payload: RegistryAct, signers: set[str]) -> None:
        act, actor = payload.act, payload.actor
        if isinstance(act, Pause):
            self._assert_orders(actor, act.asset, signers)
        elif isinstance(act, Resume | RestoreWallet):
            self._assert_lifts(actor, act.author, signers)
        else:
            assert signers & ({"bcb-orders", "bcb-registry"} if actor == BCB else {BANK_KEYS[actor]})
            assert "thief" not in signers
            owner = (
                getattr(act, "ispb", None)
                or getattr(act, "issuer", None)
                or ISSUERS[str(getattr(act, "asset", ""))]
            )
            assert actor in (BCB, owner)
            if type(act).__name__ == "RotateCondition":
                assert actor == owner
                assert (BANK_KEYS[owner] if owner != BCB else "bcb-1") in signers
