"""The composition root: one node of any role, from its configuration to its end.

`run_node` opens the chain (drexnode/recovery.py), the network and the signature workers, wires the parts and
runs them until it is cancelled or something fails that a node must not survive. Nothing here decides
anything: each part does, and the wiring below is all that they know of each other (docs/node.md).
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from random import Random, SystemRandom
from typing import cast

import trio
from msgspec import structs

from consensus.config import QbftConfig
from consensus.core import QbftCore
from consensus.inputs import Recovered
from consensus.journal import lock_of
from drexnode.admission import Admission
from drexnode.block_builder import BlockBuilder
from drexnode.candidates import Candidates
from drexnode.clock import open_clock, wall_clock_ms
from drexnode.config import ConfigError, NodeConfig
from drexnode.consensus_driver import ConsensusDriver
from drexnode.dissemination import Dissemination
from drexnode.evidence_exchange import EvidenceExchange
from drexnode.evidence_store import EVIDENCE_FOLDER, EvidenceStore, keep_proofs
from drexnode.executor import Executor
from drexnode.finalizer import Finalizer
from drexnode.heads import HeadTracker
from drexnode.home import read_genesis
from drexnode.housekeeping import Housekeeping
from drexnode.intake import Intake
from drexnode.keystore import read_plain_key
from drexnode.metrics import Metrics
from drexnode.node_api import LocalNode
from drexnode.override_exchange import OverrideExchange
from drexnode.override_start import finish_override
from drexnode.permits import Permits
from drexnode.phase_clock import DECIDED
from drexnode.recent_blocks import RecentBlocks
from drexnode.recovery import disk_space, open_chain
from drexnode.relay_groups import RelayGroups
from drexnode.retention import Retention
from drexnode.rpc.server import open_socket, serve_rpc, write_cookie
from drexnode.rpc.tls_renewal import renewed_context
from drexnode.serving import BlockServer
from drexnode.signer import NodeSigner, open_local_signer, without_replaced_set
from drexnode.signer_remote import RemoteSigner
from drexnode.snapshot_keeper import SnapshotKeeper
from drexnode.snapshot_sync import SnapshotReady, SnapshotSync, adopt_restored
from drexnode.stall import StallCauses
from drexnode.sync import Synchroniser
from drexnode.telemetry import get_logger
from drexnode.upgrades import Upgrades
from drexnode.validator_watch import ValidatorWatch
from drexnode.verifier import Verifier, open_verifier
from drexnode.vote_desk import VoteDesk
from drexnode.wire import Role
from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock
from ledger.mempool import Mempool, MempoolLimits
from ledger.state import NODE
from p2p.addresses import parse_address
from p2p.host import open_host
from p2p.transport import PeerEventKind, PeerId, Transport
from primitives.keys import SigningKey, verify
from primitives.limits import MAX_REGISTERED_NODES, PUSH_AFTER_MS, PUSH_BYTES, SYNC_PATIENCE_MS, WAKE_BYTES

# Young objects, then collections of a younger generation, before a generation is collected. A loaded node has
# 100,000 that their reference counts will free: with a lower bound it walks them, 10 to 36 ms at a time, for
# nothing.
COLLECTOR_THRESHOLDS = (200_000, 20, 50)
SEEN_AT_TIP_BLOCKS = 5  # so far behind, a candidate still counts as being at the tip
_log = get_logger("node")


async def run_node(config: NodeConfig, validator_key: SigningKey | None = None) -> None:
    """Run the node of `config` until cancelled. `validator_key` is the unlocked key of a validator that signs
    in this process; without it the plain key file is read.

    Raises `ConfigError`, `StorageFailure` (halt, recover at the next start) and `InvariantViolation`.
    """
    while True:
        adopt_restored(config)
        try:
            await _run_once(config, validator_key)
            return
        except BaseExceptionGroup as group:
            if group.split(SnapshotReady)[1] is not None:
                raise


async def _run_once(config: NodeConfig, validator_key: SigningKey | None) -> None:
    """One opening of the chain: to the node's end, or `SnapshotReady` in a group of exceptions."""
    document = read_genesis(config.genesis_path)
    now_ms = open_clock(os.environ, document.address_prefix)
    listener = open_socket(config.rpc.host, config.rpc.port)
    metrics = Metrics()
    finalizer = open_chain(config, document, metrics)
    peer_key = read_plain_key(config.peer_key_path)
    network = f"{document.name}-{finalizer.chain_id.hex()[:16]}"
    signer = _open_signer(config, finalizer, validator_key)
    settle_collector()
    try:
        async with (
            open_verifier(config.pool.verify_workers, metrics.count_signatures) as verifier,
            open_host(seed=peer_key.seed, network=network, listen=config.p2p.listen) as transport,
        ):
            node = Node(config, finalizer, transport, verifier, signer, metrics, now_ms=now_ms)
            await node.run(listener)
    except BaseException as error:
        keep_proofs(error, config.data_path / EVIDENCE_FOLDER)
        raise
    finally:
        listener.close()
        if signer is not None:
            signer.close()
        finalizer.store.close()


