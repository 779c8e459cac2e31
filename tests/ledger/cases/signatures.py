"""Signatures: plain ones, and those on the edge of ZIP-215, where libraries disagree.

Source of the encodings: ZIP-215 and RFC 8032; the eight points of small order and their non-canonical
spellings. Curve arithmetic is the tests' oracle, `tests/primitives/zip215.py`.
"""

from __future__ import annotations

from hashlib import sha512

from ledger import codes
from ledger.build import assemble, make_output, sign_body
from ledger.locks import key_lock
from ledger.payloads import Kind
from ledger.transaction import Body, Transaction, sighash_of
from tests.ledger.cases import add_invalid, add_valid, invalid, valid
from tests.ledger.world import CHAIN_ID, DVT_A, FREE, World, key, lock
from tests.primitives import zip215

SMALL_ORDER = {
    "identity": "0100000000000000000000000000000000000000000000000000000000000000",
    "order 2": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "order 4": "0000000000000000000000000000000000000000000000000000000000000000",
    "order 4 negative": "0000000000000000000000000000000000000000000000000000000000000080",
    "order 8": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "order 8 negative": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "order 8 second": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "order 8 second negative": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
}
NONCANONICAL = {
    "identity with sign": "0100000000000000000000000000000000000000000000000000000000000080",
    "order 2 with sign": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "identity as p + 1": "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "identity as p + 1 with sign": "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "order 4 as p": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "order 4 as p with sign": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}
IDENTITY = bytes.fromhex(SMALL_ORDER["identity"])
NOT_ON_CURVE = bytes.fromhex("0200000000000000000000000000000000000000000000000000000000000000")


def spend_of(world: World, public_key: bytes) -> Body:
    """A transfer of 100 that the key lock of `public_key` holds."""
    point = world.fund("alice", FREE, 100)
    held = world.apply(world.spend([point], [(FREE, 100, key_lock(public_key))], ["alice"])).outpoint(0)
    return world.body(Kind.TRANSFER, [held], [make_output(FREE, 100, lock("bob"))])


def with_signature(world: World, public_key: bytes, signature: bytes) -> Transaction:
    """That transfer with `signature`."""
    return assemble(spend_of(world, public_key), CHAIN_ID, [(public_key, signature)])


def compress(point: zip215.Point) -> bytes:
    """The canonical 32 bytes of a point."""
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def mixed_sign(body: Body, scalar: int, torsion_key: bytes, torsion_nonce: bytes) -> tuple[bytes, bytes]:
    """Sign with A = scalar·B + T and R = r·B + T': valid by the cofactored equation only."""
    base, key_part = zip215.BASE, zip215.decompress(torsion_key)
    nonce_part = zip215.decompress(torsion_nonce)
    assert base is not None
    assert key_part is not None
    assert nonce_part is not None
    public_key = compress(zip215.add(zip215.multiply(scalar, base), key_part))
    nonce = 7919
    commitment = compress(zip215.add(zip215.multiply(nonce, base), nonce_part))
    message = sighash_of(body, CHAIN_ID)
    k = int.from_bytes(sha512(commitment + public_key + message).digest(), "little") % zip215.L
    return public_key, commitment + ((nonce + k * scalar) % zip215.L).to_bytes(32, "little")


def _small(name: str, encoded: str, commitment: bytes) -> None:
    public_key = bytes.fromhex(encoded)
    add_valid(name, lambda world: with_signature(world, public_key, commitment + bytes(32)))


for _name, _encoded in (SMALL_ORDER | NONCANONICAL).items():
    _small(f"zip-215: key of {_name}, R the identity, S zero", _encoded, IDENTITY)
    _small(f"zip-215: key and R of {_name}, S zero", _encoded, bytes.fromhex(_encoded))


def _mixed(name: str, torsion_key: str, torsion_nonce: str) -> None:
    def make(world: World) -> Transaction:
        key_torsion, nonce_torsion = bytes.fromhex(torsion_key), bytes.fromhex(torsion_nonce)
        public_key, _ = mixed_sign(world.body(Kind.TRANSFER), 4242, key_torsion, nonce_torsion)
        body = spend_of(world, public_key)
        return assemble(body, CHAIN_ID, [mixed_sign(body, 4242, key_torsion, nonce_torsion)])

    add_valid(name, make)


