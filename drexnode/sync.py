"""Catching up with the chain, and following it: whatever a peer has and this node has not is fetched.

Promises: claims of peers decide whom to ask and nothing else (`sync_pipeline` believes certificates alone);
memory is bounded by the planner's window; there is no switch between catching up and following at the tip,
so no gap: a head that a peer shows is fetched from that peer in the same turn of the event loop. A validator
leaves the next height to its consensus for `SYNC_PATIENCE_MS` before it asks. That this node is behind, which
closes its pool, is believed of more validators than may lie, not of one peer. docs/sync.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import trio

from drexnode.executor import Executor
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.override_exchange import OverrideExchange
from drexnode.range_parts import FetchedBlock, FetchFailure, FetchRange
from drexnode.range_sync import RangePlanner
from drexnode.rpc.node_values import SyncStatus
from drexnode.sync_pipeline import BlockPipeline, VerifyBodies
from drexnode.sync_progress import SyncProgress
from drexnode.telemetry import get_logger
from drexnode.verifier import Verifier
from drexnode.wire import METHOD_BLOCKS, BlocksRequest, BlocksResponse, decode_message, encode_message
from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock
from p2p.transport import Offence, PeerId, RequestCode, RequestFailed, Transport
from primitives.errors import DecodeError, DrexError
from primitives.limits import (
    MAX_RESPONSE_BYTES,
    SYNC_CHUNK_BYTES,
    SYNC_FAR_BLOCKS,
    SYNC_REQUEST_TIMEOUT_MS,
)
from primitives.validators import max_faulty

_log = get_logger("sync")

_FAILURES = {
    RequestCode.TIMEOUT: FetchFailure.TIMEOUT,
    RequestCode.FAILED: FetchFailure.TIMEOUT,
    RequestCode.BUSY: FetchFailure.BUSY,
    RequestCode.NOT_CONNECTED: FetchFailure.GONE,
    RequestCode.DISCONNECTED: FetchFailure.GONE,
    RequestCode.REFUSED: FetchFailure.REFUSED,
    RequestCode.UNKNOWN_METHOD: FetchFailure.REFUSED,
    RequestCode.TOO_LARGE: FetchFailure.MALFORMED,
}


class Synchroniser:
    """Fetches and makes final what others have decided. One for each node, in every role."""

    def __init__(
        self,
        transport: Transport,
        finalizer: Finalizer,
        executor: Executor,
        verifier: Verifier,
        verify_bodies: VerifyBodies,
        metrics: Metrics,
        overrides: OverrideExchange,
        *,
        patience_ms: int = 0,
        decides: Callable[[], bool] = lambda: True,
        validator_peers: Callable[[], Collection[PeerId]] = lambda: (),
    ) -> None:
        """`patience_ms` is how long the next height is left to the own consensus, while this node `decides`
        it: a validator that was voted out, or not yet in, follows like anybody else. `validator_peers()` are
        the peers of the current validators, this node's own left out."""
        self._transport = transport
        self._finalizer = finalizer
        self._metrics = metrics
        self._patience_ms = patience_ms
        self._decides = decides
        self._validator_peers = validator_peers
        self._planner = RangePlanner(finalizer.head.height)
        self._pipeline = BlockPipeline(
            finalizer,
            executor,
            verifier,
            verify_bodies,
            self._planner.take,
            self._refuse,
            overrides.explain,
        )
        self._overrides = overrides
        self._progress = SyncProgress(_now_ms())
        self._asked_until = 0  # consensus wants blocks up to this height now
        self._claimed: dict[PeerId, int] = {}  # what a peer itself said; consensus only infers
        self._behind_since_ms: int | None = None
        self._changed = trio.Event()
        self._is_held = False
        finalizer.on_final(self._on_final)

    # --- what others tell

    def tip_claimed(self, peer: PeerId, height: int, lowest_height: int = 1) -> None:
        """`peer` says in its status that it holds the final blocks `lowest_height` … `height`."""
        self._claimed[peer] = height
        if self._overrides.unapplied is not None:
            return  # nothing above the head would be believed
        self._planner.claim(peer, height, _now_ms(), lowest_height)
        if height > self._finalizer.head.height:
            self._changed.set()

    def head_seen(self, peer: PeerId, height: int) -> None:
        """`peer` announced the final block at `height`."""
        self._claimed[peer] = max(height, self._claimed.get(peer, 0))
        if self._overrides.unapplied is not None:
            return
        self._planner.seen(peer, height, _now_ms())
        if height > self._finalizer.head.height:
            self._changed.set()

    def peer_gone(self, peer: PeerId) -> None:
        """`peer` is no longer connected."""
        self._claimed.pop(peer, None)
        self._planner.drop_peer(peer)
        self._changed.set()

    def request_sync(self, height: int, peer: PeerId) -> None:
        """Consensus saw that `peer` holds every block below `height`, or will in a moment: fetch them without
        patience. A peer that only voted is not charged for a block it has not stored yet."""
        self._planner.seen(peer, height - 1, _now_ms())
        self._asked_until = max(self._asked_until, height - 1)
        self._changed.set()

    def status(self) -> SyncStatus:
        """Where catching up stands, for people and readiness."""
        source = self._planner.source() if self._progress.is_behind else None
        height = self._finalizer.head.height
        return SyncStatus(self._progress.is_behind, height, max(height, self._credible_target()), source)

    def _credible_target(self) -> int:
        """The height that more validators claim than may lie, so that an honest one is among them; while so
        many are not heard, the highest that anybody claims."""
        lying = max_faulty(len(self._finalizer.head.validators.keys))
        claims = (self._planner.tip_of(peer) for peer in self._validator_peers())
        heard = sorted((tip for tip in claims if tip is not None), reverse=True)
        if len(heard) <= lying:
            return self._planner.target
        return min(self._planner.target, max(self._finalizer.head.height, heard[lying]))

    def hold(self) -> None:
        """Ask for no blocks until `release`: a snapshot comes first."""
        self._is_held = True

    def release(self) -> None:
        """Ask for blocks from now on."""
        self._is_held = False
        self._changed.set()

    # --- the loop

    async def run(self) -> None:
        """Work until cancelled. Raises `InvariantViolation` and `StorageFailure`: then the node stops."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pipeline.run)
            while True:
                self._changed = trio.Event()
                now_ms = _now_ms()
                self._tell_progress(now_ms)
                ready_ms = self._ready_ms(now_ms)
                if ready_ms is not None and ready_ms <= now_ms:
                    for ask in self._planner.plan(now_ms):
                        nursery.start_soon(self._fetch, ask)
                    ready_ms = self._planner.next_wakeup(now_ms)
                with trio.move_on_after(_seconds_until(ready_ms, now_ms)):
                    await self._changed.wait()

    def _ready_ms(self, now_ms: int) -> int | None:
        """When to ask for what is missing; None while nothing is."""
        height, target = self._finalizer.head.height, self._planner.target
        if target <= height or self._is_held:
            self._behind_since_ms = None
            return None
        if self._behind_since_ms is None:
            self._behind_since_ms = now_ms
        is_urgent = self._asked_until > height or target - height >= SYNC_FAR_BLOCKS or not self._decides()
        return self._behind_since_ms if is_urgent else self._behind_since_ms + self._patience_ms

    async def _fetch(self, ask: FetchRange) -> None:
        """Send one request and give its outcome to the planner."""
        message = BlocksRequest(ask.first, ask.first_index, ask.count, SYNC_CHUNK_BYTES)
        planner, peer = self._planner, ask.peer
        try:
            answer = await self._transport.request(
                peer,
                METHOD_BLOCKS,
                encode_message(message),
                timeout_s=SYNC_REQUEST_TIMEOUT_MS / 1000,
                max_response_bytes=MAX_RESPONSE_BYTES,
            )
            parts = decode_message(answer, BlocksResponse).blocks
            offence = planner.received(ask.request_id, parts, _now_ms())
        except RequestFailed as failed:
            code = RequestCode(failed.code)
            _log.debug("sync.request_failed", peer=peer, code=code, first=ask.first, last=ask.last)
            offence = planner.failed(ask.request_id, _FAILURES[code], _now_ms())
        except DecodeError as error:
            _log.warning("sync.malformed_answer", peer=peer, reason=str(error), first=ask.first)
            offence = planner.failed(ask.request_id, FetchFailure.MALFORMED, _now_ms())
        is_own_word = self._claimed.get(peer, 0) >= ask.first
        if offence is not None and (is_own_word or offence is not Offence.UNSERVED):
            self._transport.report(peer, offence, f"blocks {ask.first} to {ask.last}")
        self._pipeline.wake()
        self._changed.set()

    def _refuse(self, fetched: FetchedBlock, error: DrexError) -> None:
        """The pipeline found a false block, or one that follows an override unknown till now."""
        if error.code == "OVERRIDE_LEARNT":
            self._planner.refuse(fetched)
            self._planner.claim(fetched.peer, self._claimed.get(fetched.peer, fetched.height), _now_ms())
            self._changed.set()
            return
        if error.code == "OVERRIDE_NOT_APPLIED":
            self._planner.refuse(fetched)
            for peer in self._claimed:
                self._planner.drop_peer(peer)
            return
        _log.warning("sync.block_refused", peer=fetched.peer, height=fetched.height, reason=str(error))
        self._planner.refuse(fetched)
        self._transport.report(fetched.peer, Offence.LIED, f"block {fetched.height}: {error.code}")
        self._changed.set()

    # --- progress

    def _on_final(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        self._behind_since_ms = None
        self._planner.finalized(block.height)
        self._progress.count(len(block.block.transactions))
        self._changed.set()

    def _tell_progress(self, now_ms: int) -> None:
        height, target = self._finalizer.head.height, self._credible_target()
        self._metrics.sync_target_height.set(target)
        change = self._progress.update(height, target)
        if change is True:
            self._progress.start(now_ms)
            _log.info("sync.started", height=height, target=target)
        elif change is False:
            _log.info("sync.caught_up", height=height)
        elif (report := self._progress.report(height, target, now_ms)) is not None:
            _log.info(
                "sync.progress",
                height=report.height,
                target=report.target,
                blocks_per_second=report.blocks_per_second,
                transactions_per_second=report.transactions_per_second,
                eta_s=report.eta_s,
            )


def _now_ms() -> int:
    return int(trio.current_time() * 1000)


def _seconds_until(moment_ms: int | None, now_ms: int) -> float:
    return float("inf") if moment_ms is None else max(0, moment_ms - now_ms) / 1000
