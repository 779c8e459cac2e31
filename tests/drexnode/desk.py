"""An admission over a real chain, with its surroundings remembered: what it spread, whom it reported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
import trio.testing

from drexnode.admission import Admission
from drexnode.finalizer import Finalizer
from drexnode.rpc.chain_values import Submitted
from drexnode.verifier import Check, Verifier
from drexnode.wire import Role
from ledger.genesis_records import GenesisDocument
from ledger.mempool import Mempool, MempoolLimits
from ledger.transaction import Transaction
from p2p.transport import Offence, PeerId
from tests.drexnode.chain import Chain, genesis_document, open_finalizer


class CountingVerifier(Verifier):
    """Verifies here, and remembers how much it was asked; waits for `gate` before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()
        self.gate.set()
        self.calls: list[int] = []

    async def verify(self, checks: Sequence[Check]) -> list[bool]:
        self.calls.append(len(checks))
        await self.gate.wait()
        return await super().verify(checks)


@dataclass
class Desk:
    """One node's admission, and what it told others."""

    finalizer: Finalizer
    chain: Chain
    verifier: CountingVerifier
    now_ms: int
    spread: list[tuple[list[Transaction], bool]] = field(default_factory=list)
    reports: list[tuple[PeerId, Offence, str]] = field(default_factory=list)
    woken: int = 0
    admission: Admission = field(init=False)

    def open(self, role: Role, limits: MempoolLimits) -> None:
        self.admission = Admission(
            role=role,
            pool=Mempool(limits),
            finalizer=self.finalizer,
            verifier=self.verifier,
            spread=self._spread,
            report=lambda peer, offence, detail: self.reports.append((peer, offence, detail)),
            metrics=self.finalizer._metrics,
            now_ms=lambda: self.now_ms,
        )
        self.admission.on_executable = self._wake

    def _spread(self, transactions: Sequence[Transaction], *, source: PeerId | None) -> None:
        self.spread.append((list(transactions), source is None))

    def _wake(self) -> None:
        self.woken += 1

    async def submit(self, *transactions: Transaction) -> list[Submitted]:
        """Through the RPC's door."""
        return await self.admission.admit([transaction.raw for transaction in transactions])

    async def decide(self, *transactions: Transaction) -> None:
        """Make a block of these final, and let the pool follow."""
        await self.finalizer.finalize(*self.chain.build(transactions))
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_desk(
    path: Path,
    role: Role = "validator",
    *,
    limits: MempoolLimits | None = None,
    document: GenesisDocument | None = None,
) -> AsyncIterator[Desk]:
    """A new chain under `path`, and its admission at work."""
    document = document or genesis_document()
    with open_finalizer(path, document) as finalizer:
        now_ms = finalizer.head.header.timestamp_ms + 1000
        desk = Desk(finalizer, Chain(finalizer, document), CountingVerifier(), now_ms)
        desk.open(role, limits or MempoolLimits())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.admission.run)
            yield desk
            nursery.cancel_scope.cancel()


def codes(answers: Sequence[Submitted]) -> list[str | None]:
    """The code of each refusal, None for what was taken."""
    return [None if answer.error is None else answer.error.code for answer in answers]
