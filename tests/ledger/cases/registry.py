"""The registry: participants, conditions and their recovery, locks, assets, wallets, nodes, candidates."""

from __future__ import annotations

from collections.abc import Sequence

from ledger import codes
from ledger.locks import Condition, HashLeaf, digest_of, threshold
from ledger.payloads import (
    Act,
    CancelRecovery,
    Credential,
    EnableWallets,
    Freeze,
    Holders,
    Kind,
    NodeRole,
    RecoverCondition,
    RegisterAsset,
    RegisterCandidate,
    RegisterLock,
    RegisterNode,
    RegisterParticipant,
    RemoveCandidate,
    RemoveLock,
    RemoveNode,
    Role,
    RotateCondition,
    SetConsent,
    SetProtocol,
    SetReserveLock,
    SetSettlementLock,
    UpdateAsset,
    UpdateParticipant,
)
from ledger.transaction import Transaction
from tests.ledger.cases import add_invalid, add_valid, invalid, valid
from tests.ledger.world import (
    BANK_A,
    BANK_B,
    BCB,
    BRL,
    DVT_A,
    EMISSION_KEYS,
    MET_C,
    RECOVERY_DELAY,
    SMALL_BANK,
    STN,
    VALIDATOR_NAMES,
    WALLET_CO,
    World,
    key,
    leaf,
    lock,
)

REGISTRY = ("bcb-registry",)
NEW = "EEEE5555"
PEER = b"\x12\x20" + bytes(32)


def _case(name: str, code: str | None, actor: str, act: Act, signers: Sequence[str], *before: Act) -> None:
    """An act of `actor` after acts of BCB's registry."""

    def make(world: World) -> Transaction:
        for earlier in before:
            world.apply(world.act(BCB, earlier, REGISTRY))
        return world.act(actor, act, signers)

    if code is None:
        add_valid(f"registry: {name}", make)
    else:
        add_invalid(f"registry: {name}", code, make)


def _participant(
    ispb: str = NEW,
    role: Role = Role.BANK,
    settlement: bytes = b"",
    sponsor: str = "",
    condition: Condition | None = None,
) -> RegisterParticipant:
    return RegisterParticipant(ispb, "New", role, condition or leaf("new"), settlement, sponsor)


# --- participants

_direct = _participant(settlement=lock("new-cash"))
_case("a direct participant", None, BCB, _direct, REGISTRY)
_case("an indirect participant", None, BCB, _participant(sponsor=BANK_A), REGISTRY)
_case("a regulator without a lock", None, BCB, _participant(role=Role.REGULATOR), REGISTRY)
_case(
    "a participant with a 2-of-3 condition",
    None,
    BCB,
    _participant(condition=threshold(2, leaf("n1"), leaf("n2"), leaf("n3"))),
    REGISTRY,
)
_case("a participant by itself", codes.NOT_AUTHORISED, BANK_A, _direct, ["bank-a"])
_case("a participant by BCB's emission authority", codes.NOT_AUTHORISED, BCB, _direct, EMISSION_KEYS[:2])
_case("a participant by BCB's orders authority", codes.NOT_AUTHORISED, BCB, _direct, ["bcb-orders"])
_case("a participant registered twice", codes.ALREADY_REGISTERED, BCB, _direct, REGISTRY, _direct)
_case("a second Banco Central", codes.REGISTRY_RULE, BCB, _participant(role=Role.BCB), REGISTRY)
_case(
    "an indirect participant with a settlement lock",
    codes.REGISTRY_RULE,
    BCB,
    _participant(settlement=lock("new-cash"), sponsor=BANK_A),
    REGISTRY,
)
_case(
    "a sponsor that is indirect itself",
    codes.REGISTRY_RULE,
    BCB,
    _participant(sponsor=SMALL_BANK),
    REGISTRY,
)
_case("a sponsor of itself", codes.REGISTRY_RULE, BCB, _participant(sponsor=NEW), REGISTRY)
_case("an unknown sponsor", codes.PARTICIPANT_UNKNOWN, BCB, _participant(sponsor="ZZZZ9999"), REGISTRY)
_case(
    "a settlement lock of another participant",
    codes.ALREADY_REGISTERED,
    BCB,
    _participant(settlement=lock("bank-a-cash")),
    REGISTRY,
)
_case("a settlement lock of 20 bytes", codes.REGISTRY_RULE, BCB, _participant(settlement=bytes(20)), REGISTRY)
_case("a new name and sponsor", None, BCB, UpdateParticipant(SMALL_BANK, "Smaller", BANK_A), REGISTRY)
_case(
    "a new name by the participant itself",
    codes.NOT_AUTHORISED,
    BANK_A,
    UpdateParticipant(BANK_A, "Greater", ""),
    ["bank-a"],
)
_case(
    "a new name of nobody",
    codes.PARTICIPANT_UNKNOWN,
    BCB,
    UpdateParticipant("ZZZZ9999", "Nobody", ""),
    REGISTRY,
)