def settle_collector() -> None:
    """What is loaded by now lives as long as the node: the cycle collector need not walk it again. Nearly
    all that the node makes is freed by its reference count, so full collections may be rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def _open_signer(
    config: NodeConfig, finalizer: Finalizer, validator_key: SigningKey | None
) -> NodeSigner | None:
    if config.node.role != "validator":
        return None
    if (path := config.signer_socket) is not None:
        return RemoteSigner(path, finalizer.chain_id)
    key = validator_key or read_plain_key(config.validator_key_path)
    return open_local_signer(config, finalizer.chain_id, key)


class Node:
    """The parts of one running node."""

    def __init__(
        self,
        config: NodeConfig,
        finalizer: Finalizer,
        transport: Transport,
        verifier: Verifier,
        signer: NodeSigner | None,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int] | None = None,
        random: Random | None = None,
    ) -> None:
        """`now_ms` (the wall clock) and `random` are for simulations; by default the machine's own."""
        self._now_ms = now_ms or wall_clock_ms
        self._config = config
        self._finalizer = finalizer
        self._transport = transport
        self._signer = signer
        self._metrics = metrics
        self._configured = configured_peers(config)
        self._persistent: set[PeerId] = set()
        self._permits = Permits(
            finalizer.queries.state_entries(NODE, MAX_REGISTERED_NODES),
            finalizer.head.validators,
            transport.peer_id,
            self._configured,
            finalizer.overrides,
        )
        finalizer.on_final(self._follow_registry)  # first: whoever hears of a block sees its permits
        self._retention = Retention(config, finalizer)
        self._housekeeping = Housekeeping(disk_space(config), metrics)
        self._evidence = EvidenceStore(config.data_path / EVIDENCE_FOLDER)
        self._exchange = EvidenceExchange(
            transport,
            finalizer,
            self._evidence,
            metrics,
            lambda: [peer.peer_id for peer in transport.peers()],
        )
        self._upgrades = Upgrades(transport, finalizer, self._permits, config.node.name)
        self._recent = RecentBlocks()
        finalizer.on_final(self._recent.on_final)
        self._executor = Executor(finalizer, metrics)
        role = cast(Role, config.node.role)  # the configuration accepts these three alone
        groups = RelayGroups(transport.peer_id, self._permits.validators)
        self._dissemination = Dissemination(transport, role, self._permits.other_validators, groups)
        self._admission = Admission(
            role=role,
            pool=Mempool(
                MempoolLimits(max_transactions=config.pool.max_transactions, max_bytes=config.pool.max_bytes)
            ),
            finalizer=finalizer,
            verifier=verifier,
            spread=self._dissemination.spread,
            report=transport.report,
            metrics=metrics,
            now_ms=self._now_ms,
        )
        self._intake = Intake(transport, role, self._admission.admit, self._permits.other_validators, groups)
        self._overrides = OverrideExchange(transport, finalizer)
        self._sync = Synchroniser(
            transport,
            finalizer,
            self._executor,
            verifier,
            self._admission.verify_bodies,
            metrics,
            self._overrides,
            patience_ms=SYNC_PATIENCE_MS,
            decides=lambda: signer is not None and signer.public_key in finalizer.head.validators,
            validator_peers=self._permits.other_validators,
        )
        self._heads = HeadTracker(
            transport,
            finalizer,
            role=role,
            name=config.node.name,
            validator_key=None if signer is None else signer.public_key,
            is_validator=lambda peer: self._permits.validator_key_of(peer) is not None,
            random=random or SystemRandom(),
        )
        self._candidates = Candidates(
            transport=transport,
            admission=self._admission,
            executor=self._executor,
            finalizer=finalizer,
            now_ms=self._now_ms,
            holders=self._permits.other_validators,
        )
        self._candidates.restore()
        self._driver = None if signer is None else self._make_driver(signer)
        self._watch = ValidatorWatch(
            finalizer,
            transport,
            self._permits,
            metrics,
            own_key=None if signer is None else signer.public_key,
            own_name=config.node.name,
            observe=lambda: None if self._driver is None else self._driver.core.observe(),
        )
        self._server = BlockServer(
            finalizer,
            self._recent,
            find_body=self._candidates.body,
            find_block=self._candidates.find,
            exchange_status=self._heads.exchange_status,
        )
        self._snapshots = SnapshotKeeper(config, finalizer, lambda: self._sync.status().syncing)
        self._beginning: SnapshotSync | None = None
        if config.sync.mode != "blocks" and finalizer.head.height == 0:
            self._sync.hold()
            self._beginning = SnapshotSync(config, finalizer.genesis, transport, self._sync.release)
        self._heads.on_tip(self._on_tip)
        self.api = LocalNode(
            config=config,
            finalizer=self._finalizer,
            admission=self._admission,
            transport=transport,
            permits=self._permits,
            heads=self._heads,
            sync=self._sync,
            watch=self._watch,
            metrics=self._metrics,
            evidence=lambda: self._evidence.kept,
            override_missing=self._overrides.missing,
            beginning=None if self._beginning is None else self._beginning.progress,
            causes=self._stall_causes(signer),
            votes=VoteDesk(signer, finalizer, self._admission.admit, self._is_seen),
            configured=frozenset(self._configured),
            upgrades=self._upgrades,
        )

    def _stall_causes(self, signer: NodeSigner | None) -> StallCauses:
        return StallCauses(
            signer=signer,
            is_validator=lambda: signer is not None and signer.public_key in self._finalizer.head.validators,
            room_on_disk=lambda: self._housekeeping.has_room,
            consensus=self._watch.status,
        )

    def _is_seen(self, validator_key: bytes) -> bool:
        """Whether the node registered for a key is connected and at the tip."""
        tip = self._finalizer.head.height
        heads = map(self._heads.peer, self._permits.peers_registered_for(validator_key))
        return any(head is not None and head.height + SEEN_AT_TIP_BLOCKS >= tip for head in heads)

    def _make_driver(self, signer: NodeSigner) -> ConsensusDriver:
        parameters = self._finalizer.genesis.parameters
        core = QbftCore(
            QbftConfig(
                chain_id=self._finalizer.chain_id,
                public_key=signer.public_key,
                verify=verify,
                base_timeout_ms=parameters.base_timeout_ms,
                max_timeout_ms=parameters.max_timeout_ms,
                min_block_interval_ms=parameters.min_block_interval_ms,
                empty_block_period_ms=parameters.empty_block_period_ms,
            ),
            quarantined=signer.in_quarantine,
        )
        builder = BlockBuilder(
            signer.public_key,
            admission=self._admission,
            finalizer=self._finalizer,
            metrics=self._metrics,
            now_ms=self._now_ms,
            batch_wait_ms=self._config.pool.batch_wait_ms,
            room_on_disk=self._housekeeping.room_on_disk,
        )
        driver = ConsensusDriver(
            core,
            signer,
            transport=self._transport,
            permits=self._permits,
            finalizer=self._finalizer,
            candidates=self._candidates,
            builder=builder,
            evidence=self._evidence,
            metrics=self._metrics,
            has_work=lambda: self._admission.has_work,
            push_pool=self._push_pool,
            request_sync=self._sync.request_sync,
            on_phase=self._tell_phase,
        )
        self._admission.on_executable = driver.work_available
        return driver

    # --- running

    async def run(self, listener: socket.socket | None) -> None:
        """Start every part; returns only by cancellation or failure. Without a listener there is no RPC."""
        transport, config = self._transport, self._config
        self._server.register(transport)
        self._snapshots.register(transport)
        self._overrides.register()
        self._exchange.register()
        self._upgrades.register()
        self._heads.subscribe()
        self._intake.subscribe()
        await finish_override(self._finalizer, self._executor, self._candidates.find)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_peers, nursery)
            transport.set_permitted(self._permits.permitted())
            self._stay_connected()
            for part in (self._sync, self._heads, self._intake, self._admission, self._housekeeping):
                nursery.start_soon(part.run)
            nursery.start_soon(self._dissemination.run, self._admission.unfinished)
            if self._driver is not None:
                nursery.start_soon(self._driver.run, self._recovered())
            nursery.start_soon(self._exchange.run)
            nursery.start_soon(self._upgrades.run)
            nursery.start_soon(self.api.run)
            nursery.start_soon(self.api.alerts.run)
            nursery.start_soon(self.api.maintenance.run)
            nursery.start_soon(self._retention.run)
            nursery.start_soon(self._snapshots.run)
            if self._beginning is not None:
                nursery.start_soon(self._beginning.run)
            url = None if listener is None else await self._serve_rpc(nursery, listener)
            _log.info(
                "node.started",
                role=config.node.role,
                rpc=url,
                p2p=list(transport.listen_addresses),
                height=self._finalizer.head.height,
            )

    async def _serve_rpc(self, nursery: trio.Nursery, listener: socket.socket) -> str:
        """Open the RPC and say where."""
        rpc, cookie = self._config.rpc, write_cookie(self._config.cookie_path)
        url: str = await nursery.start(
            partial(
                serve_rpc,
                self.api,
                rpc,
                self._metrics,
                cookie=cookie,
                listener=listener,
                access_path=self._config.path(rpc.access),
                tls=renewed_context(self._config),
            )
        )
        return url

    def _tell_phase(self, height: int, round_: int, phase: str) -> None:
        """For subscribers of consensus."""
        event = {"height": height, "round": round_, "phase": phase, "at_ms": self._now_ms()}
        self.api.consensus_log.add(event)

    def _recovered(self) -> Recovered | None:
        """What the engine must know of the votes before this start."""
        signer = self._signer
        if signer is None:
            return None
        found = signer.recovered(None)
        if found is None:
            return None
        head = self._finalizer.head
        found, height = without_replaced_set(found, head.validators.hash), head.height + 1
        records = found.records if found.watermark is None else (*found.records, found.watermark)
        lock = lock_of(records, height)
        stored = None if lock is None else self._finalizer.queries.stored_block(height, lock.block_id)
        return found if stored is None else structs.replace(found, lock_wtxids=stored.wtxids)

    def _stay_connected(self) -> None:
        """To the configured peers and, for a validator, to all other validators of the day."""
        wanted = set(self._configured)
        if self._driver is not None:
            wanted.update(self._permits.other_validators())
        wanted.discard(self._transport.peer_id)
        for peer in sorted(self._persistent - wanted):
            self._transport.remove_persistent(peer)
        for peer in sorted(wanted - self._persistent):
            self._transport.add_persistent(peer)
        self._persistent = wanted

    async def _watch_peers(self, nursery: trio.Nursery) -> None:
        while True:
            for event in await self._transport.events.receive():
                if event.kind is PeerEventKind.CONNECTED:
                    _log.info("peer.connected", peer=event.peer)
                    self._heads.peer_connected(event.peer)
                    nursery.start_soon(self._overrides.ask, event.peer)
                    nursery.start_soon(self._exchange.offer, event.peer)
                    nursery.start_soon(self._upgrades.ask, event.peer)
                    if self._driver is not None:
                        self._driver.peer_connected(event.peer)
                else:
                    _log.info("peer.disconnected", peer=event.peer, reason=event.reason)
                    self._heads.peer_gone(event.peer)
                    self._upgrades.forget(event.peer)
                    self._sync.peer_gone(event.peer)

    def _on_tip(self, peer: PeerId, height: int, lowest_height: int | None) -> None:
        known = self._heads.peer(peer)
        if known is not None:
            self._watch.peer_named(peer, known.name)
        if lowest_height is None:
            self._sync.head_seen(peer, height)
        else:
            self._sync.tip_claimed(peer, height, lowest_height)
        if self._driver is not None:
            self._driver.tip_reported(peer, height)

    def _push_pool(self, peer: PeerId | None) -> None:
        """Whoever builds next may have missed what has waited here for a while: some of it wakes it. To all
        (a round is changed) goes one frame of it."""
        before_ms, room = self._now_ms() - PUSH_AFTER_MS, PUSH_BYTES if peer is None else WAKE_BYTES
        self._dissemination.push(self._admission.pool.oldest(before_ms, room), peer)

    def _follow_registry(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        if self._driver is None:  # a follower sees of consensus what was decided
            self._tell_phase(block.height, block.certificate.round, DECIDED)
        if self._permits.apply(executed.delta.changes, executed.next_validators):
            self._transport.set_permitted(self._permits.permitted())
            self._stay_connected()


def configured_peers(config: NodeConfig) -> Mapping[PeerId, tuple[str, ...]]:
    """Peers that the configuration names: those to keep connected (with an address) and those allowed."""
    known: dict[PeerId, tuple[str, ...]] = {PeerId(peer): () for peer in config.p2p.allow}
    for text in config.p2p.peers:
        peer = parse_address(text).peer
        if peer is None:
            raise ConfigError("CONFIG_BAD_VALUE", f"p2p.peers: {text} does not end in /p2p/<peer id>")
        known[peer] = (*known.get(peer, ()), text)
    return known
