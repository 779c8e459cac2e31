"""A wallet: transactions built, signed and followed to finality.

It reads the chain through a node's RPC and signs here: no key leaves the process. What needs several parties
is a `Draft` (`drexnode/wallet_draft.py`) until all have signed. When a coin turns out to be spent by a
transaction still pending, other coins are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from drexnode import client as rpc
from drexnode.wallet_accounts import Account as Account
from drexnode.wallet_accounts import WalletBook as WalletBook
from drexnode.wallet_accounts import WalletError as WalletError
from drexnode.wallet_accounts import find_account as find_account
from drexnode.wallet_accounts import key_of
from drexnode.wallet_coins import Payment, outpoint, pay
from drexnode.wallet_coins import select_coins as select_coins
from drexnode.wallet_draft import Draft, make_draft
from drexnode.wallet_finality import Finality as Finality
from drexnode.wallet_finality import wait_final as wait_final
from ledger.build import build_body, make_output
from ledger.locks import Condition, key_lock
from ledger.payloads import Kind
from ledger.transaction import OutPoint, Transaction
from primitives.address import decode_address, encode_address
from primitives.keys import SigningKey
from primitives.limits import MAX_NOTE_BYTES

PAGE_ROWS = 200
MAX_COINS_READ = 20_000
MAX_ATTEMPTS = 8
ACT_VALID_BLOCKS = 1_000
CONSOLIDATE_INPUTS = 500

Avoid = Collection[OutPoint]
MakeDraft = Callable[[Avoid], Draft]


class Wallet:
    """Builds and submits transactions through one node."""

    def __init__(self, client: rpc.Client) -> None:
        self.client = client
        info = client.run(rpc.network_info())
        self.chain_id = bytes.fromhex(info["node"]["chain_id"])
        self.prefix: str = info["node"]["address_prefix"]
        self._assets = {item.asset: item for item in client.run(rpc.assets())}

    # --- what the chain says

    def asset(self, name: str) -> rpc.Asset:
        """A registered asset. Raises `WalletError` WALLET_ASSET_UNKNOWN."""
        if name not in self._assets:
            known = ", ".join(sorted(self._assets))
            raise WalletError("WALLET_ASSET_UNKNOWN", f"no asset {name!r} is registered; there are {known}")
        return self._assets[name]

    def assets(self) -> list[rpc.Asset]:
        """All registered assets, by name."""
        return [self._assets[name] for name in sorted(self._assets)]

    def only_asset(self, account: Account) -> rpc.Asset:
        """The one asset an account holds. Raises `WalletError` WALLET_FUNDS, WALLET_ASSET_NEEDED."""
        balances = self.client.run(rpc.balance(account.address))
        held = sorted(name for name, balance in balances.items() if balance.total)
        if not held:
            raise WalletError("WALLET_FUNDS", f"{account.name} holds nothing", address=account.address)
        if len(held) > 1:
            message = f"{account.name} holds {', '.join(held)}; name one with --asset"
            raise WalletError("WALLET_ASSET_NEEDED", message)
        return self.asset(held[0])

    def lock(self, address: str) -> bytes:
        """The lock of an address of this network. Raises `DecodeError` ADDRESS_INVALID."""
        return decode_address(self.prefix, address)

    def address(self, lock: bytes) -> str:
        """The address of a lock."""
        return encode_address(self.prefix, lock)

    def address_of(self, key: SigningKey) -> str:
        """The address of a single key."""
        return self.address(key_lock(key.public_key))

    def coins(self, address: str, asset: str) -> list[rpc.Unspent]:
        """All unspent outputs of one asset, at one height."""
        found: list[rpc.Unspent] = []
        cursor = None
        while True:
            page = self.client.run(rpc.unspent(address, asset, cursor, PAGE_ROWS))
            found.extend(page.outputs)
            cursor = page.cursor
            if cursor is None or len(found) >= MAX_COINS_READ:
                return found

    def payment(self, address: str, asset: rpc.Asset, amount: int, avoid: Avoid = ()) -> Payment:
        """Coins of an address that pay `amount`, and the change back to it. Raises `WalletError`."""
        coins = self.coins(address, asset.asset)
        return pay(coins, self.lock(address), amount, asset.min_value, avoid)

    def until(self, blocks: int = ACT_VALID_BLOCKS) -> int:
        """A `valid_until` that many blocks ahead."""
        return self.client.run(rpc.block_number()) + blocks

    def issuer_address(self, asset: rpc.Asset) -> str | None:
        """Settlement address of an asset's issuer, by which a devnet finds the issuer's wallet."""
        for party in self.client.run(rpc.participants()):
            if party["ispb"] == asset.issuer:
                address: str | None = party["settlement_address"]
                return address
        return None

    # --- drafts: nothing is signed or sent

    def transfer_draft(
        self,
        sender: str,
        to: str,
        asset: rpc.Asset,
        amount: int,
        *,
        note: bytes = b"",
        reference: bytes = b"",
        avoid: Avoid = (),
        shown: Iterable[Condition] = (),
    ) -> Draft:
        """Money from one address to another; `shown` are conditions of output locks. Raises `WalletError`."""
        target = self.lock(to)
        if len(note) > MAX_NOTE_BYTES:
            raise WalletError("WALLET_NOTE_TOO_LONG", f"a note has at most {MAX_NOTE_BYTES} bytes")
        payment = self.payment(sender, asset, amount, avoid)
        outputs = [make_output(asset.asset, amount, target, note), *payment.change]
        body = build_body(Kind.TRANSFER, payment.inputs, outputs, reference=reference, payload=tuple(shown))
        return make_draft(body, self.chain_id)

    def burn_draft(
        self, holder: str, asset: rpc.Asset, amount: int, *, reference: bytes = b"", avoid: Avoid = ()
    ) -> Draft:
        """Money out of circulation. Raises `WalletError`."""
        payment = self.payment(holder, asset, amount, avoid)
        body = build_body(Kind.BURN, payment.inputs, payment.change, reference=reference)
        return make_draft(body, self.chain_id)

    def emit_draft(self, to: str, asset: rpc.Asset, amount: int, reference: bytes) -> Draft:
        """New money; `reference` is the operation id, unique per asset for ever."""
        outputs = [make_output(asset.asset, amount, self.lock(to))]
        body = build_body(Kind.EMISSION, (), outputs, valid_until=self.until(), reference=reference)
        return make_draft(body, self.chain_id)

    def consolidate_draft(
        self, address: str, asset: rpc.Asset, limit: int = CONSOLIDATE_INPUTS
    ) -> Draft | None:
        """Merge an address's smallest outputs into one; None when there is nothing to merge."""
        coins = sorted(self.coins(address, asset.asset), key=lambda coin: coin.amount)[:limit]
        if len(coins) < 2:
            return None
        output = make_output(asset.asset, sum(coin.amount for coin in coins), self.lock(address))
        body = build_body(Kind.TRANSFER, [outpoint(coin) for coin in coins], [output])
        return make_draft(body, self.chain_id)

    # --- signed and sent

    def transfer(
        self,
        sender: Account,
        to: str,
        asset: rpc.Asset,
        amount: int,
        *,
        note: bytes = b"",
        reference: bytes = b"",
    ) -> Transaction:
        """Submit a transfer. Raises `WalletError`, `RpcRefused` (TX_…)."""
        key = key_of(sender)

        def make(avoid: Avoid) -> Draft:
            return self.transfer_draft(
                sender.address, to, asset, amount, note=note, reference=reference, avoid=avoid
            ).signed(key)

        return self.submit(make)

    def burn(
        self,
        holder: Account,
        asset: rpc.Asset,
        amount: int,
        issuer: SigningKey | None,
        *,
        reference: bytes = b"",
    ) -> Transaction:
        """Submit a burn; the issuer signs too where the policy says so. Raises as `transfer`."""
        keys = [key_of(holder)] + ([issuer] if issuer is not None else [])

        def make(avoid: Avoid) -> Draft:
            return self.burn_draft(holder.address, asset, amount, reference=reference, avoid=avoid).signed(
                *keys
            )

        return self.submit(make)

    def emit(
        self, issuer: SigningKey, to: str, asset: rpc.Asset, amount: int, reference: bytes
    ) -> Transaction:
        """Submit an emission."""
        return self.submit(lambda avoid: self.emit_draft(to, asset, amount, reference).signed(issuer))

    def consolidate(
        self, account: Account, asset: rpc.Asset, limit: int = CONSOLIDATE_INPUTS
    ) -> Transaction | None:
        """Merge an account's smallest outputs into one; None when there is nothing to merge."""
        draft = self.consolidate_draft(account.address, asset, limit)
        return None if draft is None else self.send(draft.signed(key_of(account)))

    def send(self, draft: Draft) -> Transaction:
        """Submit a draft that all have signed. Raises `RpcRefused` (TX_…)."""
        self.client.run(rpc.send(draft.transaction.raw))
        return draft.transaction

    def submit(self, make: MakeDraft) -> Transaction:
        """Make, submit; coins that a pending transaction spends are left out and others tried.

        Raises `WalletError`, `RpcRefused` (TX_…).
        """
        avoid: set[OutPoint] = set()
        refusal: rpc.RpcRefused | None = None
        for _ in range(MAX_ATTEMPTS):
            try:
                draft = make(avoid)
            except WalletError:
                if refusal is not None:
                    raise refusal from None
                raise
            try:
                return self.send(draft)
            except rpc.RpcRefused as error:
                if error.code != "TX_DOUBLE_SPEND":
                    raise
                refusal = error
                avoid |= set(draft.body.inputs)
        assert refusal is not None
        raise refusal
