"""A long chain of right transactions of every kind, made quickly: what `make replay-million` replays.

Most are transfers between 64 clients of a bank; emissions, burns, interbank transfers, vaults, forced moves,
freezes and their ends, acts of the registry and validators' votes are mixed in. The same seed and length give
the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from random import Random

from ledger.block import Block
from ledger.build import assemble, build_body, make_output, sign_body
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB, BANK_A_MET, BANK_B_DVT, BCB_ISPB
from ledger.locks import Condition, KeyLeaf, lock_of, threshold
from ledger.payloads import (
    Act,
    DisableWallet,
    EnableWallets,
    Freeze,
    Kind,
    Move,
    Pause,
    Payload,
    RegisterCandidate,
    RegistryAct,
    RestoreWallet,
    Resume,
    Unfreeze,
    UpdateAsset,
    ValidatorVote,
    VoteOperation,
)
from ledger.transaction import OutPoint, Transaction
from primitives.keys import SigningKey
from tests.ledger.chain import BRL, Chain, lock, wallet

CLIENTS = tuple(f"client-{number}" for number in range(64))
EMITTED = 1_000_000
COINS_KEPT = 200  # of one owner; above it coins are joined
CLOSED = "client-closed"  # its wallet is disabled and restored, it never holds anything
TRUSTEE = "client-trustee"
KINDS: dict[type, Kind] = {
    Freeze: Kind.FREEZE,
    Unfreeze: Kind.UNFREEZE,
    RegistryAct: Kind.REGISTRY,
    ValidatorVote: Kind.VALIDATOR_VOTE,
}

Coin = tuple[OutPoint, int]
Begun = tuple[Payload, str, Payload]  # what begins something, who signs, what ends it


@cache
def _key(name: str) -> SigningKey:
    return wallet(name)


@cache
def _lock(name: str) -> bytes:
    return lock(name)


@cache
def vault_of(name: str) -> Condition:
    """Two of a client, bob and a trustee."""
    return threshold(2, *(KeyLeaf(_key(each).public_key) for each in (name, "bob", TRUSTEE)))


class MixedChain(Chain):
    """A chain that grows by blocks of mixed transactions."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = Random(seed)
        self.coins: dict[tuple[str, str], list[Coin]] = defaultdict(list)
        self.vaults: list[tuple[OutPoint, int, str]] = []
        self.standing: list[tuple[object, str, Payload]] = []  # what was begun, who ends it, and how
        self.acts = 0
        self.rare: tuple[Callable[[], Transaction], ...] = (
            self._emit,
            self._emit,
            self._burn,
            self._interbank,
            self._into_vault,
            self._out_of_vault,
            self._move,
            self._begin,
            self._end,
        )

    def grow(self, transactions: int, a_block: int) -> Iterator[Block]:
        """Commit and yield blocks until they hold `transactions` of them."""
        made = 0
        while made < transactions:
            count = min(a_block, transactions - made)
            batch = self._opening() if self.height == 0 else []
            while len(batch) < count:
                rare = self.random.random() < 0.1
                batch.append(self.random.choice(self.rare)() if rare else self._transfer())
            built = self.build(batch)
            assert not built.refused, built.refused[0].error
            assert built.executed.block.header.tx_count == count
            self.commit(built.executed)
            made += count
            self.blocks.clear()
            yield built.executed.block

    # --- what is mixed

    def _opening(self) -> list[Transaction]:
        wallets = EnableWallets(
            BANK_A_ISPB, tuple(sorted(_lock(name) for name in (*CLIENTS, CLOSED, TRUSTEE)))
        )
        candidate = RegisterCandidate(_key("candidate").public_key, BCB_ISPB)
        batch = [self._act(BANK_A_ISPB, wallets, "bank-a"), self._act(BCB_ISPB, candidate, "bcb-registry")]
        cash = [(BRL, "bank-a", "bcb"), (BRL, "bank-b", "bcb"), (BANK_B_DVT, "bob", "bank-b")]
        deposits = [(BANK_A_DVT, name, "bank-a") for name in (*CLIENTS, "alice")]
        return batch + [self._emission(*row) for row in (*cash, *deposits)]

    def _emit(self) -> Transaction:
        row = self.random.choice(
            [(BRL, "bank-a", "bcb"), (BANK_A_DVT, self._client(), "bank-a"), (BANK_B_DVT, "bob", "bank-b")]
        )
        return self._emission(*row)

    def _emission(self, asset: str, to: str, issuer: str) -> Transaction:
        return self._spend(Kind.EMISSION, [], [(asset, EMITTED, to)], [issuer])

    def _transfer(self) -> Transaction:
        """One coin to two, or all of a crowded owner's to one."""
        owner = self._client()
        held = self.coins[owner, BANK_A_DVT]
        if not held:
            return self._emission(BANK_A_DVT, owner, "bank-a")
        if len(held) > COINS_KEPT:
            coins = [held.pop() for _ in range(100)]
            outputs = [(BANK_A_DVT, sum(amount for _, amount in coins), owner)]
            return self._spend(Kind.TRANSFER, coins, outputs, [owner])
        coin = held.pop(self.random.randrange(len(held)))
        return self._spend(Kind.TRANSFER, [coin], self._split(coin, self._client(), owner), [owner])

    def _burn(self) -> Transaction:
        owner, coin = self._some_coin()
        outputs = self._split(coin, "", owner)[1:]
        return self._spend(Kind.BURN, [coin], outputs, [owner, "bank-a"])

    def _interbank(self) -> Transaction:
        owner, coin = self._some_coin()
        cash = self.coins["bank-a", BRL]
        if sum(amount for _, amount in cash) < coin[1]:
            self._give_back(owner, coin)
            return self._emission(BRL, "bank-a", "bcb")
        used: list[Coin] = []
        while sum(amount for _, amount in used) < coin[1]:
            used.append(cash.pop())
        rest = sum(amount for _, amount in used) - coin[1]
        outputs = [(BANK_B_DVT, coin[1], "bob"), (BRL, coin[1], "bank-b")]
        outputs += [(BRL, rest, "bank-a")] if rest else []
        return self._spend(Kind.INTERBANK_TRANSFER, [coin, *used], outputs, [owner, "bank-a"])

    def _into_vault(self) -> Transaction:
        owner, coin = self._some_coin()
        condition = vault_of(owner)
        body = build_body(
            Kind.TRANSFER,
            [coin[0]],
            [make_output(BANK_A_DVT, coin[1], lock_of(condition))],
            payload=(condition,),
        )
        transaction = assemble(body, self.chain_id, sign_body(body, self.chain_id, [_key(owner)]))
        self.vaults.append((transaction.outpoint(0), coin[1], owner))
        return transaction

    def _out_of_vault(self) -> Transaction:
        if not self.vaults:
            return self._into_vault()
        point, amount, owner = self.vaults.pop(0)
        signers = self.random.sample([owner, "bob", TRUSTEE], 2)
        outputs = [(BANK_A_DVT, amount, owner)]
        return self._spend(Kind.TRANSFER, [(point, amount)], outputs, signers, conditions=[vault_of(owner)])

    def _move(self) -> Transaction:
        owner, coin = self._some_coin()
        payload = Move(BCB_ISPB, self._order_id(), ())
        return self._spend(
            Kind.MOVE, [coin], self._split(coin, self._client(), owner), ["bcb-orders"], payload=payload
        )

    def _begin(self) -> Transaction:
        """Freeze, pause, disable or vote; what ends it is kept for `_end`. All but freezes stand once."""
        begin = self.random.choice((self._freeze, self._pause, self._disable, self._vote))
        if begin is not self._freeze and any(begun == begin for begun, _, _ in self.standing):
            begin = self._freeze
        begun, signer, end = begin(self._order_id())
        self.standing.append((begin, signer, end))
        return self._order(begun, signer)

    def _end(self) -> Transaction:
        if not self.standing:
            cap = self.random.choice((None, 2**62))
            return self._act(BCB_ISPB, UpdateAsset(BANK_A_DVT, cap, 1), "bcb-registry")
        _, signer, end = self.standing.pop(0)
        return self._order(end, signer)

    def _freeze(self, order_id: bytes) -> Begun:
        place, bank = (_lock("alice"), BANK_A_DVT), BANK_A_ISPB
        return Freeze(bank, *place, 1, order_id), "bank-a", Unfreeze(bank, *place, bank, order_id)

    def _pause(self, order_id: bytes) -> Begun:
        resume = RegistryAct(BCB_ISPB, Resume(BANK_A_MET, BCB_ISPB, order_id))
        return RegistryAct(BCB_ISPB, Pause(BANK_A_MET, order_id)), "bcb-orders", resume

    def _disable(self, order_id: bytes) -> Begun:
        restore = RestoreWallet(BANK_A_ISPB, _lock(CLOSED), BANK_A_ISPB, order_id)
        disable = DisableWallet(BANK_A_ISPB, _lock(CLOSED), order_id)
        return RegistryAct(BANK_A_ISPB, disable), "bank-a", RegistryAct(BANK_A_ISPB, restore)

    def _vote(self, _: bytes) -> Begun:
        """One validator of four: no quorum."""
        name, expiry = f"validator-{self.random.randrange(4)}", self.height + 5_000
        voter, subject = _key(name).public_key, _key("candidate").public_key
        withdrawal = ValidatorVote(voter, subject, VoteOperation.WITHDRAW, expiry)
        return ValidatorVote(voter, subject, VoteOperation.ADD, expiry), name, withdrawal

    # --- tools

    def _client(self) -> str:
        return self.random.choice(CLIENTS)

    def _some_coin(self) -> tuple[str, Coin]:
        start = self.random.randrange(len(CLIENTS))
        owner = next(name for name in (*CLIENTS[start:], *CLIENTS[:start]) if self.coins[name, BANK_A_DVT])
        held = self.coins[owner, BANK_A_DVT]
        return owner, held.pop(self.random.randrange(len(held)))

    def _give_back(self, owner: str, coin: Coin) -> None:
        self.coins[owner, BANK_A_DVT].append(coin)

    def _split(self, coin: Coin, to: str, owner: str) -> list[tuple[str, int, str]]:
        amount = self.random.randint(1, coin[1])
        rest = [(BANK_A_DVT, coin[1] - amount, owner)] if coin[1] > amount else []
        return [(BANK_A_DVT, amount, to), *rest]

    def _order_id(self) -> bytes:
        self.acts += 1
        return b"order %d" % self.acts

    def _act(self, actor: str, act: Act, signer: str) -> Transaction:
        return self._order(RegistryAct(actor, act), signer)

    def _order(self, payload: Payload, signer: str) -> Transaction:
        return self._spend(KINDS[type(payload)], [], [], [signer], payload=payload)

    def _spend(
        self,
        kind: Kind,
        coins: Sequence[Coin],
        outputs: Iterable[tuple[str, int, str]],
        signers: Iterable[str],
        *,
        payload: Payload = (),
        conditions: Iterable[Condition] = (),
    ) -> Transaction:
        """Sign a transaction and note the coins it makes."""
        outputs = list(outputs)
        self.serial += 1
        body = build_body(
            kind,
            [point for point, _ in coins],
            [make_output(asset, amount, _lock(to)) for asset, amount, to in outputs],
            valid_until=0 if coins else self.height + 20,
            reference=b"ref-%d" % self.serial,
            payload=payload,
        )
        signatures = sign_body(body, self.chain_id, [_key(name) for name in signers])
        transaction = assemble(body, self.chain_id, signatures, conditions=conditions)
        for index, (asset, amount, to) in enumerate(outputs):
            self.coins[to, asset].append((transaction.outpoint(index), amount))
        return transaction