# --- conditions that speak for someone

_rotate_a = RotateCondition(BANK_A, Credential.OWN, leaf("bank-a-new"))
_case("a bank's new condition by its old one", None, BANK_A, _rotate_a, ["bank-a"])
_case("a bank's new condition by the new one", codes.NOT_AUTHORISED, BANK_A, _rotate_a, ["bank-a-new"])
_case("a bank's new condition by BCB's registry", codes.NOT_AUTHORISED, BCB, _rotate_a, REGISTRY)
_case("a bank's new condition by another bank", codes.NOT_AUTHORISED, BANK_B, _rotate_a, ["bank-b"])
_case(
    "the treasury's new condition",
    None,
    STN,
    RotateCondition(STN, Credential.OWN, leaf("stn-new")),
    ["stn"],
)
for _number, _signers in (
    (Credential.EMISSION, EMISSION_KEYS[1:]),
    (Credential.ORDERS, ("bcb-orders",)),
    (Credential.REGISTRY, ("bcb-registry",)),
):
    _act = RotateCondition(BCB, _number, leaf("bcb-new"))
    _name = _number.name.lower()
    _case(f"BCB's {_name} authority by its own condition", None, BCB, _act, _signers)
    _recover = RecoverCondition(BCB, _number, leaf("bcb-new"))
    _case(f"BCB's {_name} authority by the recovery", None, BCB, _recover, ["bcb-recovery"])
    _case(
        f"BCB's {_name} authority by the recovery, signed by the registry",
        codes.NOT_AUTHORISED,
        BCB,
        _recover,
        REGISTRY,
    )
    if _number is not Credential.REGISTRY:
        _case(f"BCB's {_name} authority by the registry", codes.NOT_AUTHORISED, BCB, _act, REGISTRY)
_case(
    "BCB's emission authority at once by the recovery",
    codes.NOT_AUTHORISED,
    BCB,
    RotateCondition(BCB, Credential.EMISSION, leaf("bcb-new")),
    ["bcb-recovery"],
)
_case(
    "BCB's emission authority by a bank",
    codes.NOT_AUTHORISED,
    BANK_A,
    RecoverCondition(BCB, Credential.EMISSION, leaf("bank-a")),
    ["bank-a"],
)
_case(
    "an emission authority of a bank",
    codes.REGISTRY_RULE,
    BANK_A,
    RotateCondition(BANK_A, Credential.EMISSION, leaf("bank-a")),
    ["bank-a"],
)
_case(
    "an emission authority of a bank by recovery",
    codes.REGISTRY_RULE,
    BCB,
    RecoverCondition(BANK_A, Credential.EMISSION, leaf("bank-a")),
    ["bcb-recovery"],
)
_case(
    "BCB's own condition, which it has not",
    codes.NOT_AUTHORISED,
    BCB,
    RotateCondition(BCB, Credential.OWN, leaf("bcb-new")),
    REGISTRY,
)
_case(
    "BCB's own condition by recovery",
    codes.REGISTRY_RULE,
    BCB,
    RecoverCondition(BCB, Credential.OWN, leaf("bcb-new")),
    REGISTRY,
)

