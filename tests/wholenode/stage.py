"""The stage of one schedule: machines, the genesis they share, and the work that clients bring."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import trio
from msgspec import structs

from drexnode.config import P2pSection
from ledger.assets import WHOLESALE
from ledger.build import build_body, build_transaction, make_output
from ledger.devnet import (
    BANK_A_DVT,
    DEVNET_PARAMETERS,
    DEVNET_WALLETS,
    DevnetNode,
    devnet_seed,
    ed25519_peer_id,
    make_devnet_genesis,
)
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument, GenesisOutput
from ledger.locks import key_lock
from ledger.payloads import Kind, NodeRole, ValidatorVote, VoteOperation
from ledger.transaction import OutPoint, Transaction
from p2p.identity import peer_id_from_seed
from primitives.errors import DrexError
from primitives.keys import SigningKey
from tests.wholenode.links import LinkNetwork
from tests.wholenode.machine import Machine
from tests.wholenode.network import SimNetwork
from tests.wholenode.oracle import Oracle, Violation
from tests.wholenode.villains import with_false_signature
from tests.wholenode.world import World

COINS, COIN = 32, 1000
VALIDATORS = 4
PARAMETERS = structs.replace(
    DEVNET_PARAMETERS, base_timeout_ms=300, max_timeout_ms=4000, empty_block_period_ms=1000
)
"""Short times: a schedule of a few seconds sees many rounds."""
FOLLOWERS = ("full", "observer")
TWIN = VALIDATORS + len(FOLLOWERS)


@lru_cache(maxsize=64)
def key(name: str) -> SigningKey:
    """The key of a name, the same in every schedule."""
    return SigningKey(devnet_seed(name))


@lru_cache(maxsize=2)
def genesis() -> GenesisDocument:
    """Four validators, a full node, an observer, and alice's coins."""
    nodes = [
        DevnetNode(
            NodeRole.VALIDATOR,
            ed25519_peer_id(key(f"peer-{number}").public_key),
            (),
            key(f"validator-{number}").public_key,
        )
        for number in range(VALIDATORS)
    ]
    for number, role in enumerate(FOLLOWERS, VALIDATORS):
        node_role = NodeRole.FULL if role == "full" else NodeRole.OBSERVER
        nodes.append(DevnetNode(node_role, ed25519_peer_id(key(f"peer-{number}").public_key)))
    wallets = {wallet: key(wallet).public_key for wallet in DEVNET_WALLETS}
    lock = key_lock(wallets["alice"])
    return make_devnet_genesis(
        nodes,
        wallets,
        parameters=PARAMETERS,
        outputs=[GenesisOutput(BANK_A_DVT, COIN, lock) for _ in range(COINS)],
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client submits, and whether it must become final if an honest node takes it."""

    name: str
    raw: bytes
    txid: bytes
    is_valid: bool


@lru_cache(maxsize=4)
def wishes(cheap: bool) -> tuple[tuple[Wish, ...], ...]:
    """Groups of transactions, each group on coins of its own; a group's members are sent in order."""
    del cheap  # signatures differ: one list for each sort
    chain_id = chain_id_of(genesis())
    groups: list[tuple[Wish, ...]] = []
    for coin in range(COINS):
        point = OutPoint(chain_id, coin)
        plain = _pay([(point, COIN)], 1, coin)
        match coin % 8:
            case 0 | 1 | 2:
                groups.append((_wish("transfer", plain, True),))
            case 3:
                child = _pay([(plain.outpoint(1), COIN - 1)], 2, coin)
                false = with_false_signature(child, chain_id)
                groups.append(
                    (
                        _wish("child before its parent", child, True),
                        _wish("parent", plain, True),
                        _wish("the child's body with a false witness", false, False),
                    )
                )
            case 4:
                rival = _pay([(point, COIN)], 3, coin)
                groups.append((_wish("spend", plain, False), _wish("double spend", rival, False)))
            case 5:
                groups.append((_wish("burn", _burn(point, coin), True),))
            case 6:
                groups.append((_wish("emission", _emit(coin), True),) * 2)
            case _:
                false = with_false_signature(plain, chain_id)
                groups.append((_wish("false witness first", false, False), _wish("true", plain, True)))
    return tuple(groups)


def _pay(coins: list[tuple[OutPoint, int]], amount: int, serial: int) -> Transaction:
    alice, bob = key("alice"), key_lock(key("bob").public_key)
    total = sum(value for _, value in coins)
    outputs = [
        make_output(BANK_A_DVT, amount, bob),
        make_output(BANK_A_DVT, total - amount, key_lock(alice.public_key)),
    ]
    body = build_body(
        Kind.TRANSFER, [point for point, _ in coins], outputs, reference=serial.to_bytes(4, "big")
    )
    return build_transaction(body, chain_id_of(genesis()), [alice])


def _burn(point: OutPoint, serial: int) -> Transaction:
    alice = key("alice")
    change = make_output(BANK_A_DVT, COIN - 7, key_lock(alice.public_key))
    body = build_body(Kind.BURN, [point], [change], reference=serial.to_bytes(4, "big"))
    return build_transaction(body, chain_id_of(genesis()), [alice, key("bank-a")])


def _emit(serial: int) -> Transaction:
    bcb = key("bcb")
    made = make_output(WHOLESALE, 500, key_lock(bcb.public_key))
    body = build_body(Kind.EMISSION, (), [made], valid_until=1000, reference=b"emission %d" % serial)
    return build_transaction(body, chain_id_of(genesis()), [bcb])


def _wish(name: str, transaction: Transaction, is_valid: bool) -> Wish:
    return Wish(name, transaction.raw, bytes(transaction.txid), is_valid)


def validator_set() -> tuple[bytes, ...]:
    """The keys that decide the first block, ascending."""
    return tuple(sorted(bytes(key(f"validator-{number}").public_key) for number in range(VALIDATORS)))


def vote(voter: int, subject: int, *, add: bool, until: int) -> bytes:
    """A validator's vote on the set."""
    operation = VoteOperation.ADD if add else VoteOperation.REMOVE
    ballot = ValidatorVote(
        key(f"validator-{voter}").public_key, key(f"validator-{subject}").public_key, operation, until
    )
    body = build_body(Kind.VALIDATOR_VOTE, payload=ballot, valid_until=until)
    return build_transaction(body, chain_id_of(genesis()), [key(f"validator-{voter}")]).raw


@dataclass
class Stage:
    """Everything of one schedule, as plots see it."""

    world: World
    network: SimNetwork | LinkNetwork
    oracle: Oracle
    machines: list[Machine]
    groups: list[tuple[Wish, ...]]
    nursery: trio.Nursery
    safety_s: float = 2.5
    submitted: int = 0
    promised: set[bytes] = field(default_factory=set)  # taken by a node since the faults ended
    booted: set[int] = field(default_factory=set)
    twins: list[Machine] = field(default_factory=list)

    @property
    def validators(self) -> list[Machine]:
        """Machines that hold a validator's key."""
        return [machine for machine in self.machines if machine.validator is not None]

    @property
    def takers(self) -> list[Machine]:
        """Machines whose nodes take transactions."""
        return [machine for machine in self.machines if machine.role != "observer"]

    def moment(self) -> float:
        """A time in the safety phase."""
        return self.world.random.random() * self.safety_s

    def at(self, moment_s: float, action: Callable[..., None], *arguments: object) -> None:
        """Do something in so many seconds."""
        self.world.after(moment_s, action, *arguments)

    def boot(self, machine: Machine) -> None:
        """Switch a machine on for the first time."""
        self.booted.add(machine.number)
        self.nursery.start_soon(machine.live)

    def join(self, machine: Machine) -> None:
        """A machine that was held back begins."""
        machine.faults.stays_down = False
        if machine.number not in self.booted:
            self.boot(machine)

    def add_twin(self, twin: Machine) -> None:
        """A machine with another's keys, until the faults end."""
        assert twin.validator is not None
        self.oracle.twins.add(twin.validator.public_key)
        self.oracle.expected_errors |= {
            "consensus.equivocation",
            "consensus.own_message_rejected",
            "evidence.learnt",
        }
        self.twins.append(twin)
        self.boot(twin)

    def reshuffle_links(self, number: int) -> None:
        """Whoever is connected to a twin looks for one of them anew."""
        for machine in (self.machines[number], *self.twins):
            host = self.network.hosts.get(machine.number)
            if host is None:
                continue
            for peer in sorted(host.links):
                if self.world.random.random() < 0.5:
                    host.disconnect(peer)

    def submit(self, wish: Wish, machine: Machine, *, promises: bool = False) -> None:
        """A client sends a transaction to a machine's RPC; after the faults a yes is a promise."""
        machine.start_soon(self._submit, wish, machine, promises)

    async def _submit(self, wish: Wish, machine: Machine, promises: bool) -> None:
        node = machine.node
        if node is None:
            return
        self.submitted += 1
        try:
            (answer,) = await node.api.submit([wish.raw])
        except DrexError as error:
            if error.code not in ("NODE_OBSERVER", "NODE_NOT_READY"):
                raise
            return
        if answer.error is None and promises:
            self.promised.add(wish.raw)

    def late_wishes(self) -> list[Wish]:
        """Valid transactions that are not final yet."""
        return [
            wish
            for group in self.groups
            for wish in group
            if wish.is_valid and wish.txid not in self.oracle.final_at
        ]


def make_machine(
    world: World,
    network: SimNetwork | LinkNetwork,
    oracle: Oracle,
    number: int,
    *,
    twin_of: int | None = None,
) -> Machine:
    """Machine `number`; a twin has another's keys."""
    same = number if twin_of is None else twin_of
    role = "validator" if same < VALIDATORS else FOLLOWERS[same - VALIDATORS]
    machine = Machine(
        world,
        network,
        oracle,
        genesis(),
        number,
        role,
        key(f"peer-{same}"),
        key(f"validator-{same}") if role == "validator" else None,
    )
    peers = tuple(
        f"/dns/{peer}/tcp/1/p2p/{peer}"
        for peer in (
            peer_id_from_seed(key(f"peer-{other}").seed) for other in range(VALIDATORS) if other != same
        )
    )
    machine.config = dataclasses.replace(machine.config, p2p=P2pSection(peers=peers))
    return machine


__all__ = ["Stage", "Violation", "Wish", "genesis", "key", "make_machine", "vote", "wishes"]
