"""Targets for files that people hand each other: snapshots, backups, proofs, bundles, statements, overrides.

The same promise as `tests/fuzz/targets.py`: a value, or the documented error, and a canonical encoding. A
digest or a checksum would stop mutation at once, so files are fuzzed behind theirs; signatures hold or not by
a coin's toss, or always, so that what comes after them is walked too.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from functools import cache
from pathlib import Path

from msgspec import Raw

from drexnode import join_bundle, recover_files
from drexnode.join_bundle import BUNDLE_FILE, BUNDLE_VERSION, JoinBundle, check_bundle, make_bundle
from drexnode.recover_statement import (
    RecoveryRefused,
    SetRecord,
    Statement,
    StatementBody,
    check_statement,
    decode_statement,
    encode_statement,
)
from ledger.genesis import chain_id_of, genesis_validators
from ledger.genesis_records import GenesisDocument
from ledger.override import Override, OverrideRefused, check_override, decode_override, encode_override
from ledger.proof import Proof, Question, Subject, anchor_of, check, decode_proof_file
from ledger.state import SUPPLY
from ledger.state_prover import prove_address, prove_entry
from ledger.trust_path import TrustPath, hand_over
from ledger.votes import validators_value
from p2p.identity import peer_id_from_seed
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.codec import encode
from primitives.errors import DecodeError, DrexError, InvalidBlock
from primitives.hashing import tagged_hash
from primitives.validators import ValidatorSet
from storage.backup_format import (
    BLOCKS_FOLDER,
    MANIFEST_FILE,
    BackupList,
    BackupRefused,
    SegmentName,
    StoredFinal,
    digest_of_segment,
    read_list,
    read_segment,
    write_list,
)
from storage.snapshot_format import (
    ChunkName,
    Manifest,
    Parent,
    SnapshotRefused,
    decode_chunk,
    decode_manifest,
    digest_of_chunk,
    encode_manifest,
)
from tests.drexnode.chain import genesis_document, key
from tests.drexnode.overrides import make_override, recovery_document
from tests.fuzz.checks import always, cheap_verify, same
from tests.ledger.chain import Chain, lock

_WORD = bytes(32)
_DOCUMENT = recovery_document()
_CHAIN_ID = chain_id_of(_DOCUMENT)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="drexnode-fuzz-"))
    (folder / BLOCKS_FOLDER).mkdir()
    return folder


def fuzz_snapshot(data: bytes) -> None:
    """Bytes → manifest → whether its block is final; bytes → chunk under its own name."""
    with contextlib.suppress(SnapshotRefused):
        manifest = decode_manifest(data)
        same(encode_manifest(manifest), data)
        if manifest.certificate is not None:
            with contextlib.suppress(InvalidBlock, OverrideRefused, DecodeError):
                believe_manifest(manifest)
    for entries in (1, 2):
        with contextlib.suppress(SnapshotRefused):
            name = ChunkName(digest_of_chunk(data), entries, len(data))
            same(encode(decode_chunk(data, name)), data)


def believe_manifest(manifest: Manifest) -> None:
    """Raises `InvalidBlock`, `OverrideRefused` or `DecodeError` when its way does not lead to its block."""
    assert manifest.certificate is not None
    manifest.path.check_block(_DOCUMENT, always, manifest.header, manifest.certificate)


def fuzz_backup(data: bytes) -> None:
    """Bytes → signed list; bytes → segment under its own name."""
    list_file = _folder() / MANIFEST_FILE
    list_file.write_bytes(data)
    with contextlib.suppress(BackupRefused):
        read_list(_folder(), cheap_verify)
    name = SegmentName(digest_of_segment(data), 7, 7, max(1, len(data)))
    segment = _folder() / BLOCKS_FOLDER / name.digest.hex()
    segment.write_bytes(data)
    try:
        with contextlib.suppress(BackupRefused):
            same(encode(read_segment(_folder(), name)), data)
    finally:
        segment.unlink()


def fuzz_proof_file(data: bytes) -> None:
    """Bytes → proof → what it shows to whoever trusts the genesis, or whatever set it names itself."""
    try:
        proof = decode_proof_file(data)
    except DecodeError:
        return
    same(encode(proof), data)
    for document, pinned in ((_DOCUMENT, None), (None, _WORD)):
        with contextlib.suppress(DrexError):
            believe_proof(proof, document, pinned)


def believe_proof(
    proof: Proof, document: GenesisDocument | None = _DOCUMENT, pinned: bytes | None = None
) -> None:
    """Raises `DrexError` when it shows nothing to whoever trusts the genesis or the pinned set."""
    check(proof, anchor_of(proof, document, pinned), always)


def fuzz_bundle(data: bytes) -> None:
    """Bytes → a file, and a record in a right file → whether to believe it."""
    checksum = tagged_hash("drex/join-bundle-file", data).hex()
    document = {
        "type": BUNDLE_FILE,
        "version": BUNDLE_VERSION,
        "record": data.hex(),
        "checksum": checksum,
    }
    path = _folder() / "bundle"
    for content in (data, json.dumps(document).encode()):
        path.write_bytes(content)
        try:
            bundle = join_bundle.read_bundle(path)
        except join_bundle.BundleRefused as error:
            if content is not data and error.code == "BUNDLE_DAMAGED":
                raise AssertionError("a right checksum was refused") from error
            continue
        _believe(bundle)


def _believe(bundle: JoinBundle) -> None:
    with contextlib.suppress(DrexError):
        check_bundle(bundle, 1_000, chain_id=_CHAIN_ID)
    with contextlib.suppress(DrexError):
        bundle.document  # noqa: B018


def fuzz_override(data: bytes) -> None:
    """Bytes → override, statement, and files of both → whether they hold."""
    with contextlib.suppress(DecodeError):
        override = decode_override(data)
        same(encode_override(override), data)
        with contextlib.suppress(OverrideRefused):
            check_override(override, _DOCUMENT, _CHAIN_ID, cheap_verify)
    with contextlib.suppress(DecodeError):
        statement = decode_statement(data)
        same(encode_statement(statement), data)
        with contextlib.suppress(RecoveryRefused):
            check_statement(statement, _DOCUMENT)
    path = _folder() / "recovery"
    path.write_bytes(data)
    for read in (recover_files.read_statement, recover_files.read_override_file):
        with contextlib.suppress(RecoveryRefused):
            read(path)


# --- where mutation begins


def _final(state_root: bytes = _WORD) -> tuple[BlockHeader, CommitCertificate]:
    validators = genesis_validators(_DOCUMENT)
    header = BlockHeader(1, 7, _WORD, 1007, _WORD, 0, _WORD, state_root, validators.hash, _WORD)
    return header, _sealed(header, validators)


def _sealed(header: BlockHeader, validators: ValidatorSet) -> CommitCertificate:
    """A certificate with as many seals as it takes."""
    seals = tuple((place, bytes(64)) for place in range(validators.quorum))
    return CommitCertificate(1, header.height, 0, block_id(header), seals)


def _override() -> Override:
    header, certificate = _final()
    return make_override(_DOCUMENT, header, certificate)


def snapshots() -> list[bytes]:
    """A manifest whose way leads over a hand-over and an override to its block; a genesis; a chunk."""
    first = BlockHeader(1, 0, _WORD, 1000, _WORD, 0, _WORD, _WORD, _WORD, _WORD)
    validators = genesis_validators(_DOCUMENT)
    following = ValidatorSet(validators.epoch + 1, validators.keys)
    second = BlockHeader(1, 1, block_id(first), 1007, _WORD, 0, _WORD, _WORD, validators.hash, following.hash)
    certificate = _sealed(second, validators)
    override = make_override(_DOCUMENT, second, certificate, epoch=following.epoch + 1)
    last = override.validators
    third = BlockHeader(1, 2, block_id(second), 1014, _WORD, 0, _WORD, _WORD, last.hash, _WORD)
    path = TrustPath((hand_over(second, certificate, following),), (override,))
    chunks = (ChunkName(_WORD, 2, 100),)
    tail = (Parent(first, None), Parent(second, certificate))
    return [
        encode_manifest(Manifest(1, _CHAIN_ID, third, _sealed(third, last), tail, path, chunks, 2)),
        encode_manifest(Manifest(1, _CHAIN_ID, first, None, (), TrustPath(), chunks, 2)),
        encode([(b"a", b"1"), (b"b", b"2")]),
    ]


def backups() -> list[bytes]:
    """A signed list of one segment, and a segment of one block."""
    signer = key("peer-0")
    names = (SegmentName(_WORD, 1, 7, 1000),)
    contents = BackupList(1, _CHAIN_ID, signer.public_key, 1, None, (_override(),), names, 7, _WORD, _WORD)
    write_list(_folder(), contents, signer)
    header, certificate = _final()
    segment = encode([StoredFinal(header, certificate, [Raw(b"\x90")])])
    return [(_folder() / MANIFEST_FILE).read_bytes(), segment]


def proof_files() -> list[bytes]:
    """Proofs of an address and of a supply in a state that is there."""
    chain = Chain()
    header, certificate = _final(chain.tree.root)
    first = validators_value(genesis_validators(_DOCUMENT))
    questions = (
        (
            Question(Subject.ADDRESS, lock("alice"), b""),
            prove_address(chain.tree, chain.state, lock("alice")),
        ),
        (Question(Subject.SUPPLY, b"", b"BRL"), prove_entry(chain.tree, chain.state, SUPPLY + b"BRL")),
    )
    return [
        encode(Proof(1, _CHAIN_ID, question, header, certificate, first, TrustPath(), state))
        for question, state in questions
    ]


def bundles() -> list[bytes]:
    """The record of a bundle, and a whole file."""
    bundle = make_bundle(
        genesis_document(validators=1, outputs=1),
        role="observer",
        ispb="99990001",
        peer=peer_id_from_seed(_WORD),
        peer_seed=_WORD,
        peers=("/ip4/10.0.0.1/tcp/26600",),
        created_ms=1,
        expires_ms=2_000,
        key=key("bank-a"),
    )
    path = _folder() / "whole-bundle"
    path.unlink(missing_ok=True)
    join_bundle.write_bundle(path, bundle)
    return [encode(bundle), path.read_bytes()]


def overrides() -> list[bytes]:
    """An override and a statement."""
    header, certificate = _final()
    validators = genesis_validators(_DOCUMENT)
    members = SetRecord(validators.epoch, tuple(bytes(each) for each in validators.keys))
    body = StatementBody(
        1, _CHAIN_ID, key("peer-0").public_key, 0, 1, header, certificate, members, None, None
    )
    return [encode_override(_override()), encode_statement(Statement(body, bytes(64)))]
