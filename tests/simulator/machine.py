"""A simulated machine: the real engine with timers, network, clock and signer, crash and restart.

It knows nothing of blocks: `tests.simulator.node` adds the ledger around it. What happens to the machine is
in its `Faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consensus.config import QbftConfig
from consensus.core import QbftCore
from consensus.effects import (
    Broadcast,
    CancelTimer,
    Persist,
    QuarantineLifted,
    Reject,
    SendTo,
    SetTimer,
)
from consensus.inputs import (
    Input,
    MessageReceived,
    PeerConnected,
    PeerId,
    Recovered,
    SigningFailed,
    Timer,
    TimerExpired,
    TimerKind,
    VoteSigned,
)
from storage.signing_state import Quarantine, RecoveredSigner
from storage.vote_journal import parse_journal
from tests.simulator import chain, signer
from tests.simulator.disk import Disk
from tests.simulator.world import World

_PEER_NAMES = tuple(PeerId(str(number)) for number in range(2 * chain.MAX_NODES))


@dataclass
class Faults:
    """What this node's machine does to it."""

    crash_in_vote: float = 0.0  # chance that a vote is interrupted by a power cut
    restart_after_ms: int = 800
    sync_ms: int = 1  # one fsync
    clock_rate: float = 1.0  # timers run this much slower or faster
    clock_offset_ms: int = 0
    signer_fails: float = 0.0  # chance that the signer can't be reached for a vote; nothing is written
    journal_rot: float = 0.0  # chance that a bit of the journal is flipped while the machine is down
    slot_rot: float = 0.0  # the same for a watermark's slot
    forgets_votes: bool = False  # an amnesiac: journal and watermark are gone at each restart
    has_journal_sync: bool = True
    has_watermark: bool = True
    levels_watermark: bool = True


