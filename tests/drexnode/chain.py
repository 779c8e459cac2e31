"""A real chain for the tests of sync: a devnet genesis, real stores, signed transfers, sealed blocks.

`Chain` knows the validators' keys and makes blocks; `open_finalizer` opens a store of its own that begins
with the same genesis. Keys are made from names, so failures repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from drexnode.finalizer import Finalizer, Head
from drexnode.metrics import Metrics
from ledger.block import Block, FinalizedBlock
from ledger.build import build_body, build_transaction, make_output
from ledger.devnet import BANK_A_DVT, DEVNET_WALLETS, DevnetNode, devnet_seed, ed25519_peer_id
from ledger.devnet import make_devnet_genesis as make_genesis
from ledger.execute import ExecutedBlock, build_block
from ledger.genesis import chain_id_of, make_genesis_state
from ledger.genesis_records import GenesisDocument, GenesisOutput
from ledger.locks import key_lock
from ledger.payloads import Kind, NodeRole, ValidatorVote, VoteOperation
from ledger.slices import finish
from ledger.transaction import OutPoint, Transaction
from ledger.votes import read_validators
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate, commit_sighash, vote_domain
from primitives.keys import PublicKey, SigningKey
from primitives.validators import ValidatorSet
from storage.chain_store import open_chain_store
from storage.integrity import check_open

VALIDATORS = 4
FUNDS = 1_000_000


def key(name: str) -> SigningKey:
    """The key of a name."""
    return SigningKey(devnet_seed(name))


def validator_keys(count: int = VALIDATORS) -> dict[PublicKey, SigningKey]:
    """The validators' keys by public key."""
    keys = [key(f"validator-{number}") for number in range(count)]
    return {pair.public_key: pair for pair in keys}


def genesis_document(validators: int = VALIDATORS, outputs: int = 64) -> GenesisDocument:
    """A devnet's genesis with `outputs` coins of alice."""
    nodes = [
        DevnetNode(NodeRole.VALIDATOR, ed25519_peer_id(key(f"peer-{number}").public_key), (), public_key)
        for number, public_key in enumerate(validator_keys(validators))
    ]
    wallets = {wallet: key(wallet).public_key for wallet in DEVNET_WALLETS}
    lock = key_lock(wallets["alice"])
    funding = [GenesisOutput(BANK_A_DVT, FUNDS, lock) for _ in range(outputs)]
    return make_genesis(nodes, wallets, outputs=funding)


@contextmanager
def open_finalizer(path: Path, document: GenesisDocument) -> Iterator[Finalizer]:
    """The chain of `document` as stored under `path`, begun there if nothing is."""
    chain_id = chain_id_of(document)
    store = open_chain_store(path / "chain", chain_id, hot_set_bytes=64 << 20, create=True)
    try:
        tree = check_open(store, chain_id, document.parameters.bucket_count)
        if store.tip is None:
            genesis = make_genesis_state(document, tree)
            store.commit(Block(genesis.header, ()), None, genesis.delta, genesis.patch)
            tree.commit(genesis.patch)
        tip = store.tip
        assert tip is not None
        head = Head(tip.header, tip.block_id, None, read_validators(store.state))
        finalizer = Finalizer(store, tree, document, head, Metrics())
        if tip.height:
            certificate = finalizer.queries.certificate(tip.height)
            finalizer.head = replace(finalizer.head, certificate=certificate)
        yield finalizer
    finally:
        store.close()


def certify(
    header: BlockHeader,
    chain_id: bytes,
    validators: ValidatorSet,
    *,
    seals: int | None = None,
    round: int = 0,
) -> CommitCertificate:
    """The certificate that the first `seals` (a quorum) of the set make for a header."""
    keys, name = validator_keys(7), block_id(header)
    sighash = commit_sighash(vote_domain(chain_id, validators.hash), header.height, round, name)
    signers = range(validators.quorum if seals is None else seals)
    made = tuple((index, bytes(keys[validators.keys[index]].sign(sighash))) for index in signers)
    return CommitCertificate(1, header.height, round, name, made)


class Chain:
    """Extends the chain of one finalizer, block by block."""

    def __init__(self, finalizer: Finalizer, document: GenesisDocument) -> None:
        self.finalizer = finalizer
        self.document = document
        self._coins = [
            (OutPoint(finalizer.chain_id, index), output.value)
            for index, output in enumerate(document.outputs)
        ]
        self._serial = 0

    def take_up(self) -> None:
        """Go on with a chain that was made before: alice's coins are those unspent now."""
        lock = key_lock(key("alice").public_key)
        self._coins, cursor = [], None
        while True:
            page = self.finalizer.queries.unspent(lock, BANK_A_DVT, 100, cursor)
            self._coins += [(row.outpoint, row.output.amount) for row in page.items]
            if (cursor := page.cursor) is None:
                return

    def transfers(self, count: int, note: bytes = b"") -> list[Transaction]:
        """Signed transfers from alice to bob, each of one coin, with change that is spent again later.
        Both outputs carry `note`."""
        made = []
        alice, bob = key("alice"), key_lock(key("bob").public_key)
        for _ in range(count):
            coin, amount = self._coins.pop(0)
            outputs = [make_output(BANK_A_DVT, 1, bob, note)]
            outputs.append(make_output(BANK_A_DVT, amount - 1, key_lock(alice.public_key), note))
            body = build_body(Kind.TRANSFER, [coin], outputs)
            transaction = build_transaction(body, self.finalizer.chain_id, [alice])
            self._coins.append((transaction.outpoint(1), amount - 1))
            made.append(transaction)
        return made

    def vote(self, voter: str, subject: str, *, add: bool) -> Transaction:
        """A validator's vote on the set."""
        height = self.finalizer.head.height
        operation = VoteOperation.ADD if add else VoteOperation.REMOVE
        vote = ValidatorVote(key(voter).public_key, key(subject).public_key, operation, height + 100)
        body = build_body(Kind.VALIDATOR_VOTE, payload=vote, valid_until=height + 50)
        return build_transaction(body, self.finalizer.chain_id, [key(voter)])

    def build(self, transactions: Sequence[Transaction]) -> tuple[FinalizedBlock, ExecutedBlock]:
        """The next block, certified but not final."""
        finalizer, head = self.finalizer, self.finalizer.head
        proposer = head.validators.keys[(head.height + 1) % head.validators.size]
        timestamp_ms = head.header.timestamp_ms + 100
        built = finish(
            build_block(
                finalizer.state, finalizer.tree, finalizer.context(), proposer, timestamp_ms, transactions
            )
        )
        assert not built.refused, built.refused
        block = built.executed.block
        certificate = certify(block.header, finalizer.chain_id, head.validators)
        return FinalizedBlock(block, certificate), built.executed

    async def grow(self, blocks: int, transactions: int = 2) -> None:
        """Make so many blocks final."""
        for _ in range(blocks):
            await self.finalizer.finalize(*self.build(self.transfers(transactions)))
