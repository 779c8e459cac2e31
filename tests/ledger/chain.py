"""A whole chain in dictionaries, from the devnet's genesis: blocks are built, executed again and committed.

`Chain.extend` does what a node does; the transactions come from the devnet's open wallets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ledger.block import Block, decode_block, encode_block
from ledger.build import assemble, build_body, make_output, sign_body
from ledger.checks import check_stateless, verify_signatures
from ledger.devnet import (
    BANK_A_DVT,
    DEVNET_PARAMETERS,
    DEVNET_WALLETS,
    DevnetNode,
    devnet_seed,
    ed25519_peer_id,
    make_devnet_genesis,
)
from ledger.execute import BuiltBlock, ExecutedBlock, ExecutionContext, build_block, execute_block
from ledger.genesis import chain_id_of, ledger_parameters, make_genesis_state
from ledger.genesis_records import GenesisDocument
from ledger.locks import key_lock
from ledger.parameters import ChainParameters
from ledger.payloads import Kind, NodeRole, Payload
from ledger.proposers import read_proposer_order
from ledger.slices import finish
from ledger.state import OUTPUT, StateDelta, read_output
from ledger.state_tree import StateTree, TreePatch
from ledger.supply import compare_books
from ledger.transaction import Body, OutPoint, Output, Transaction
from primitives.block import BlockHeader, block_id
from primitives.keys import PublicKey, SigningKey, verify_many
from primitives.validators import ValidatorSet

BRL = "BRL"
TEST_PARAMETERS = DEVNET_PARAMETERS


def wallet(name: str) -> SigningKey:
    """The key of a devnet wallet or validator."""
    return SigningKey(devnet_seed(name))


def lock(name: str) -> bytes:
    """The key lock of a devnet wallet."""
    return key_lock(wallet(name).public_key)


def devnet(validators: int = 4, parameters: ChainParameters = TEST_PARAMETERS) -> GenesisDocument:
    """The devnet's document for a number of validators."""
    nodes = []
    for number in range(validators):
        public_key = wallet(f"validator-{number}").public_key
        nodes.append(DevnetNode(NodeRole.VALIDATOR, ed25519_peer_id(public_key), (), public_key))
    nodes.append(DevnetNode(NodeRole.FULL, ed25519_peer_id(wallet("full-0").public_key)))
    return make_devnet_genesis(
        nodes, {name: wallet(name).public_key for name in DEVNET_WALLETS}, parameters=parameters
    )


def small_limits(**limits: int) -> ChainParameters:
    """The devnet's parameters with lower limits of a block."""
    fields = {
        name: getattr(TEST_PARAMETERS.limits, name) for name in TEST_PARAMETERS.limits.__struct_fields__
    }
    return with_parameters(limits=type(TEST_PARAMETERS.limits)(**{**fields, **limits}))


def with_parameters(**fields: Any) -> ChainParameters:
    """The devnet's parameters with some fields changed."""
    values = {name: getattr(TEST_PARAMETERS, name) for name in TEST_PARAMETERS.__struct_fields__}
    return ChainParameters(**{**values, **fields})


class Pages(dict[bytes, bytes]):
    """A page store that is a dictionary."""

    def load(self, page_key: bytes) -> bytes | None:
        return self.get(page_key)