class Machine:
    """One machine of the world. `number` names it to the others; `key_index` is its validator's."""

    refuses_regression = True  # the signer's own rule; a mutant takes it away

    def __init__(self, world: World, number: int, key_index: int, size: int, config: dict[str, int]) -> None:
        self.world = world
        self.number = number
        self.key = chain.public_key(key_index)
        self.config = QbftConfig(
            chain_id=chain.CHAIN_ID, public_key=self.key, verify=chain.verifier(), **config
        )
        genesis = chain.genesis_header(chain.genesis_state(size))
        self.disk = Disk(chain.CHAIN_ID, self.key, genesis)
        self.faults = Faults()
        self.core: QbftCore | None = None
        self.life = 0  # counts boots: what was under way in an earlier life is void
        self.is_halted = False
        self.is_dead = False
        self.rejects = 0
        self._timers: dict[TimerKind, tuple[Timer, int]] = {}
        self._timer_count = 0
        self.signer_free_at = 0  # ms: when its disk will have done what was given to it so far
        self._handlers: dict[type, Callable[[Any], None]] = {
            Broadcast: self._on_broadcast,
            Persist: self._on_persist,
            SetTimer: self._on_set_timer,
            CancelTimer: self._on_cancel_timer,
            SendTo: self._on_send_to,
            Reject: self._on_reject,
            QuarantineLifted: self._on_quarantine_lifted,
        }

    def start(self, recovered: Recovered | None) -> None:
        """The engine has booted on what the disk holds: begin its height."""
        raise NotImplementedError

    def current_round(self) -> int:
        """The round the engine is in, or will resume in."""
        machine = self.core._machine if self.core is not None else None
        if machine is not None:
            return machine.round
        last = self.disk.last
        return last.round if last is not None and last.height == len(self.disk.chain) else 0

    # --- life and death

    def boot(self) -> None:
        """Start on what the disk holds."""
        if self.is_dead or self.core is not None:
            return
        self.life += 1
        self._timers.clear()
        self.signer_free_at = 0
        recovery = self.recover_signer()
        if isinstance(recovery, Quarantine):
            self.core = QbftCore(self.config, quarantined=True)
            self.start(None)
        else:
            if self.faults.levels_watermark:
                self.disk.level(recovery)
            else:
                self.disk.last = recovery.last
            self.core = QbftCore(self.config)
            self.start(signer.what_was_found(self.disk, recovery))
        for peer in self.world.nodes:
            if peer.core is not None and peer is not self and self.world.can_talk(self.number, peer.number):
                peer.feed(PeerConnected(self.peer_name(self.number)))

    def recover_signer(self) -> RecoveredSigner | Quarantine:
        """What is known of own votes; an amnesiac knows nothing and thinks it has never signed."""
        if self.faults.forgets_votes:
            self.disk.restart_journal(())
            return RecoveredSigner((), None)
        if not self.faults.has_watermark:
            return RecoveredSigner(parse_journal(self.disk.journal).records, None)
        return self.disk.recover()

    def crash(self, restart: bool = True) -> None:
        """The power is cut: what was not synced may be lost."""
        if self.core is None:
            return
        self.core = None
        self.life += 1
        self.disk.crash(lambda size: self.world.random.randrange(size + 1) if size else 0)
        rots = self.faults.journal_rot and self.world.random.random() < self.faults.journal_rot
        if rots and self.disk.has_whole_watermark:  # both at once, on more than f, would end the chain
            self.disk.flip_journal_bit(self.world.random.random())
        if self.faults.slot_rot and self.world.random.random() < self.faults.slot_rot:
            self.disk.flip_slot_bit(self.world.random.random())
        if restart and not self.is_dead:
            self.world.after(self.faults.restart_after_ms, self.boot)

    def die(self) -> None:
        """Never come back."""
        self.crash(restart=False)
        self.is_dead = True

    def release(self) -> None:
        """The schedule is over: cut the rings that would keep engine and node until a collection."""
        machine = self.core._machine if self.core is not None else None
        if machine is not None:
            vars(machine).clear()
        vars(self).clear()

    def _later(self, delay: int, action: Callable[..., None], *arguments: Any) -> None:
        self.world.after(delay, self._if_alive, self.life, action, arguments)

    def _if_alive(self, life: int, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if life == self.life and self.core is not None:
            action(*arguments)

    # --- in and out

    @staticmethod
    def peer_name(number: int) -> PeerId:
        """How nodes are called on the wire."""
        return _PEER_NAMES[number]

    def receive(self, source: int, data: bytes) -> None:
        """A message arrives."""
        if self.core is not None:
            self.world.note(self.number, data)
            self.feed(MessageReceived(_PEER_NAMES[source], data))

    def feed(self, event: Input) -> None:
        """One input to the engine, its effects carried out in order."""
        if self.core is None or self.is_halted:
            return
        self.world.steps += 1
        life, handlers = self.life, self._handlers
        for effect in self.core.step(event):
            handlers[type(effect)](effect)
            if self.life != life:
                return  # the machine died in the middle

    def _on_broadcast(self, effect: Broadcast) -> None:
        self.broadcast(effect.data)

    def broadcast(self, data: bytes) -> None:
        """Send to every other node."""
        self.world.broadcast(self.number, data)

    def _on_send_to(self, effect: SendTo) -> None:
        if effect.peer.isdigit():
            self.world.send(self.number, int(effect.peer), effect.data)

    def _on_reject(self, effect: Reject) -> None:
        self.rejects += 1

    # --- timers

    def _on_set_timer(self, effect: SetTimer) -> None:
        self._timer_count += 1
        self._timers[effect.timer.kind] = (effect.timer, self._timer_count)
        delay = max(1, int(effect.delay_ms * self.faults.clock_rate))
        self.world.after(delay, self._expire, effect.timer, self._timer_count)

    def _on_cancel_timer(self, effect: CancelTimer) -> None:
        self._timers.pop(effect.kind, None)

    def _expire(self, timer: Timer, count: int) -> None:
        if self._timers.get(timer.kind) == (timer, count):
            del self._timers[timer.kind]
            self.feed(TimerExpired(timer))

    # --- signing

    def _on_persist(self, effect: Persist) -> None:
        start = max(self.world.now, self.signer_free_at)
        self.signer_free_at = start + 2 * self.faults.sync_ms
        self._later(self.signer_free_at - self.world.now, self._sign, effect)

    def _sign(self, effect: Persist) -> None:
        record, disk, random = effect.record, self.disk, self.world.random.random
        if self.faults.signer_fails and random() < self.faults.signer_fails:
            self.feed(SigningFailed(effect.token, "SIGNER_UNREACHABLE"))
            return
        cut_at = ""

        def reached(point: str) -> None:
            nonlocal cut_at
            if point == signer.POINTS[0]:
                cut_at = signer.POINTS[1 + int(random() * 4)] if self.faults.crash_in_vote > random() else ""
            elif point == cut_at:
                raise signer.PowerCut

        rules = signer.Rules(self.faults.has_journal_sync, self.faults.has_watermark, self.refuses_regression)
        try:
            may_sign = signer.make_durable(disk, record, reached, rules)
        except signer.PowerCut:
            self.crash()
            return
        if not may_sign:
            self.feed(SigningFailed(effect.token, "SIGN_REGRESSION"))
            return
        signature = chain.sign(self.key, record.payload_hash)
        self.world.oracle.on_sign(
            self.number, self.key, record.position, record.payload_hash, disk.holds(record)
        )
        self.feed(VoteSigned(effect.token, signature))

    def _on_quarantine_lifted(self, effect: QuarantineLifted) -> None:
        self.disk.renew()