_recover_a = RecoverCondition(BANK_A, Credential.OWN, leaf("bank-a-new"))
_cancel_a = CancelRecovery(BANK_A, Credential.OWN)
_case("a bank's recovery by BCB's registry", None, BCB, _recover_a, REGISTRY)
_case("a bank's recovery by BCB's recovery", codes.NOT_AUTHORISED, BCB, _recover_a, ["bcb-recovery"])
_case("a bank's recovery by itself", codes.NOT_AUTHORISED, BANK_A, _recover_a, ["bank-a"])
_case("a second recovery while one is pending", codes.RECOVERY_PENDING, BCB, _recover_a, REGISTRY, _recover_a)
_case("a first recovery cancelled", None, BANK_A, _cancel_a, ["bank-a"], _recover_a)
_case("a recovery cancelled by BCB", codes.NOT_AUTHORISED, BCB, _cancel_a, REGISTRY, _recover_a)
_case("a recovery cancelled that is not pending", codes.RECOVERY_MISSING, BANK_A, _cancel_a, ["bank-a"])


def _cancelled_once(world: World) -> None:
    world.apply(world.act(BCB, _recover_a, REGISTRY))
    world.apply(world.act(BANK_A, _cancel_a, ["bank-a"]))
    world.apply(world.act(BCB, _recover_a, REGISTRY))


@invalid(codes.NOT_CANCELLABLE)
def second_recovery_cancelled(world: World) -> Transaction:
    _cancelled_once(world)
    return world.act(BANK_A, _cancel_a, ["bank-a"])


@invalid(codes.NOT_CANCELLABLE)
def second_recovery_cancelled_after_a_rotation(world: World) -> Transaction:
    _cancelled_once(world)
    world.apply(world.act(BANK_A, RotateCondition(BANK_A, Credential.OWN, leaf("thief")), ["bank-a"]))
    return world.act(BANK_A, _cancel_a, ["thief"])


@valid
def old_condition_acts_until_the_block_before_the_recovery(world: World) -> Transaction:
    world.apply(world.act(BCB, _recover_a, REGISTRY))
    world.height += RECOVERY_DELAY - 1
    return world.emission(DVT_A, 1, "alice", ["bank-a"])


@invalid(codes.NOT_AUTHORISED)
def old_condition_acts_once_the_recovery_is_due(world: World) -> Transaction:
    world.apply(world.act(BCB, _recover_a, REGISTRY))
    world.height += RECOVERY_DELAY
    return world.emission(DVT_A, 1, "alice", ["bank-a"])


@valid
def new_condition_acts_once_the_recovery_is_due(world: World) -> Transaction:
    world.apply(world.act(BCB, _recover_a, REGISTRY))
    world.height += RECOVERY_DELAY
    return world.emission(DVT_A, 1, "alice", ["bank-a-new"])


@valid
def recovery_comes_in_spite_of_a_rotation_by_the_stolen_key(world: World) -> Transaction:
    world.apply(world.act(BCB, _recover_a, REGISTRY))
    world.apply(world.act(BANK_A, RotateCondition(BANK_A, Credential.OWN, leaf("thief")), ["bank-a"]))
    world.height += RECOVERY_DELAY
    return world.emission(DVT_A, 1, "alice", ["bank-a-new"])


@valid
def rotation_after_a_recovery(world: World) -> Transaction:
    world.apply(world.act(BCB, _recover_a, REGISTRY))
    world.height += RECOVERY_DELAY
    return world.act(BANK_A, RotateCondition(BANK_A, Credential.OWN, leaf("newest")), ["bank-a-new"])


@valid
def emission_by_the_rotated_emission_authority(world: World) -> Transaction:
    act = RotateCondition(BCB, Credential.EMISSION, leaf("bcb-new"))
    world.apply(world.act(BCB, act, EMISSION_KEYS[:2]))
    return world.emission(BRL, 1, "bank-a-cash", ["bcb-new"])


@invalid(codes.NOT_AUTHORISED)
def emission_by_the_former_emission_authority(world: World) -> Transaction:
    act = RotateCondition(BCB, Credential.EMISSION, leaf("bcb-new"))
    world.apply(world.act(BCB, act, EMISSION_KEYS[:2]))
    return world.emission(BRL, 1, "bank-a-cash", EMISSION_KEYS[:2])


