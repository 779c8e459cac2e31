"""A player who tries everything: random transactions of all kinds, mostly right, often a little wrong.

Drives the property tests. It looks at the state only to find outputs worth spending; whether what it makes is
allowed is for the ledger to say, and for `tests/ledger/referee.py` to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from ledger.build import assemble
from ledger.locks import Condition, lock_of, threshold
from ledger.payloads import (
    Credential,
    DisableWallet,
    EnableWallets,
    Freeze,
    Kind,
    Move,
    Pause,
    RegisterLock,
    RestoreWallet,
    Resume,
    RotateCondition,
    SetConsent,
    SetReserveLock,
    Unfreeze,
    ValidatorVote,
    VoteOperation,
)
from ledger.transaction import OutPoint, Transaction
from tests.ledger.world import (
    BANK_A,
    BANK_B,
    BCB,
    BRL,
    CHAIN_ID,
    DVT_A,
    DVT_B,
    FREE,
    ISSUER_KEYS,
    MET_C,
    VALIDATOR_NAMES,
    WALLET_CO,
    World,
    key,
    leaf,
    lock,
)

CASH = ("bank-a-cash", "bank-b-cash", "wallet-co-cash", "reserve", "reserve-2")
CLIENTS = {DVT_A: ("alice", "ana", "bob"), DVT_B: ("bob", "bia"), MET_C: ("caio", "cris"), BRL: CASH}
ISSUERS = {DVT_A: BANK_A, DVT_B: BANK_B, MET_C: WALLET_CO, BRL: BCB, FREE: "00394460"}
BANK_KEYS = {BANK_A: "bank-a", BANK_B: "bank-b", WALLET_CO: "wallet-co"}
ASSETS = (DVT_A, DVT_B, MET_C, BRL)
STRANGERS = ("stranger", "alice", "bank-b", "bcb-registry", "bcb-orders", "bcb-1")
VAULT = threshold(2, leaf("alice"), leaf("ana"), leaf("bob"))

Outputs = list[tuple[str, int, str | bytes | Condition]]


class Player:
    """Makes one attempt after the other from a source of randomness."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random
        self.past: list[Transaction] = []
        self.point_owners: dict[bytes, str] = {
            lock(name): name for names in CLIENTS.values() for name in names
        }
        self.moves: tuple[Callable[[], Transaction], ...] = (
            self.emit,
            self.transfer,
            self.transfer,
            self.burn,
            self.interbank,
            self.interbank,
            self.freeze,
            self.freeze,
            self.unfreeze,
            self.move,
            self.registry_act,
            self.vault,
            self.again,
            self.forge,
            self.steal,
            self.joint,
            self.vote,
        )

    def attempt(self, moves: Sequence[str] = ()) -> Transaction:
        """One more transaction; `moves` names the kinds of attempt wanted, all when empty."""
        choices = tuple(getattr(self, name) for name in moves) or self.moves
        transaction: Transaction = self.random.choice(choices)()
        self.past.append(transaction)
        return transaction

    def fund(self) -> None:
        """Something to begin with."""
        for name, asset, amount in (
            ("alice", DVT_A, 100),
            ("bob", DVT_A, 50),
            ("bia", DVT_B, 80),
            ("bank-a-cash", BRL, 90),
            ("bank-b-cash", BRL, 70),
            ("caio", MET_C, 60),
        ):
            self.world.fund(name, asset, amount)

    # --- choices

    def _amount(self, most: int = 40) -> int:
        return self.random.randint(1, max(most, 1))

    def _signers(self, right: Sequence[str]) -> list[str]:
        """Mostly who must sign; sometimes one missing, one replaced, or a stranger besides."""
        chance, signers = self.random.random(), list(dict.fromkeys(right))
        if chance < 0.08 and len(signers) > 1:
            signers.pop(self.random.randrange(len(signers)))
        elif chance < 0.2:
            signers[self.random.randrange(len(signers))] = self.random.choice(STRANGERS)
        elif chance < 0.24:
            signers.append(self.random.choice(STRANGERS))
        return list(dict.fromkeys(signers))

    def _off(self, amount: int) -> int:
        """Mostly the amount itself, sometimes a centavo off."""
        return max(1, amount + self.random.choice((0, 0, 0, 0, 0, 0, -1, 1)))

    def _spendable(self, asset: str) -> tuple[str, list[tuple[OutPoint, int]]]:
        owners = [name for name in CLIENTS[asset] if self.world.outputs(name, asset)]
        owner = self.random.choice(owners or list(CLIENTS[asset]))
        found = self.world.outputs(owner, asset)
        self.random.shuffle(found)
        return owner, found[: self.random.randint(1, 3)] or [(OutPoint(bytes(32), 0), 10)]

    def _order_id(self) -> bytes:
        return b"order %d" % self.random.randint(1, 3)

    # --- attempts

    def emit(self) -> Transaction:
        asset = self.random.choice(ASSETS)
        to, amount = self.random.choice(CLIENTS[asset]), self._amount()
        reference = b"used %d" % self.random.randint(1, 6)
        return self.world.spend(
            [],
            [(asset, amount, to)],
            self._signers(ISSUER_KEYS[asset]),
            kind=Kind.EMISSION,
            reference=reference,
        )

    def transfer(self) -> Transaction:
        asset = self.random.choice(ASSETS)
        owner, found = self._spendable(asset)
        total = sum(amount for _, amount in found)
        amount = self._amount(total)
        outputs: Outputs = [(asset, self._off(amount), self.random.choice((*CLIENTS[asset], "stranger")))]
        if total > amount:
            outputs.append((asset, total - amount, owner))
        points = [point for point, _ in found]
        if self.random.random() < 0.1:
            points.append(points[0])
            outputs.append((asset, found[0][1], owner))
        return self.world.spend(points, outputs, self._signers([owner]))

    def joint(self) -> Transaction:
        """Two owners' outputs to one of them: both must sign."""
        asset = self.random.choice(ASSETS)
        (first, found), (second, more) = self._spendable(asset), self._spendable(asset)
        points = [found[0][0], more[-1][0]]
        signers = [first, second] if self.random.random() < 0.6 else [first]
        return self.world.spend(points, [(asset, found[0][1] + more[-1][1], first)], signers)

    def steal(self) -> Transaction:
        """An output signed by another holder of the same asset, the thief keeping half."""
        asset = self.random.choice(ASSETS)
        _, found = self._spendable(asset)
        point, amount = found[0]
        thief = self.random.choice(CLIENTS[asset])
        return self.world.spend([point], [(asset, amount, thief)], [thief])

    def vote(self) -> Transaction:
        """A validator, or somebody in its name, votes on the candidate."""
        voter, operation = self.random.choice(VALIDATOR_NAMES), self.random.choice(list(VoteOperation))
        payload = ValidatorVote(key(voter).public_key, key("candidate").public_key, operation, 10_000)
        return self.world.order(Kind.VALIDATOR_VOTE, payload, self._signers([voter]))

    def forge(self) -> Transaction:
        """The owner's public key beside a signature that the thief made."""
        asset = self.random.choice(ASSETS)
        owner, found = self._spendable(asset)
        outputs: Outputs = [(asset, found[0][1], self.random.choice(CLIENTS[asset]))]
        signed = self.world.spend([found[0][0]], outputs, ["thief"])
        ((_, signature),) = signed.witness.signatures
        return assemble(signed.body, CHAIN_ID, [(key(owner).public_key, signature)])

    def burn(self) -> Transaction:
        asset = self.random.choice(ASSETS)
        owner, found = self._spendable(asset)
        total = sum(amount for _, amount in found)
        left = self.random.randint(0, total)
        outputs: Outputs = [(asset, left, owner)] if left else []
        signers = self._signers([owner, *ISSUER_KEYS[asset]])
        return self.world.spend([point for point, _ in found], outputs, signers, kind=Kind.BURN)

    def interbank(self) -> Transaction:
        payer_asset, payee_asset, cash, other = self.random.choice(
            (
                (DVT_A, DVT_B, "bank-a-cash", "bank-b-cash"),
                (DVT_B, DVT_A, "bank-b-cash", "bank-a-cash"),
                (DVT_A, MET_C, "bank-a-cash", "reserve"),
                (MET_C, DVT_B, "reserve", "bank-b-cash"),
            )
        )
        owner, found = self._spendable(payer_asset)
        total = sum(amount for _, amount in found)
        cash_points = self.world.outputs(cash, BRL) or [(OutPoint(bytes(32), 1), 10)]
        cash_total = sum(amount for _, amount in cash_points)
        amount = self._amount(min(total, cash_total))
        legs: Outputs = [
            (payee_asset, self._off(amount), self.random.choice(CLIENTS[payee_asset])),
            (BRL, self._off(amount), self.random.choice((other, other, other, "wallet-co-cash"))),
        ]
        if total > amount:
            legs.append((payer_asset, self._off(total - amount), owner))
        if cash_total > amount:
            legs.append((BRL, cash_total - amount, cash))
        if self.random.random() < 0.1:
            legs.pop(self.random.randrange(len(legs)))
        signers = [owner, cash, *ISSUER_KEYS[payer_asset], *ISSUER_KEYS[payee_asset]]
        points = [point for point, _ in (*found, *cash_points)]
        return self.world.spend(points, legs, self._signers(signers), kind=Kind.INTERBANK_TRANSFER)

    def _author(self, asset: str) -> tuple[str, str]:
        return self.random.choice(
            ((BCB, "bcb-orders"), *((ispb, name) for ispb, name in BANK_KEYS.items()), self._issuer(asset))
        )

    def _issuer(self, asset: str) -> tuple[str, str]:
        issuer = ISSUERS[asset]
        return issuer, BANK_KEYS.get(issuer, "bcb-orders")

    def freeze(self) -> Transaction:
        asset = self.random.choice(ASSETS)
        author, signer = self._author(asset)
        target = lock(self.random.choice(CLIENTS[asset]))
        payload = Freeze(author, target, asset, self._amount(60), self._order_id())
        return self.world.order(Kind.FREEZE, payload, self._signers([signer]))

    def unfreeze(self) -> Transaction:
        asset = self.random.choice(ASSETS)
        actor, signer = self._author(asset)
        author, _ = self._author(asset)
        target = lock(self.random.choice(CLIENTS[asset]))
        payload = Unfreeze(actor, target, asset, author, self._order_id())
        return self.world.order(Kind.UNFREEZE, payload, self._signers([signer]))

    def move(self) -> Transaction:
        asset = self.random.choice(ASSETS)
        actor, signer = self._author(asset)
        owner, found = self._spendable(asset)
        total = sum(amount for _, amount in found)
        left = self.random.randint(0, total)
        outputs: Outputs = [(asset, left, owner)] if left else []
        if total > left and self.random.random() < 0.8:
            outputs.append((asset, self._off(total - left), self.random.choice(CLIENTS[asset])))
        points = [point for point, _ in found]
        payload = Move(actor, self._order_id(), ())
        return self.world.spend(points, outputs, self._signers([signer]), kind=Kind.MOVE, payload=payload)

    def registry_act(self) -> Transaction:
        asset = self.random.choice((DVT_A, DVT_B, MET_C))
        actor, signer = self._author(asset)
        author, _ = self._author(asset)
        issuer, target = ISSUERS[asset], lock(self.random.choice(CLIENTS[asset]))
        act = self.random.choice(
            (
                Pause(asset, b"o"),
                Resume(asset, author, b"o"),
                Resume(asset, author, b"o"),
                DisableWallet(issuer, target, b"o"),
                RestoreWallet(issuer, target, author, b"o"),
                RestoreWallet(issuer, target, author, b"o"),
                EnableWallets(issuer, (lock("stranger"),)),
                SetReserveLock(MET_C, lock(self.random.choice(("reserve", "reserve-2")))),
                RegisterLock(WALLET_CO, lock("reserve-2")),
                SetConsent(asset, self.random.random() < 0.3),
                RotateCondition(issuer, Credential.OWN, leaf("thief")),
                RotateCondition(BCB, Credential.EMISSION, leaf("thief")),
            )
        )
        if isinstance(act, RotateCondition):
            signer = self.random.choice((*STRANGERS, *BANK_KEYS.values()))
            actor = act.ispb
            if signer == BANK_KEYS.get(act.ispb):
                signer = "stranger"  # a right rotation would only make later attempts unauthorised
        return self.world.act(actor, act, self._signers([signer]))

    def vault(self) -> Transaction:
        """Lock deposit tokens of A in a 2-of-3, or open it."""
        held = self.world.outputs(lock_of(VAULT), DVT_A)
        if held and self.random.random() < 0.6:
            point, amount = held[0]
            signers = self.random.sample(("alice", "ana", "bob", "bia"), self.random.randint(1, 3))
            to = self.random.choice(CLIENTS[DVT_A])
            return self.world.spend([point], [(DVT_A, amount, to)], signers, conditions=[VAULT])
        owner, found = self._spendable(DVT_A)
        total = sum(amount for _, amount in found)
        return self.world.spend(
            [point for point, _ in found], [(DVT_A, total, VAULT)], self._signers([owner]), payload=(VAULT,)
        )

    def again(self) -> Transaction:
        """Something that was tried before, or the work of the thief's key."""
        if self.past and self.random.random() < 0.8:
            return self.random.choice(self.past[-8:])
        return self.world.emission(DVT_A, 5, "alice", ["thief"])
