"""`recover apply`: an override checked against everything a stopped node knows, then stored durably.

Promises: nothing is written before every check has passed; what a node has decided, or is locked on with a
higher round than the override shows, is never given up in silence; applying twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from drexnode.config import NodeConfig
from drexnode.finalizer import Finalizer
from drexnode.home import read_genesis
from drexnode.keystore import read_plain_key
from drexnode.metrics import Metrics
from drexnode.recover_files import peer_text
from drexnode.recover_statement import own_lock
from drexnode.recovery import open_chain
from ledger.block import check_header
from ledger.override import Override, OverrideRefused, Overrides, check_override, finality_checks
from p2p.identity import peer_id_from_seed
from primitives.block import BlockHeader, block_id
from primitives.errors import InvalidBlock
from primitives.keys import verify
from primitives.validators import ValidatorSet
from storage.layout import content_key
from storage.validator_rows import write_override


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """What applying does. `is_applied`: it was done before, nothing is left to do."""

    head_height: int
    head_id: bytes
    is_applied: bool
    steps: tuple[str, ...]


class StoppedNode:
    """The open chain of a stopped node to which an override is to be applied. `close` it."""

    def __init__(self, config: NodeConfig, signer: NodeConfig | None = None) -> None:
        """`signer` is the home of its signer process, if that has one of its own. Raises `StorageFailure`
        (STORAGE_LOCKED while the node runs), `ConfigError`."""
        self._config = config
        self._signer = signer or config
        self._finalizer: Finalizer = open_chain(config, read_genesis(config.genesis_path), Metrics())

    def close(self) -> None:
        """Close the chain. Idempotent."""
        self._finalizer.store.close()

    def plan(self, override: Override, *, abandon_lock: bool = False) -> ApplyPlan:
        """Check an override against this node and say what applying it does; changes nothing.

        Raises `OverrideRefused`: OVERRIDE_FOREIGN, OVERRIDE_NOT_AUTHORISED, OVERRIDE_BAD_SIGNATURE,
        OVERRIDE_TOO_FEW, OVERRIDE_EPOCH, OVERRIDE_LOWER_TIP, OVERRIDE_OTHER_BLOCK, OVERRIDE_BAD_PROOF,
        OVERRIDE_LOCK_NOT_CARRIED; `RecoveryRefused`: RECOVER_NO_MEMORY,
        RECOVER_BEHIND."""
        finalizer = self._finalizer
        check_override(override, finalizer.genesis, finalizer.chain_id, verify)
        head = finalizer.head
        known = finalizer.overrides.at(override.height)
        is_applied = known is not None and known.order == override.order
        if not is_applied:
            if known is not None and known.order.epoch >= override.order.epoch:
                message = f"this node follows an override of epoch {known.order.epoch} after that block"
                raise OverrideRefused("OVERRIDE_EPOCH", message, epoch=override.order.epoch)
            self._check_against_chain(override)
            if not abandon_lock:
                self._check_lock(override)
        steps = () if is_applied else tuple(self._steps(override))
        return ApplyPlan(head.height, head.block_id, is_applied, steps)

    def apply(self, override: Override) -> None:
        """Store an override for which `plan` passed. Raises `StorageFailure`."""
        write_override(self._finalizer.store.database, override)

    # --- checks

    def _check_against_chain(self, override: Override) -> None:
        """A node below the last decided block has no more to check: sync checks the rest on the way."""
        head, height = self._finalizer.head, override.height
        if head.height > height:
            message = (
                f"this node has final blocks up to {head.height}, the override names {height}: it would undo "
                "what is final"
            )
            raise OverrideRefused("OVERRIDE_LOWER_TIP", message, tip=head.height)
        if head.height == height:
            if head.block_id != override.block_id:
                message = f"block {height} is {head.block_id.hex()} here, the override names another one"
                raise OverrideRefused("OVERRIDE_OTHER_BLOCK", message, height=height)
            self._check_epoch(override, head.validators)
            self._check_proof(override, self._decided_by(head.header))
        elif override.decided_height == head.height:
            try:
                check_header(override.header, head.header, head.validators)
            except InvalidBlock as error:
                raise OverrideRefused("OVERRIDE_OTHER_BLOCK", str(error), height=height) from None
            self._check_epoch(override, head.validators)
            self._check_proof(override, head.validators)

    def _decided_by(self, header: BlockHeader) -> ValidatorSet:
        found = self._finalizer.queries.validators_at(header.height)
        if found is None:
            message = f"the set that decided block {header.height} was not kept here"
            raise OverrideRefused("OVERRIDE_BAD_PROOF", message)
        return found

    def _check_epoch(self, override: Override, validators: ValidatorSet) -> None:
        if override.order.epoch <= validators.epoch:
            message = f"epoch {override.order.epoch} is not above {validators.epoch}"
            raise OverrideRefused("OVERRIDE_EPOCH", message, epoch=override.order.epoch)

    def _check_proof(self, override: Override, validators: ValidatorSet) -> None:
        certificate = override.certificate
        if certificate is None:  # the genesis block needs none
            return
        try:
            named = Overrides([override])
            checks = finality_checks(
                override.header, certificate, self._finalizer.chain_id, validators, named
            )
        except InvalidBlock as error:
            raise OverrideRefused("OVERRIDE_BAD_PROOF", str(error)) from None
        if not all(verify(*check) for check in checks):
            raise OverrideRefused("OVERRIDE_BAD_PROOF", "a seal of the block it carries is false")

    def _check_lock(self, override: Override) -> None:
        """A lock of this node above the last decided block is carried, or outranked, or its operator gives it
        up. A chain that was lost and is behind does not matter: the lock is in the memory of the votes."""
        config, head = self._config, self._finalizer.head
        if config.node.role != "validator":
            return
        decided = max(head.height, override.decided_height)
        lock = own_lock(self._signer, decided + 1, self._deciders_hash(override))
        if lock is None or block_id(lock.header) == override.block_id:
            return
        certificate = override.certificate
        is_above = override.rests_on_lock and decided < override.height
        if is_above and certificate is not None and certificate.round > lock.round:
            return
        name = block_id(lock.header).hex()
        message = f"this node is locked on block {lock.header.height} {name}, which may have been decided"
        raise OverrideRefused(
            "OVERRIDE_LOCK_NOT_CARRIED", message, height=lock.header.height, round=lock.round
        )

    def _deciders_hash(self, override: Override) -> bytes:
        """Of the set that would decide after the last decided block, were it not for the override."""
        head, header = self._finalizer.head, override.header
        if head.height >= override.decided_height:
            return head.validators.hash
        if override.rests_on_lock:
            return header.validators_hash
        earlier = self._finalizer.overrides.validators_after(header)
        return header.next_validators_hash if earlier is None else earlier.hash

    # --- words

    def _steps(self, override: Override) -> list[str]:
        head, order = self._finalizer.head, override.order
        steps = [f"store the override of epoch {order.epoch} durably in {self._config.data_path}"]
        name = f"block {override.height} {override.block_id.hex()}"
        if head.height < override.decided_height:
            steps.append(f"catch up from block {head.height} to {name} at the next start")
        elif head.height < override.height:
            key = content_key(override.height, override.block_id)
            is_held = self._finalizer.store.database.get(key) is not None
            how = "from this node's disk" if is_held else "fetched from a peer that holds it"
            steps.append(f"make {name}, which was locked on, final at the next start, {how}")
        steps.append(
            f"from block {override.height + 1} on accept blocks of these {len(order.validators)} alone: "
            + ", ".join(member.public_key.hex() for member in order.validators)
        )
        steps.append(self._part(override))
        return steps

    def _part(self, override: Override) -> str:
        """What this node is from then on."""
        own_peer = peer_id_from_seed(read_plain_key(self._config.peer_key_path).seed)
        speaks = any(peer_text(member.peer_id) == own_peer for member in override.order.validators)
        role = self._config.node.role
        if speaks and role != "validator":
            return f"this node speaks for one of them, but its role is {role}: set node.role and its key"
        if speaks:
            return "this node is one of them"
        return "this node is none of them" + (
            ": it follows the chain and signs nothing" * (role == "validator")
        )