@valid
def orders_by_the_recovered_orders_authority(world: World) -> Transaction:
    act = RecoverCondition(BCB, Credential.ORDERS, leaf("orders-new"))
    world.apply(world.act(BCB, act, ["bcb-recovery"]))
    world.height += RECOVERY_DELAY
    payload = Freeze(BCB, lock("alice"), DVT_A, 5, b"o")
    return world.order(Kind.FREEZE, payload, ["orders-new"])


@valid
def act_by_a_condition_that_needs_a_secret_too(world: World) -> Transaction:
    condition = threshold(2, leaf("bank-a"), HashLeaf(digest_of(b"secret")))
    world.apply(world.act(BANK_A, RotateCondition(BANK_A, Credential.OWN, condition), ["bank-a"]))
    act = EnableWallets(BANK_A, (lock("new client"),))
    return world.sign(world.act(BANK_A, act, []).body, ["bank-a"], preimages=[b"secret"])


# --- a participant's own locks

_desk = RegisterLock(BANK_A, lock("desk"))
_case("a bank's further lock by itself", None, BANK_A, _desk, ["bank-a"])
_case("a bank's further lock by BCB", None, BCB, _desk, REGISTRY)
_case("the treasury's further lock", None, STN, RegisterLock(STN, lock("desk")), ["stn"])
_case("a bank's further lock by another bank", codes.NOT_AUTHORISED, BANK_B, _desk, ["bank-b"])
_case("a lock registered twice", codes.ALREADY_REGISTERED, BANK_A, _desk, ["bank-a"], _desk)
_case(
    "a lock of another participant",
    codes.ALREADY_REGISTERED,
    BANK_B,
    RegisterLock(BANK_B, lock("desk")),
    ["bank-b"],
    _desk,
)
_case(
    "a lock that is a client's wallet",
    codes.ALREADY_REGISTERED,
    BANK_A,
    RegisterLock(BANK_A, lock("alice")),
    ["bank-a"],
)
_case("a further lock removed", None, BANK_A, RemoveLock(BANK_A, lock("desk")), ["bank-a"], _desk)
_case(
    "a lock removed that is not there",
    codes.NOT_REGISTERED,
    BANK_A,
    RemoveLock(BANK_A, lock("desk")),
    ["bank-a"],
)
_case(
    "a settlement lock removed",
    codes.REGISTRY_RULE,
    BANK_A,
    RemoveLock(BANK_A, lock("bank-a-cash")),
    ["bank-a"],
)
_case(
    "a reserve lock removed",
    codes.REGISTRY_RULE,
    WALLET_CO,
    RemoveLock(WALLET_CO, lock("reserve")),
    ["wallet-co"],
)
_case("a new settlement lock", None, BANK_A, SetSettlementLock(BANK_A, lock("new-cash")), ["bank-a"])
_case(
    "a registered lock as settlement lock",
    None,
    BANK_A,
    SetSettlementLock(BANK_A, lock("desk")),
    ["bank-a"],
    _desk,
)
_case(
    "a reserve lock as settlement lock",
    codes.ALREADY_REGISTERED,
    WALLET_CO,
    SetSettlementLock(WALLET_CO, lock("reserve")),
    ["wallet-co"],
)
_case(
    "a settlement lock of an indirect bank",
    codes.REGISTRY_RULE,
    SMALL_BANK,
    SetSettlementLock(SMALL_BANK, lock("small-cash")),
    ["small-bank"],
)

# --- assets


def _asset(
    name: str,
    issuer: str,
    holders: Holders = Holders.CLIENTS,
    *,
    decimals: int = 2,
    orders: str | None = None,
    burn: bool = True,
    reserve: bytes = b"",
) -> RegisterAsset:
    return RegisterAsset(name, issuer, decimals, None, 1, holders, orders or issuer, burn, False, reserve)


