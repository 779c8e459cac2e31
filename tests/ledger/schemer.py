"""A player that aims at what plain transfers rely on: rules that change just before and after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ledger.payloads import (
    DisableWallet,
    EnableWallets,
    Freeze,
    Kind,
    Pause,
    RegisterLock,
    RemoveLock,
    RestoreWallet,
    Resume,
    Unfreeze,
    UpdateAsset,
)
from ledger.state import ASSET, FLOOR, LOCK, WALLET
from ledger.transaction import Transaction
from tests.ledger.play import CLIENTS, Player
from tests.ledger.world import BANK_A, BCB, BRL, DVT_A, DVT_B, lock

CATEGORIES = (ASSET, FLOOR, LOCK, WALLET)
GUESTS = ("guest-1", "guest-2", "guest-3", "guest-4")
PLAIN = (*("transfer",) * 6, *("windowed",) * 2, *("right_act",) * 3, *("visit",) * 2, *("till",) * 4)
OTHERS = (
    *("emit", "burn", "interbank", "freeze", "unfreeze", "move", "registry_act", "vault", "again", "joint"),
    "vote",
)


class Schemer(Player):
    """A player that aims at what a transfer may rely on: rules that change just before it."""

    categories: Sequence[bytes] = CATEGORIES

    def windowed(self) -> Transaction:
        """A right transfer, good for heights that may lie before, around or after the next."""
        asset = self.random.choice((DVT_A, DVT_B, BRL))
        owner, found = self._spendable(asset)
        first = max(0, self.world.height + self.random.randint(-2, 2))
        last = self.random.choice((0, max(1, first + self.random.randint(0, 2))))
        outputs = [(asset, sum(amount for _, amount in found), self.random.choice(CLIENTS[asset]))]
        points = [point for point, _ in found]
        return self.world.spend(
            points, outputs, [owner], valid_from=min(first, last or first), valid_until=last
        )

    def right_act(self) -> Transaction:
        """An authorised act on what transfers rely on, forbidding or allowing."""
        client, guest = lock(self.random.choice(CLIENTS[DVT_A])), lock(self.random.choice(GUESTS))
        cash, till = lock("bank-a-cash"), lock("bank-a-till")
        order = b"order %d" % self.random.randint(1, 5)
        acts: dict[bytes, tuple[tuple[str, Any, str], ...]] = {
            ASSET: (
                (BANK_A, Pause(DVT_A, b"o"), "bank-a"),
                (BANK_A, Resume(DVT_A, BANK_A, b"o"), "bank-a"),
                (BCB, UpdateAsset(DVT_A, None, self.random.randint(1, 12)), "bcb-registry"),
            ),
            FLOOR: (
                (BANK_A, Freeze(BANK_A, client, DVT_A, self._amount(90), order), "bank-a"),
                (BANK_A, Unfreeze(BANK_A, client, DVT_A, BANK_A, order), "bank-a"),
            ),
            LOCK: (
                (BANK_A, RegisterLock(BANK_A, till), "bank-a"),
                (BANK_A, RemoveLock(BANK_A, till), "bank-a"),
                (BCB, DisableWallet(BANK_A, cash, b"o"), "bcb-orders"),
                (BCB, RestoreWallet(BANK_A, cash, BCB, b"o"), "bcb-orders"),
            ),
            WALLET: (
                (BANK_A, EnableWallets(BANK_A, (guest,)), "bank-a"),
                (BANK_A, DisableWallet(BANK_A, client, b"o"), "bank-a"),
                (BANK_A, RestoreWallet(BANK_A, client, BANK_A, b"o"), "bank-a"),
            ),
        }
        actor, act, signer = self.random.choice(acts[self.random.choice(self.categories)])
        if isinstance(act, Freeze | Unfreeze):
            return self.world.order(Kind.FREEZE if isinstance(act, Freeze) else Kind.UNFREEZE, act, [signer])
        return self.world.act(actor, act, [signer])

    def visit(self) -> Transaction:
        """A deposit for somebody who may not have been let in yet."""
        owner, found = self._spendable(DVT_A)
        point, amount = found[0]
        return self.world.spend([point], [(DVT_A, amount, self.random.choice(GUESTS))], [owner])

    def till(self) -> Transaction:
        """Wholesale money in and out of a lock that comes and goes."""
        held = self.world.outputs("bank-a-till", BRL)
        if held:
            return self.world.spend([held[0][0]], [(BRL, held[0][1], "bank-a-cash")], ["bank-a-till"])
        owner, found = self._spendable(BRL)
        points = [point for point, _ in found]
        return self.world.spend(points, [(BRL, sum(a for _, a in found), "bank-a-till")], [owner])