for _name in ("order 2", "order 4", "order 8", "order 8 second negative"):
    _mixed(f"zip-215: key of mixed order ({_name})", SMALL_ORDER[_name], SMALL_ORDER["identity"])
    _mixed(f"zip-215: R of mixed order ({_name})", SMALL_ORDER["identity"], SMALL_ORDER[_name])


def _alice(world: World) -> tuple[Body, bytes, bytes]:
    body = world.body(
        Kind.TRANSFER, [world.fund("alice", DVT_A, 100)], [make_output(DVT_A, 100, lock("bob"))]
    )
    ((public_key, signature),) = sign_body(body, CHAIN_ID, [key("alice")])
    return body, public_key, signature


@invalid(codes.BAD_SIGNATURE)
def signature_with_s_plus_l(world: World) -> Transaction:
    body, public_key, signature = _alice(world)
    scalar = int.from_bytes(signature[32:], "little") + zip215.L
    return assemble(body, CHAIN_ID, [(public_key, signature[:32] + scalar.to_bytes(32, "little"))])


@invalid(codes.BAD_SIGNATURE)
def signature_with_s_equal_l(world: World) -> Transaction:
    return with_signature(world, IDENTITY, IDENTITY + zip215.L.to_bytes(32, "little"))


@invalid(codes.BAD_SIGNATURE)
def signature_with_s_one_for_the_identity_key(world: World) -> Transaction:
    return with_signature(world, IDENTITY, IDENTITY + (1).to_bytes(32, "little"))


@invalid(codes.BAD_SIGNATURE)
def signature_by_a_key_off_the_curve(world: World) -> Transaction:
    return with_signature(world, NOT_ON_CURVE, IDENTITY + bytes(32))


@invalid(codes.BAD_SIGNATURE)
def signature_with_r_off_the_curve(world: World) -> Transaction:
    return with_signature(world, IDENTITY, NOT_ON_CURVE + bytes(32))


@invalid(codes.BAD_SIGNATURE)
def signature_of_another_body(world: World) -> Transaction:
    body, public_key, _ = _alice(world)
    _, _, other = _alice(world)
    return assemble(body, CHAIN_ID, [(public_key, other)])


@invalid(codes.BAD_SIGNATURE)
def signature_for_another_chain(world: World) -> Transaction:
    body, _, _ = _alice(world)
    return assemble(body, CHAIN_ID, sign_body(body, bytes(32), [key("alice")]))


@invalid(codes.BAD_SIGNATURE)
def signature_of_the_txid_itself(world: World) -> Transaction:
    body, public_key, signature = _alice(world)
    txid = assemble(body, CHAIN_ID, [(public_key, signature)]).txid
    return assemble(body, CHAIN_ID, [(public_key, key("alice").sign(txid))])


@invalid(codes.BAD_SIGNATURE)
def one_good_signature_and_one_bad(world: World) -> Transaction:
    points = [world.fund("alice", DVT_A, 100), world.fund("bob", DVT_A, 100)]
    signed = world.spend(points, [(DVT_A, 200, "bob")], ["alice", "bob"])
    (first, second) = signed.witness.signatures
    return assemble(signed.body, CHAIN_ID, [first, (second[0], first[1])])


def _flipped(place: int) -> None:
    def make(world: World) -> Transaction:
        body, public_key, signature = _alice(world)
        changed = bytearray(signature)
        changed[place] ^= 1
        return assemble(body, CHAIN_ID, [(public_key, bytes(changed))])

    add_invalid(f"signature with a bit of byte {place} flipped", codes.BAD_SIGNATURE, make)


for _place in (0, 31, 32, 63):
    _flipped(_place)


@valid
def plain_signature(world: World) -> Transaction:
    body, public_key, signature = _alice(world)
    return assemble(body, CHAIN_ID, [(public_key, signature)])