_met_a = _asset(f"BRL@{BANK_A}/MET", BANK_A, reserve=lock("reserve-a"))
_case("e-money of a bank", None, BCB, _met_a, REGISTRY)
_case("another asset", None, BCB, _asset(f"X:{BANK_A}/GOLD", BANK_A, Holders.ANY, decimals=0), REGISTRY)
_case("an asset by its issuer", codes.NOT_AUTHORISED, BANK_A, _met_a, ["bank-a"])
_case("an asset registered twice", codes.ALREADY_REGISTERED, BCB, _asset(DVT_A, BANK_A), REGISTRY)
_case("wholesale money again", codes.ALREADY_REGISTERED, BCB, _asset(BRL, BCB), REGISTRY)
_case("an asset with a wrong name", codes.ASSET_NAME, BCB, _asset("GOLD", BANK_A), REGISTRY)
_case(
    "an asset of an unknown issuer",
    codes.PARTICIPANT_UNKNOWN,
    BCB,
    _asset("BRL@ZZZZ9999/DVT", "ZZZZ9999"),
    REGISTRY,
)
_case(
    "an asset issued by another than its name says",
    codes.REGISTRY_RULE,
    BCB,
    _asset(f"BRL@{WALLET_CO}/DVT", BANK_A),
    REGISTRY,
)
_case("retail money of the treasury", codes.REGISTRY_RULE, BCB, _asset(f"BRL@{STN}/DVT", STN), REGISTRY)
_case("a bond of a bank", codes.REGISTRY_RULE, BCB, _asset("TPF:BRSTNCLTN7D3", BANK_A), REGISTRY)
_case("e-money without a reserve", codes.REGISTRY_RULE, BCB, _asset(f"BRL@{BANK_A}/MET", BANK_A), REGISTRY)
_case(
    "deposit tokens with a reserve",
    codes.REGISTRY_RULE,
    BCB,
    _asset(f"BRL@{WALLET_CO}/DVT", WALLET_CO, reserve=lock("reserve-2")),
    REGISTRY,
)
_case(
    "e-money on the reserve of another",
    codes.ALREADY_REGISTERED,
    BCB,
    _asset(f"BRL@{BANK_A}/MET", BANK_A, reserve=lock("reserve")),
    REGISTRY,
)
_case(
    "e-money on a settlement lock",
    codes.ALREADY_REGISTERED,
    BCB,
    _asset(f"BRL@{BANK_A}/MET", BANK_A, reserve=lock("bank-a-cash")),
    REGISTRY,
)
_retail = f"BRL@{WALLET_CO}/DVT"
_case(
    "retail money with 3 decimals",
    codes.REGISTRY_RULE,
    BCB,
    _asset(_retail, WALLET_CO, decimals=3),
    REGISTRY,
)
_case(
    "retail money that anybody may hold",
    codes.REGISTRY_RULE,
    BCB,
    _asset(_retail, WALLET_CO, Holders.ANY),
    REGISTRY,
)
_case(
    "retail money burned without its issuer",
    codes.REGISTRY_RULE,
    BCB,
    _asset(_retail, WALLET_CO, burn=False),
    REGISTRY,
)
_case(
    "retail money under another bank's orders",
    codes.REGISTRY_RULE,
    BCB,
    _asset(_retail, WALLET_CO, orders=BANK_A),
    REGISTRY,
)
_case("a cap and a smallest output", None, BCB, UpdateAsset(DVT_A, 1_000, 5), REGISTRY)
_case("a cap by the issuer", codes.NOT_AUTHORISED, BANK_A, UpdateAsset(DVT_A, 1_000, 5), ["bank-a"])
_case("a cap of wholesale money", codes.REGISTRY_RULE, BCB, UpdateAsset(BRL, 1_000, 5), REGISTRY)
_case("a cap of an unknown asset", codes.ASSET_UNKNOWN, BCB, UpdateAsset(_retail, 1_000, 5), REGISTRY)


@invalid(codes.REGISTRY_RULE)
def cap_below_what_circulates(world: World) -> Transaction:
    world.fund("alice", DVT_A, 100)
    return world.act(BCB, UpdateAsset(DVT_A, 99, 1), REGISTRY)