class Chain:
    """State, tree and headers of one node."""

    def __init__(self, document: GenesisDocument | None = None) -> None:
        self.genesis = document or devnet()
        self.chain_id = chain_id_of(self.genesis)
        self.state: dict[bytes, bytes] = {}
        self.pages = Pages()
        self.tree = StateTree(self.genesis.parameters.bucket_count, self.pages)
        start = make_genesis_state(self.genesis, self.tree)
        self.validators = start.validators
        self.headers = [start.header]
        self.blocks: list[Block] = []
        self._store(start.delta, start.patch)
        self.serial = 0

    @property
    def tip(self) -> BlockHeader:
        return self.headers[-1]

    @property
    def height(self) -> int:
        return self.tip.height

    @property
    def context(self) -> ExecutionContext:
        return ExecutionContext(
            self.tip, self.validators, self.genesis.parameters, ledger_parameters(self.genesis)
        )

    def order(self) -> tuple[PublicKey, ...]:
        """Who proposes the next block, by round."""
        return read_proposer_order(self.state, self.validators, self.tip.proposer, self.height + 1)

    # --- blocks

    def build(
        self,
        candidates: Iterable[Transaction] = (),
        *,
        round: int = 0,
        proposer: bytes | None = None,
        timestamp_ms: int | None = None,
    ) -> BuiltBlock:
        """What the proposer of `round` makes of `candidates`."""
        who = proposer or self.order()[round % self.validators.size]
        time = timestamp_ms or self.tip.timestamp_ms + 1000
        return finish(build_block(self.state, self.tree, self.context, who, time, candidates))

    def execute(self, block: Block) -> ExecutedBlock:
        return finish(execute_block(self.state, self.tree, self.context, block))

    def commit(self, executed: ExecutedBlock) -> None:
        self._store(executed.delta, executed.patch)
        self.headers.append(executed.block.header)
        self.blocks.append(executed.block)
        self.validators = executed.next_validators

    def extend(self, *transactions: Transaction, round: int = 0) -> Block:
        """Build a block of exactly `transactions`, send it over the wire, execute it again, commit it."""
        for transaction in transactions:
            check_stateless(transaction)
            verify_signatures(transaction, verify_many)
        built = self.build(transactions, round=round)
        assert not built.refused, built.refused
        block = decode_block(encode_block(built.executed.block), self.chain_id)
        executed = self.execute(block)
        assert executed.delta == built.executed.delta
        assert dict(executed.patch.page_writes()) == dict(built.executed.patch.page_writes())
        self.commit(executed)
        return block

    def _store(self, delta: StateDelta, patch: TreePatch) -> None:
        compare_books(delta)
        for key, (old, new) in delta.changes.items():
            assert self.state.get(key) == old
            if new is None:
                self.state.pop(key, None)
            else:
                self.state[key] = new
        self.tree.commit(patch)
        for key, page in patch.page_writes():
            if page is None:
                self.pages.pop(key, None)
            else:
                self.pages[key] = page

    # --- transactions

    def sign(self, body: Body, *signers: str) -> Transaction:
        signatures = sign_body(body, self.chain_id, [wallet(name) for name in signers])
        return assemble(body, self.chain_id, signatures)

    def body(self, kind: Kind, inputs: Iterable[OutPoint], outputs: Iterable[Output], **fields: Any) -> Body:
        self.serial += 1
        inputs = tuple(inputs)
        values: dict[str, Any] = {"reference": b"ref-%d" % self.serial}
        if not inputs:
            values["valid_until"] = self.height + 20
        return build_body(kind, inputs, outputs, **{**values, **fields})

    def emission(self, amount: int, to: str = "bcb", **fields: Any) -> Transaction:
        """BCB emits BRL."""
        outputs = [make_output(BRL, amount, lock(to))]
        return self.sign(self.body(Kind.EMISSION, (), outputs, **fields), "bcb")

    def order_act(self, kind: Kind, payload: Payload, signer: str, **fields: Any) -> Transaction:
        return self.sign(self.body(kind, (), (), payload=payload, **fields), signer)

    def unspent(self, name: str, asset: str) -> list[tuple[OutPoint, int]]:
        found = []
        for key, value in sorted(self.state.items()):
            if key[:1] == OUTPUT:
                output = read_output(value)
                if (output.lock, output.asset) == (lock(name), asset):
                    found.append((OutPoint(key[1:33], int.from_bytes(key[33:], "big")), output.amount))
        return found

    def pay(
        self,
        points: Sequence[tuple[OutPoint, int]],
        sender: str,
        to: str,
        amount: int,
        asset: str = BANK_A_DVT,
        **fields: Any,
    ) -> Transaction:
        """A transfer that spends exactly `points`, with change."""
        rest = sum(value for _, value in points) - amount
        outputs = [make_output(asset, amount, lock(to))]
        if rest:
            outputs.append(make_output(asset, rest, lock(sender)))
        body = self.body(Kind.TRANSFER, [point for point, _ in points], outputs, **fields)
        return self.sign(body, sender)


def forged(block: Block, **fields: Any) -> Block:
    """The block with some fields of its header replaced."""
    values = {name: getattr(block.header, name) for name in block.header.__struct_fields__}
    return replace(block, header=BlockHeader(**{**values, **fields}))


def key_set(*names: str, epoch: int = 0) -> ValidatorSet:
    """A validator set of devnet names."""
    return ValidatorSet(epoch, tuple(sorted(wallet(name).public_key for name in names)))


__all__ = ["BRL", "Chain", "block_id", "devnet", "forged", "key_set", "lock", "small_limits", "wallet"]
