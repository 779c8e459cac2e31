"""Balances, unspent outputs, history, supply and the registry, as the RPC asks (`drexnode.rpc.api.NodeApi`).

Guarantees: each answer is as of one final block and names its height; a page continues the view of the page
before it, or is refused as CURSOR_EXPIRED. Amounts are integers of the asset's smallest unit.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from drexnode.finalizer import Finalizer
from drexnode.rpc.money_values import (
    AssetInfo,
    Balance,
    Balances,
    HistoryEntry,
    HistoryPage,
    ParticipantInfo,
    Supply,
    UnspentOutput,
    UnspentPage,
)
from drexnode.slicing import slices_of
from ledger.assets import AssetRecord, find_asset, get_asset
from ledger.freezes import read_floor
from ledger.registry import ParticipantRecord, find_lock, get_participant
from ledger.state import ASSET, FLOOR, LOCK, OUTPUT, PARTICIPANT, read_output
from ledger.transaction import decode_transaction
from primitives.errors import DrexError
from primitives.limits import DECODE_SLICE, REGISTRY_ROWS
from storage.layout import HISTORY, unspent_prefix
from storage.queries import Page, Unspent

_MAX_INDEX = 2**32 - 1


class MoneyApi:
    """The money's part of `NodeApi`."""

    def __init__(self, finalizer: Finalizer) -> None:
        self._chain = finalizer
        self._rows = finalizer.queries

    async def balances(self, lock: bytes) -> Balances:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        totals = self._rows.balances(lock)
        floors = self._rows.state_entries(FLOOR + lock, REGISTRY_ROWS)
        names = totals.keys() | {key[len(FLOOR) + len(lock) :].decode() for key, _ in floors}
        state = self._chain.state
        return Balances(
            self._chain.head.height,
            {
                name: Balance(totals.get(name, 0), read_floor(state, lock, name).total)
                for name in sorted(names)
            },
        )

    async def unspent(
        self, lock: bytes, asset: str | None, *, height: int | None, after: bytes | None, limit: int
    ) -> UnspentPage:
        """See `NodeApi`. Raises `DrexError` (CURSOR_EXPIRED, CURSOR_INVALID)."""
        await trio.lowlevel.checkpoint()
        cursor = None
        if after is not None:
            name = asset if asset is not None else self._asset_of(after)
            row = unspent_prefix(lock, name) + after
            cursor = self._cursor(height, row + b"\x00")  # the next row after it
        else:
            self._check_view(height)
        page = self._rows.unspent(lock, asset, limit, cursor)
        outputs = await self._with_notes(page)
        last = outputs[-1].txid + outputs[-1].index.to_bytes(4, "big") if outputs else None
        return UnspentPage(page.height, outputs, None if page.cursor is None else last)

    async def history(
        self, lock: bytes, *, height: int | None, before: tuple[int, int] | None, limit: int
    ) -> HistoryPage:
        """See `NodeApi`. Raises `DrexError` (CURSOR_EXPIRED)."""
        await trio.lowlevel.checkpoint()
        cursor = None
        if before is not None:
            place = before[0].to_bytes(8, "big") + min(before[1], _MAX_INDEX).to_bytes(4, "big")
            cursor = self._cursor(height, HISTORY + lock + place)
        else:
            self._check_view(height)
        page = self._rows.history(lock, limit, cursor)
        entries = tuple(HistoryEntry(item.height, item.position, item.txid) for item in page.items)
        last = (entries[-1].height, entries[-1].index) if entries else None
        return HistoryPage(page.height, entries, None if page.cursor is None else last)

    async def supply(self, asset: str) -> Supply | None:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        if find_asset(self._chain.state, asset) is None:
            return None
        supply = self._rows.supply(asset)
        return Supply(self._chain.head.height, supply.emitted, supply.burned)

    async def assets(self) -> list[AssetInfo]:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        names = [key[len(ASSET) :].decode() for key, _ in self._rows.state_entries(ASSET, REGISTRY_ROWS)]
        return [_asset_info(name, get_asset(self._chain.state, name)) for name in names]

    async def participants(self) -> list[ParticipantInfo]:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        locks: dict[str, list[bytes]] = {}
        for ispb, lock in self._own_locks():
            locks.setdefault(ispb, []).append(lock)
        found = []
        for key, _ in self._rows.state_entries(PARTICIPANT, REGISTRY_ROWS):
            ispb = key[len(PARTICIPANT) :].decode()
            found.append(self._participant(ispb, get_participant(self._chain.state, ispb), locks))
        return sorted(found, key=lambda item: (item.name, item.ispb))

    # --- inside

    def _check_view(self, height: int | None) -> None:
        tip = self._chain.head.height
        if height is not None and height != tip:
            message = f"a view of height {height} begins with a cursor; the tip is {tip}"
            raise DrexError("CURSOR_EXPIRED", message, height=height)

    def _cursor(self, height: int | None, row: bytes) -> bytes:
        """Where a page goes on: `storage.queries` reads it as height(8) and a row's key."""
        at = self._chain.head.height if height is None else height
        return at.to_bytes(8, "big") + row

    def _asset_of(self, outpoint: bytes) -> str:
        """The asset of an output that a page named, unspent or spent since. Raises CURSOR_INVALID."""
        value = self._chain.state.get(OUTPUT + outpoint)
        if value is not None:
            return read_output(value).asset
        txid, index = outpoint[:32], int.from_bytes(outpoint[32:], "big")
        names = [output.asset for output in self._chain.genesis.outputs]
        if txid != self._chain.chain_id:
            located = self._rows.transaction(txid)
            body = None if located is None else decode_transaction(located.raw, self._chain.chain_id).body
            names = [] if body is None else [output.asset for output in body.outputs]
        if index >= len(names):
            raise DrexError("CURSOR_INVALID", "the cursor names an output that never was")
        return names[index]

    async def _with_notes(self, page: Page[Unspent]) -> tuple[UnspentOutput, ...]:
        """The note and the height of an output lie with the transaction that made it."""
        outputs: list[UnspentOutput] = []
        for part in slices_of(page.items, DECODE_SLICE // 2):
            outputs += [self._with_note(item) for item in part]
            await trio.lowlevel.checkpoint()
        return tuple(outputs)

    def _with_note(self, item: Unspent) -> UnspentOutput:
        txid, index = item.outpoint.txid, item.outpoint.index
        lock, amount, asset = item.output
        location = self._rows.location(txid)
        if location is None:  # an output of the genesis
            return UnspentOutput(txid, index, asset, amount, lock, height=0)
        note = b""
        if location[0] >= self._rows.pruned_below:
            located = self._rows.transaction(txid)
            if located is not None:
                note = decode_transaction(located.raw, self._chain.chain_id).body.outputs[index].note
        return UnspentOutput(txid, index, asset, amount, lock, note, location[0])

    def _own_locks(self) -> Iterator[tuple[str, bytes]]:
        for key, _ in self._rows.state_entries(LOCK, REGISTRY_ROWS):
            lock = key[len(LOCK) :]
            record = find_lock(self._chain.state, lock)
            if record is not None:
                yield record.ispb, lock

    @staticmethod
    def _participant(ispb: str, record: ParticipantRecord, locks: dict[str, list[bytes]]) -> ParticipantInfo:
        return ParticipantInfo(
            ispb=ispb,
            name=record.name,
            role=record.role.name.lower(),
            settlement_lock=record.settlement_lock or None,
            locks=tuple(sorted(locks.get(ispb, []))),
            sponsor=record.sponsor or None,
        )


def _asset_info(name: str, record: AssetRecord) -> AssetInfo:
    return AssetInfo(
        asset=name,
        issuer=record.issuer,
        decimals=record.decimals,
        holders=record.holders.name.lower(),
        order_authority=record.order_authority,
        cap=record.cap,
        min_value=record.min_value,
        paused=bool(record.paused_by),
        burn_needs_issuer=record.burn_needs_issuer,
        standing_consent=record.standing_consent,
        reserve_lock=record.reserve_lock or None,
    )