@valid
def cap_taken_away(world: World) -> Transaction:
    world.apply(world.act(BCB, UpdateAsset(DVT_A, 100, 1), REGISTRY))
    return world.act(BCB, UpdateAsset(DVT_A, None, 1), REGISTRY)


_case("standing consent by the issuer", None, BANK_A, SetConsent(DVT_A, True), ["bank-a"])
_case("standing consent by BCB", None, BCB, SetConsent(DVT_A, True), REGISTRY)
_case("standing consent by another bank", codes.NOT_AUTHORISED, BANK_B, SetConsent(DVT_A, True), ["bank-b"])
_case("standing consent of wholesale money", codes.REGISTRY_RULE, BCB, SetConsent(BRL, True), REGISTRY)
_case(
    "a reserve of deposit tokens",
    codes.REGISTRY_RULE,
    BANK_A,
    SetReserveLock(DVT_A, lock("x")),
    ["bank-a"],
)
_case("a new reserve of unused e-money", None, WALLET_CO, SetReserveLock(MET_C, lock("x")), ["wallet-co"])
_case(
    "a reserve by another bank",
    codes.NOT_AUTHORISED,
    BANK_A,
    SetReserveLock(MET_C, lock("x")),
    ["bank-a"],
)
_case(
    "a settlement lock as reserve",
    codes.ALREADY_REGISTERED,
    WALLET_CO,
    SetReserveLock(MET_C, lock("wallet-co-cash")),
    ["wallet-co"],
)

# --- wallets

_wallet = EnableWallets(BANK_A, (lock("new client"),))
_many = EnableWallets(BANK_A, tuple(sorted(lock(f"client {number}") for number in range(256))))
_case("a client's wallet by its bank", None, BANK_A, _wallet, ["bank-a"])
_case("a client's wallet by BCB", None, BCB, _wallet, REGISTRY)
_case("256 wallets at once", None, BANK_A, _many, ["bank-a"])
_case("a client's wallet by another bank", codes.NOT_AUTHORISED, BANK_B, _wallet, ["bank-b"])
_case(
    "a client's wallet of the treasury",
    codes.NOT_AUTHORISED,
    STN,
    EnableWallets(STN, (lock("new client"),)),
    ["stn"],
)
_case(
    "a wallet enabled twice",
    codes.ALREADY_REGISTERED,
    BANK_A,
    EnableWallets(BANK_A, (lock("alice"),)),
    ["bank-a"],
)
_case(
    "a wallet that is the bank's own lock",
    codes.ALREADY_REGISTERED,
    BANK_A,
    EnableWallets(BANK_A, (lock("bank-a-cash"),)),
    ["bank-a"],
)
_case(
    "wallets out of order",
    codes.REGISTRY_RULE,
    BANK_A,
    EnableWallets(BANK_A, tuple(reversed(_many.locks))),
    ["bank-a"],
)
_case("wallets of nobody", codes.PARTICIPANT_UNKNOWN, BCB, EnableWallets("ZZZZ9999", (lock("x"),)), REGISTRY)


@valid
def transfer_to_a_wallet_just_enabled(world: World) -> Transaction:
    world.apply(world.act(BANK_A, _wallet, ["bank-a"]))
    return world.spend([world.fund("alice", DVT_A, 5)], [(DVT_A, 5, "new client")], ["alice"])


# --- nodes, candidates, protocol

