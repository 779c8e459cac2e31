"""What a node sees of the validators: who signs, who is reachable, and why no block comes.

Works on every role. A validator and a follower differ in one thing: the follower has no engine to look into.
"""

from __future__ import annotations

from collections.abc import Callable

from consensus.observation import Observation
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.permits import Permits
from drexnode.rpc.node_values import ConsensusStatus, ValidatorInfo
from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock
from ledger.proposers import read_proposer_order, read_suspensions
from p2p.transport import PeerId, Transport
from primitives.keys import PublicKey
from primitives.validators import ValidatorSet


class ValidatorWatch:
    """Follows final blocks; `status` answers for one moment."""

    def __init__(
        self,
        finalizer: Finalizer,
        transport: Transport,
        permits: Permits,
        metrics: Metrics,
        *,
        own_key: PublicKey | None,
        own_name: str,
        observe: Callable[[], Observation | None],
    ) -> None:
        self._finalizer = finalizer
        self._transport = transport
        self._permits = permits
        self._metrics = metrics
        self._own_key = own_key
        self._observe = observe
        self._names: dict[bytes, str] = {} if own_key is None else {own_key: own_name}
        self._last_signed: dict[bytes, int] = {}
        self._set = finalizer.head.validators  # decided the next block
        self._round_changes = 0
        finalizer.on_final(self._on_final)

    def peer_named(self, peer: PeerId, name: str) -> None:
        """A peer said its name; kept for validators, so that a missing one can be named."""
        key = self._permits.validator_key_of(peer)
        if key is not None and key != self._own_key:
            self._names[key] = name

    def name_of(self, key: bytes) -> str:
        """A validator's name if it was heard, else the beginning of its key."""
        return self._names.get(key) or key.hex()[:12]

    def status(self) -> ConsensusStatus:
        """Where consensus stands, as far as this node can see."""
        head, seen = self._finalizer.head, self._observe()
        validators = head.validators
        infos = self._infos(validators, head.height + 1, seen)
        reachable = sum(info.connected for info in infos)
        return ConsensusStatus(
            height=head.height + 1,
            round=0 if seen is None else seen.round,
            phase="observing" if seen is None else str(seen.phase),
            proposer=self._proposer(validators, head.height + 1) if seen is None else seen.proposer,
            quorum=validators.quorum,
            reachable=reachable,
            validators=infos,
            stalled_reason=_stalled_reason(infos, validators.quorum, reachable),
            round_changes=self._round_changes,
        )

    def _proposer(self, validators: ValidatorSet, height: int) -> bytes:
        parent_proposer = self._finalizer.head.header.proposer
        return read_proposer_order(self._finalizer.state, validators, parent_proposer, height)[0]

    def _infos(
        self, validators: ValidatorSet, height: int, seen: Observation | None
    ) -> tuple[ValidatorInfo, ...]:
        suspensions = read_suspensions(self._finalizer.state, validators)
        asked = seen.asked_rounds if seen is not None and seen.height == height else ()
        return tuple(
            ValidatorInfo(
                index=index,
                public_key=key,
                name=self.name_of(key),
                connected=self._is_connected(key),
                last_signed_height=self._last_signed.get(key),
                suspended_until=suspensions[key].until if key in suspensions else None,
                seen_round=asked[index] if index < len(asked) else None,
            )
            for index, key in enumerate(validators.keys)
        )

    def _is_connected(self, key: bytes) -> bool:
        if key == self._own_key:
            return True
        return any(map(self._transport.is_connected, self._permits.peers_of_validator(key)))

    def _on_final(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        decided_by, self._set = self._set, executed.next_validators
        signers = {decided_by.keys[index] for index, _ in block.certificate.seals if index < decided_by.size}
        metrics = self._metrics
        for index, key in enumerate(decided_by.keys):
            label = str(index)
            if key in signers:
                self._last_signed[key] = block.height
                metrics.validator_last_signed_height.labels(label).set(block.height)
            else:
                metrics.validator_missed_total.labels(label).inc()
        if block.certificate.round > 0:
            self._round_changes += block.certificate.round
            if self._observe() is None:  # an engine counts the rounds that it leaves itself
                metrics.qbft_round_changes_total.labels("decided_late").inc(block.certificate.round)
        self.refresh()

    def refresh(self) -> None:
        """Bring the quorum's margin up to date: also while no block comes."""
        reachable = sum(self._is_connected(key) for key in self._set.keys)
        self._metrics.qbft_quorum_margin.set(reachable - self._set.quorum)


def _stalled_reason(infos: tuple[ValidatorInfo, ...], quorum: int, reachable: int) -> str | None:
    if reachable >= quorum:
        return None
    missing = ", ".join(info.name for info in infos if not info.connected)
    return f"{reachable} of {len(infos)} validators reachable, {quorum} are needed: {missing} missing"
