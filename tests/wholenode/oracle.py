"""What must hold, told from outside: an own decoder, own hashes, own books. No code of the node's rooms.

Judges: one chain on all machines; every block's certificate is of a quorum that really signed; no key signs
two things for one step, whatever its machine lived through, and nothing that is not durable; every
transaction in a block is well signed and spends what is unspent; money is conserved; what was final stays
final on that machine; queues keep their bounds; nobody honest is taken for a liar; nothing is logged as an
error that is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgpack
import nacl.exceptions
import nacl.signing

if TYPE_CHECKING:
    from drexnode.finalizer import Finalizer
    from ledger.block import FinalizedBlock
    from tests.wholenode.machine import Machine

EMISSION, BURN = 1, 3
COMMIT = 3
MOST_HELD = 32
WORSE_THAN_SLOW = 20  # points: bytes that no honest node makes, or a lie
Outpoint = tuple[bytes, int]


class Violation(Exception):
    """A promise is broken."""


def tagged(tag: str, data: bytes) -> bytes:
    """H(tag, data) of docs/encodings.md."""
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + data).digest()


def pack(value: Any) -> bytes:
    """Canonical MessagePack by the reference library."""
    return bytes(msgpack.packb(value, use_bin_type=True))


def set_hash(epoch: int, keys: Sequence[bytes]) -> bytes:
    """The hash of a validator set."""
    return tagged("drex/validators", pack([epoch, list(keys)]))


def key_lock(public_key: bytes) -> bytes:
    """The lock of one key."""
    return tagged("drex/lock", pack([0, public_key]))


@dataclass
class Books:
    """The money of the one chain."""

    unspent: dict[Outpoint, tuple[str, int, bytes]]
    emitted: dict[str, int] = field(default_factory=dict)
    burned: dict[str, int] = field(default_factory=dict)

    def total(self, asset: str) -> int:
        """Sum of what is unspent of an asset."""
        return sum(amount for name, amount, _ in self.unspent.values() if name == asset)


class Oracle:
    """Listens to every machine of one schedule."""

    def __init__(
        self,
        chain_id: bytes,
        outputs: Sequence[tuple[str, int, bytes]],
        validators: Sequence[bytes],
        *,
        cheap: bool,
    ) -> None:
        self.chain_id = chain_id
        self.cheap = cheap
        self.blocks: dict[int, tuple[bytes, bytes]] = {}  # height -> header, raw transactions
        self.block_ids: dict[int, bytes] = {}
        self.final_at: dict[bytes, int] = {}  # txid -> height
        self.reported: dict[int, int] = {}  # machine -> highest height it called final
        self.disk_faulty: set[int] = set()
        self.twins: set[bytes] = set()
        self.signatures: dict[tuple[bytes, int, int, int], bytes] = {}
        self.commits: set[tuple[bytes, int, int, bytes]] = set()  # key, height, round, block id
        self.liars: set[int] = set()  # machines that others may charge
        self.genesis_set = (0, tuple(validators))
        self._set = self.genesis_set  # epoch and keys that decide the next block
        self.stops = 0
        self.highest_round = 0
        self.expected_errors: set[str] = set()
        self.books = Books({(chain_id, i): output for i, output in enumerate(outputs)})
        for asset, amount, _ in outputs:
            self.books.emitted[asset] = self.books.emitted.get(asset, 0) + amount

    @property
    def epochs(self) -> int:
        """How often the set of validators changed."""
        return self._set[0]

    # --- heard from machines

    def opened(self, machine: Machine, finalizer: Finalizer) -> None:
        """A node opened its chain: what it called final before must be there."""
        before = self.reported.get(machine.number, 0)
        if finalizer.head.height < before:
            raise Violation(
                f"{machine.name} called block {before} final and came back with {finalizer.head.height}"
            )
        self._same(machine, finalizer.head.height, finalizer.head.block_id)

    def final(self, machine: Machine, block: FinalizedBlock) -> None:
        """A node tells its parts that a block is final."""
        header = pack(_plain(block.block.header))
        raws = [transaction.raw for transaction in block.block.transactions]
        name = tagged("drex/block", header)
        machine.world.note(machine.number, name)
        before = self.reported.get(machine.number, 0)
        if not before <= block.height <= before + 1 + machine.starts:
            raise Violation(f"{machine.name} made block {block.height} final after block {before}")
        self.reported[machine.number] = block.height
        digest = hashlib.sha256(b"".join(raws)).digest()
        known = self.blocks.get(block.height)
        if known is not None:
            if known != (header, digest):
                raise Violation(f"two blocks at height {block.height}")
            return
        self.blocks[block.height] = (header, digest)
        self.block_ids[block.height] = name
        self._check_certificate(block, name)
        for raw in raws:
            self._apply(raw, block.height)

    def signed(self, machine: Machine, record: Any) -> None:
        """A signature is about to leave the signer's thread."""
        assert machine.validator is not None
        key = machine.validator.public_key
        journal = machine.files.names.get(f"/{machine.name}/data/votes/votes.journal")
        slots = [machine.files.names.get(f"/{machine.name}/signer/watermark/slot-{i}") for i in (0, 1)]
        if journal is None or record.payload_hash not in journal.synced:
            raise Violation(f"{machine.name} signs what its journal does not hold")
        if not any(slot is not None and record.payload_hash in slot.synced for slot in slots):
            raise Violation(f"{machine.name} signs what its watermark does not hold")
        place = (key, record.height, record.round, record.step)
        before = self.signatures.setdefault(place, record.payload_hash)
        if before != record.payload_hash and key not in self.twins:
            raise Violation(f"{machine.name} signs twice: {record.height}/{record.round}/{record.step}")
        self.highest_round = max(self.highest_round, record.round)
        if record.step == COMMIT:
            stored = b"w" + record.height.to_bytes(8, "big") + record.block_id  # docs/storage.md
            if stored not in machine.rows.durable:
                raise Violation(f"{machine.name} commits to a block that its disk does not hold")
            self.commits.add((bytes(key), record.height, record.round, bytes(record.block_id)))
        machine.world.note(machine.number, record.payload_hash)

    def excuses(self, machine: Machine, causes: Sequence[BaseException]) -> bool:
        """May a node stop for a disk's sake now?"""
        self.stops += 1
        return machine.number in self.disk_faulty

    # --- judging

    def _same(self, machine: Machine, height: int, block_id: bytes) -> None:
        known = self.block_ids.get(height)
        if known is not None and known != block_id:
            raise Violation(f"{machine.name} has another block at height {height}")

    def _check_certificate(self, block: FinalizedBlock, name: bytes) -> None:
        """A quorum's seals; each seal was made by a signer, for exactly this block."""
        certificate = block.certificate
        if certificate.block_id != name or certificate.height != block.height:
            raise Violation(f"the certificate of block {block.height} is another block's")
        epoch, keys = self._set
        signers = {keys[index] for index, _ in certificate.seals}
        if 3 * len(signers) < 2 * len(keys):
            raise Violation(f"block {block.height} is sealed by {len(signers)} of {len(keys)} validators")
        for key in sorted(signers - self.twins):
            if (key, block.height, certificate.round, name) not in self.commits:
                raise Violation(f"block {block.height} carries a seal that {key.hex()[:16]} never made")
        header = block.block.header
        self._set = self._next_set(epoch, keys, header.next_validators_hash, block.height)
        if header.validators_hash != set_hash(epoch, keys):
            raise Violation(f"block {block.height} names another set than decided it")

    def _next_set(
        self, epoch: int, keys: tuple[bytes, ...], named: bytes, height: int
    ) -> tuple[int, tuple[bytes, ...]]:
        """The set that a header names as the next: the same, or one validator more or less."""
        if named == set_hash(epoch, keys):
            return epoch, keys
        for other in self.genesis_set[1]:
            changed = tuple(sorted(set(keys) ^ {other}))
            if named == set_hash(epoch + 1, changed):
                return epoch + 1, changed
        raise Violation(f"block {height} names an unknown next set")

    def _apply(self, raw: bytes, height: int) -> None:
        body, witness = msgpack.unpackb(raw, raw=False)
        _, kind, inputs, outputs, valid_from, valid_until, _, _ = body
        txid = tagged("drex/tx", self.chain_id + pack(body))
        where = f"transaction {txid.hex()[:16]} in block {height}"
        if txid in self.final_at:
            raise Violation(f"{where} was final at {self.final_at[txid]}")
        self.final_at[txid] = height
        if not valid_from <= height <= (valid_until or height):
            raise Violation(f"{where} is not valid there")
        signers = self._check_witness(txid, witness[0], where)
        spent: dict[str, int] = {}
        for previous, index in inputs:
            output = self.books.unspent.pop((previous, index), None)
            if output is None:
                raise Violation(f"{where} spends what is not there")
            if output[2] not in signers:
                raise Violation(f"{where} spends what its signers do not own")
            spent[output[0]] = spent.get(output[0], 0) + output[1]
        made: dict[str, int] = {}
        for index, (asset, amount, lock, _) in enumerate(outputs):
            self.books.unspent[txid, index] = (asset, amount, lock)
            made[asset] = made.get(asset, 0) + amount
        for asset in {*spent, *made}:
            self._count(kind, asset, made.get(asset, 0) - spent.get(asset, 0), where)

    def _count(self, kind: int, asset: str, delta: int, where: str) -> None:
        books = self.books
        if kind == EMISSION and delta > 0:
            books.emitted[asset] = books.emitted.get(asset, 0) + delta
        elif kind == BURN and delta <= 0:
            books.burned[asset] = books.burned.get(asset, 0) - delta
        elif delta:
            raise Violation(f"{where} makes {delta} of {asset}")

    def _check_witness(self, txid: bytes, signatures: Any, where: str) -> set[bytes]:
        message = tagged("drex/sign", txid)
        for key, signature in signatures:
            if not self._verifies(key, message, signature):
                raise Violation(f"{where} has a false signature")
        return {key_lock(key) for key, _ in signatures}

    def _verifies(self, key: bytes, message: bytes, signature: bytes) -> bool:
        if self.cheap:
            return hashlib.blake2b(message, key=key, digest_size=32).digest() * 2 == signature
        try:
            nacl.signing.VerifyKey(key).verify(message, signature)
        except nacl.exceptions.BadSignatureError:
            return False
        return True

    # --- at the end

    def check_reports(self, charged: Mapping[tuple[int, str, int], str], names: Mapping[str, int]) -> None:
        """Who is charged with a lie or with bytes no honest node sends is a villain. `names`: peer,
        machine."""
        for (number, peer, offence), detail in sorted(charged.items()):
            if offence >= WORSE_THAN_SLOW and names[peer] not in self.liars and number not in self.liars:
                raise Violation(
                    f"m{number} charges honest m{names[peer]} with an offence of {offence}: {detail}"
                )

    def check_end(self, machines: Sequence[Machine]) -> None:
        """All live machines hold the same chain, state and books; nothing they hold grows without bound."""
        height = max(self.blocks, default=0)
        for machine in machines:
            finalizer = machine.finalizer
            if finalizer is None:
                raise Violation(f"{machine.name} does not run at the end")
            self._same(machine, finalizer.head.height, finalizer.head.block_id)
            if finalizer.tree.root != finalizer.head.header.state_root:
                raise Violation(f"{machine.name} has another state than its head says")
            self._check_bounds(machine)
            self._check_answers(machine)
            if finalizer.head.height == height:
                self._check_books(machine, finalizer)

    def _check_answers(self, machine: Machine) -> None:
        """A node says FINAL of all that is final, and of nothing else at that height."""
        if machine.node is None:
            return
        for txid, height in self.final_at.items():
            state = machine.node._admission.state_of(txid)
            if height <= machine.height and (state.status, state.height) != ("FINAL", height):
                raise Violation(f"{machine.name} says {state.status} of a transaction final at {height}")

    def _check_bounds(self, machine: Machine) -> None:
        """A node at rest holds little: no more blocks, bodies and votes than a few heights have."""
        node = machine.node
        if node is None:
            return
        driver = node._driver
        held = {
            "blocks under discussion": len(node._candidates._blocks),
            "voted blocks": len(node._candidates._voted),
            "executions": len(node._executor._executed),
            "transactions in the pool": len(node._admission.pool),
            "durable work": 0 if driver is None else len(driver._durable._waiting),
        }
        for what, count in held.items():
            if count > MOST_HELD:
                raise Violation(f"{machine.name} holds {count} {what} at rest")

    def _check_books(self, machine: Machine, finalizer: Finalizer) -> None:
        for asset in {*self.books.emitted, *self.books.burned}:
            expected = self.books.emitted.get(asset, 0) - self.books.burned.get(asset, 0)
            if self.books.total(asset) != expected:
                raise Violation(f"{asset}: {expected} circulates, {self.books.total(asset)} is unspent")
            stored = finalizer.store.books.get(asset.encode(), 0)
            if stored != expected:
                raise Violation(f"{machine.name} counts {stored} of {asset}, {expected} circulates")


def _plain(record: Any) -> list[Any]:
    """A header's fields in order, as plain values."""
    return [getattr(record, name) for name in record.__struct_fields__]