_validator_key = key("validator-0").public_key
_node = RegisterNode(PEER, NodeRole.FULL, BANK_A, ("/ip4/127.0.0.1/tcp/26600",), b"")
_validator_node = RegisterNode(PEER, NodeRole.VALIDATOR, BANK_A, (), _validator_key)
_case("a full node", None, BCB, _node, REGISTRY)
_case("a full node's new address", None, BCB, _node, REGISTRY, _node)
_case("a validator's node", None, BCB, _validator_node, REGISTRY)
_case("a node by a bank", codes.NOT_AUTHORISED, BANK_A, _node, ["bank-a"])
_case(
    "a node of nobody",
    codes.PARTICIPANT_UNKNOWN,
    BCB,
    RegisterNode(PEER, NodeRole.FULL, "ZZZZ9999", (), b""),
    REGISTRY,
)
_case(
    "a validator's node without its key",
    codes.REGISTRY_RULE,
    BCB,
    RegisterNode(PEER, NodeRole.VALIDATOR, BANK_A, (), b""),
    REGISTRY,
)
_case("a full node removed", None, BCB, RemoveNode(PEER), REGISTRY, _node)
_case("a node removed that is not there", codes.NOT_REGISTERED, BCB, RemoveNode(PEER), REGISTRY)
_case(
    "the node of a current validator removed",
    codes.VALIDATOR_IN_SET,
    BCB,
    RemoveNode(PEER),
    REGISTRY,
    _validator_node,
)
_case(
    "the node of a current validator made a full node",
    codes.VALIDATOR_IN_SET,
    BCB,
    _node,
    REGISTRY,
    _validator_node,
)
_case(
    "the node of a former validator removed",
    None,
    BCB,
    RemoveNode(PEER),
    REGISTRY,
    RegisterNode(PEER, NodeRole.VALIDATOR, BANK_A, (), key("candidate").public_key),
)
_fresh = RegisterCandidate(key("fresh").public_key, BANK_A)
_case("a candidate", None, BCB, _fresh, REGISTRY)
_case("a candidate by a bank", codes.NOT_AUTHORISED, BANK_A, _fresh, ["bank-a"])
_case("a candidate registered twice", codes.ALREADY_REGISTERED, BCB, _fresh, REGISTRY, _fresh)
_case("a candidate removed", None, BCB, RemoveCandidate(key("candidate").public_key), REGISTRY)
_case(
    "a candidate removed that is none",
    codes.NOT_REGISTERED,
    BCB,
    RemoveCandidate(key("fresh").public_key),
    REGISTRY,
)
_case(
    "a current validator's candidacy removed",
    codes.VALIDATOR_IN_SET,
    BCB,
    RemoveCandidate(key(VALIDATOR_NAMES[0]).public_key),
    REGISTRY,
)
_case("protocol version 2", None, BCB, SetProtocol(2, 500), REGISTRY)
_case("protocol version 2 by a bank", codes.NOT_AUTHORISED, BANK_A, SetProtocol(2, 500), ["bank-a"])
_case("the protocol version in force", codes.REGISTRY_RULE, BCB, SetProtocol(1, 500), REGISTRY)
_case("a protocol version in the past", codes.REGISTRY_RULE, BCB, SetProtocol(2, 100), REGISTRY)
_case("a later height for a pending version", None, BCB, SetProtocol(2, 600), REGISTRY, SetProtocol(2, 500))
_case(
    "an act by an unknown participant",
    codes.PARTICIPANT_UNKNOWN,
    "ZZZZ9999",
    _wallet,
    ["bank-a"],
)


@invalid(codes.REPLAYED)
def the_same_act_twice(world: World) -> Transaction:
    return world.apply(world.act(BANK_A, SetConsent(DVT_A, True), ["bank-a"]))


@invalid(codes.EXPIRED)
def an_old_act_again(world: World) -> Transaction:
    first = world.apply(world.act(BANK_A, SetConsent(DVT_A, True), ["bank-a"]))
    world.height = first.body.valid_until + 1
    return first


@invalid(codes.PARTICIPANT_UNKNOWN)
def wallets_by_an_unknown_participant(world: World) -> Transaction:
    return world.act("ZZZZ9999", EnableWallets("ZZZZ9999", (lock("x"),)), ["alice"])


@valid
def emission_by_a_participant_just_registered(world: World) -> Transaction:
    world.apply(world.act(BCB, _direct, REGISTRY))
    world.apply(world.act(BCB, _asset(f"BRL@{NEW}/DVT", NEW), REGISTRY))
    world.apply(world.act(NEW, EnableWallets(NEW, (lock("client"),)), ["new"]))
    return world.emission(f"BRL@{NEW}/DVT", 10, "client", ["new"])
