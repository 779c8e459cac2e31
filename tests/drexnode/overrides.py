"""Overrides and the blocks they name, for tests: a genesis whose recovery is 2 of 3, and who signs."""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from drexnode.finalizer import Finalizer
from ledger.devnet import ed25519_peer_id
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument
from ledger.locks import KeyLeaf, threshold
from ledger.override import Override, OverrideOrder, OverrideValidator, override_sighash, proof_hash
from primitives.block import BlockHeader, block_id
from primitives.certificate import STEP_PREPARE, CommitCertificate, vote_domain, vote_sighash
from primitives.validators import ValidatorSet
from storage.validator_rows import write_override
from tests.drexnode.chain import genesis_document, key, validator_keys

OFFICERS = ("bcb-recovery", "bcb-orders", "stn")
NEW_SET = ("validator-3", "validator-4", "validator-5", "validator-6")


def recovery_document() -> GenesisDocument:
    """A devnet's genesis whose recovery condition is 2 of 3."""
    condition = threshold(2, *(KeyLeaf(key(name).public_key) for name in OFFICERS))
    return structs.replace(genesis_document(), recovery=condition)


def members(*names: str) -> tuple[OverrideValidator, ...]:
    """Validators by name; `validator-3` speaks through `peer-3`."""
    found = [
        OverrideValidator(
            key(name).public_key, ed25519_peer_id(key(name.replace("validator", "peer")).public_key)
        )
        for name in names or NEW_SET
    ]
    return tuple(sorted(found, key=lambda member: member.public_key))


def make_override(
    document: GenesisDocument,
    header: BlockHeader,
    certificate: CommitCertificate | None,
    *names: str,
    epoch: int = 1,
    signers: tuple[str, ...] = OFFICERS[:2],
) -> Override:
    """An override after `header`, signed by `signers`."""
    order = OverrideOrder(
        1,
        chain_id_of(document),
        header.height,
        block_id(header),
        epoch,
        members(*names),
        proof_hash(certificate),
    )
    return signed(Override(order, header, certificate, ()), *signers)


def signed(override: Override, *signers: str) -> Override:
    """The override with these signatures alone."""
    sighash = override_sighash(override.order)
    made = sorted((key(name).public_key, bytes(key(name).sign(sighash))) for name in signers)
    return structs.replace(override, signatures=tuple((bytes(who), seal) for who, seal in made))


def prepared(
    header: BlockHeader,
    chain_id: bytes,
    validators: ValidatorSet,
    *,
    seals: int | None = None,
    round: int = 0,
) -> CommitCertificate:
    """The certificate of PREPAREs that the first `seals` (a quorum) of the set make for a header."""
    keys, name = validator_keys(7), block_id(header)
    domain = vote_domain(chain_id, validators.hash)
    sighash = vote_sighash(domain, STEP_PREPARE, header.height, round, name)
    signers = range(validators.quorum if seals is None else seals)
    made = tuple((index, bytes(keys[validators.keys[index]].sign(sighash))) for index in signers)
    return CommitCertificate(2, header.height, round, name, made)


def follow_here(finalizer: Finalizer, override: Override) -> None:
    """What `recover apply` and a restart do, for a finalizer that is open."""
    write_override(finalizer.store.database, override)
    finalizer.overrides.add(override)
    if finalizer.head.height == override.height:
        finalizer.head = replace(finalizer.head, validators=override.validators)
