"""An independent reading of docs/encodings.md: checks every vector and shares no code with the node.

    python tests/vectors/check_vectors.py        needs Python 3.11 and the package `msgpack`

Of every transaction: canonical bytes, ids, ZIP-215 signatures; of valid ones also inputs, sums, locks,
outputs and balances; of invalid ones the code, wherever bytes, signatures, block or inputs tell it.
"""

# fmt: off
# ruff: noqa: E401, E701, E704, I001, PT018
# mypy: ignore-errors
import base64, itertools, json, re, zlib
from collections import Counter
from hashlib import sha256, sha512
from pathlib import Path
import msgpack

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
INT, AMOUNT = range(-(2**63), 2**64), range(1, 2**63)
U32, TIME, HEIGHT = range(2**32), range(2**53), range(2**63)
NAMES = r"BRL(@[0-9A-Z]{8}/(DVT|MET))?|TPF:[A-Z]{2}[0-9A-Z]{9}[0-9]|X:[0-9A-Z]{8}/[0-9A-Z._-]{1,16}"
EMISSION, TRANSFER, BURN, INTERBANK, FREEZE, UNFREEZE, MOVE, REGISTRY = range(1, 9)
SPENDING, SETTLING, ROTATIONS = {TRANSFER, BURN, INTERBANK, MOVE}, {TRANSFER, BURN, INTERBANK}, {3, 4}

pack = msgpack.Packer(use_bin_type=True).pack

class Refused(Exception): """Carries the code of a refusal."""
def need(holds, code):
    if not holds: raise Refused(code)
def tagged(tag, data):
    head = sha256(tag.encode()).digest()
    return sha256(head + head + data).digest()

def ascending(values): return all(a < b for a, b in itertools.pairwise(values))
def lock_of(condition): return tagged("drex/lock", pack(condition))

def add(p, q):  # points in extended coordinates
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P
def times(scalar, point):
    total = (0, 1, 1, 0)
    while scalar:
        total = add(total, point) if scalar & 1 else total
        point, scalar = add(point, point), scalar >> 1
    return total
def decompress(data):
    value = int.from_bytes(data, "little")
    sign, y = value >> 255, value % 2**255 % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * pow(2, (P - 1) // 4, P) % P
    x = (P - x) % P if x & 1 != sign else x
    return (x, y, 1, x * y % P) if (x * x - square) % P == 0 else None
def verifies(public_key, message, signature):  # ZIP-215
    a, r, s = decompress(public_key), decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L: return False
    k = int.from_bytes(sha512(signature[:32] + public_key + message).digest(), "little") % L
    base = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    u, v = times(8 * s, base), times(8, add(r, times(k, a)))
    return (u[0] * v[2] - v[0] * u[2]) % P == 0 == (u[1] * v[2] - v[1] * u[2]) % P

def fits(value, shape):
    """A range: an integer in it; a number: bytes of that size; a list: any number; a tuple: one each."""
    if isinstance(shape, range): return type(value) is int and value in shape
    if isinstance(shape, type): return type(value) is shape
    if isinstance(shape, int): return type(value) is bytes and len(value) == shape
    if callable(shape): return shape(value)
    many = shape * len(value) if type(shape) is list is type(value) else shape
    return type(value) is list and len(value) == len(many) and all(map(fits, value, many))

def condition(value):
    operands = [(32,), (32,), (HEIGHT,), (HEIGHT,), (TIME,), (TIME,), (INT, [condition])]
    known = type(value) is list and value and fits(value[0], range(7))
    return known and fits(value[1:], operands[value[0]])

OUTPUT = (str, INT, 32, bytes)
BODY = (range(1, 2), range(1, 10), [(32, U32)], [OUTPUT], HEIGHT, HEIGHT, bytes, lambda payload: True)
TRANSACTION = (BODY, ([(32, 64)], [condition], [bytes]))

def read(raw):
    need(len(raw) <= 262_144, "TX_TOO_LARGE")
    try:
        value = msgpack.unpackb(raw, raw=False, strict_map_key=False)
    except Exception:
        raise Refused("TX_MALFORMED") from None
    if fits(value, [lambda part: True]) and value and fits(value[0], [lambda part: True]):
        head = [*value[0], None, None]
        need(head[0] == 1 or type(head[0]) is not int, "TX_VERSION_UNKNOWN")
        need(type(head[1]) is not int or 1 <= head[1] <= 9, "TX_KIND_UNKNOWN")
    need(fits(value, TRANSACTION), "TX_MALFORMED")
    need(pack(value) == raw, "TX_NONCANONICAL")
    need(value[0][1] > INTERBANK or fits(value[0][7], [condition]), "TX_PAYLOAD_INVALID")
    return value

def leaves(node, depth):
    need(depth <= 4, "TX_CONDITION_INVALID")
    if node[0] != 6: return 1
    need(1 <= node[1] <= len(node[2]) <= 16 and ascending(map(pack, node[2])), "TX_CONDITION_INVALID")
    return sum(leaves(child, depth + 1) for child in node[2])

def check_conditions(conditions):
    for each in conditions:
        need(leaves(each, 1) <= 16 and each[0] != 0, "TX_CONDITION_INVALID")
    need(ascending(map(lock_of, conditions)), "TX_WITNESS_ORDER")

def check_static(value):
    (_, kind, ins, outs, start, end, reference, payload), (signatures, conditions, preimages) = value
    need((kind in SPENDING) == bool(ins), "TX_INPUTS_FORBIDDEN" if ins else "TX_INPUTS_MISSING")
    need(len(ins) <= 1024, "TX_TOO_MANY_INPUTS")
    need(len(set(map(tuple, ins))) == len(ins), "TX_INPUT_DUPLICATE")
    need(outs or kind not in (EMISSION, TRANSFER, INTERBANK), "TX_OUTPUTS_MISSING")
    need(not outs or kind in {EMISSION, *SPENDING}, "TX_OUTPUTS_FORBIDDEN")
    need(len(outs) <= 1024, "TX_TOO_MANY_OUTPUTS")
    sums = Counter()
    for asset, amount, _, note in outs:
        need(amount in AMOUNT, "TX_VALUE_RANGE")
        need(len(note) <= 256, "TX_NOTE_TOO_LONG")
        need(re.fullmatch(NAMES, asset, re.A), "TX_ASSET_NAME")
        sums[asset] += amount
    need(all(total in AMOUNT for total in sums.values()), "TX_SUM_OVERFLOW")
    need(end or kind in SPENDING, "TX_VALIDITY_MISSING")
    need(not end or start <= end, "TX_VALIDITY_RANGE")
    need(len(reference) <= 64, "TX_REFERENCE_TOO_LONG")
    need(kind != EMISSION or reference, "TX_REFERENCE_MISSING")
    need(kind != EMISSION or len(sums) == 1, "TX_UNBALANCED")
    need(signatures, "TX_WITNESS_MISSING")
    need(len(signatures) <= 1024, "TX_TOO_MANY_SIGNATURES")
    need(ascending(pair[0] for pair in signatures), "TX_WITNESS_ORDER")
    need((not conditions or kind in SETTLING) and len(preimages) <= 64, "TX_WITNESS_UNUSED")
    check_conditions(conditions)
    need(all(1 <= len(preimage) <= 64 for preimage in preimages), "TX_PREIMAGE_LENGTH")
    need(ascending(preimages), "TX_WITNESS_ORDER")
    shown = payload if kind <= INTERBANK else payload[2] if kind == MOVE else []
    check_conditions(shown)
    need({lock_of(each) for each in shown} <= {out[2] for out in outs}, "TX_CONDITION_INVALID")

def satisfied(node, record, signers, digests):
    tag, operand, height, time = *node[:2], record["height"], record["timestamp_ms"]
    if tag == 6: return sum(satisfied(child, record, signers, digests) for child in node[2]) >= operand
    if tag < 2: return operand in (signers, digests)[tag]
    return ((height if tag < 4 else time) >= operand) == (tag % 2 == 0)

def check_refused(kind, act, reads, signers, strange, named):
    """What the entries read tell of orders, references, pauses and authorities."""
    found = {head: [v for k, v in reads.items() if k[:1] == head] for head in (b"f", b"r", b"p", b"a")}
    need(kind != FREEZE or not any(found[b"f"]), "TX_ORDER_EXISTS")
    need(kind != UNFREEZE or not found[b"f"] or any(found[b"f"]), "TX_ORDER_UNKNOWN")
    need(not any(found[b"r"]), "TX_REFERENCE_USED")
    need(kind > INTERBANK or not any(v and msgpack.unpackb(v)[9] for v in found[b"a"]), "TX_PAUSED")
    need(kind == REGISTRY or all(found[b"a"]), "TX_ASSET_UNKNOWN")
    need(kind != TRANSFER or not strange, "TX_WITNESS_UNUSED")
    if named and kind not in (TRANSFER, INTERBANK, 9) and all(found[b"p"]) and act not in ROTATIONS:
        need(any(key in named for key in signers), "TX_NOT_AUTHORISED")

def check_state(record, value, txid):
    (_, kind, ins, outs, start, end, _, payload), (signatures, conditions, preimages) = value
    need(start <= record["height"], "TX_NOT_YET_VALID")
    need(not end or end >= record["height"], "TX_EXPIRED")
    reads = {bytes.fromhex(k): v and bytes.fromhex(v) for k, v in record["reads"].items()}
    need(reads.get(b"t" + txid) is None, "TX_REPLAYED")
    net, delta, locks = Counter(), Counter(), set()
    for name, index in ins:
        found = reads.get(b"o" + name + index.to_bytes(4, "big"))
        spent = [name.hex(), index] in record.get("spent", [])
        need(found, "TX_DOUBLE_SPEND" if spent else "TX_UNKNOWN_OUTPUT")
        net[found[:32] + found[40:]] -= int.from_bytes(found[32:40], "big")
        delta[found[40:]] -= int.from_bytes(found[32:40], "big")
        locks.add(found[:32])
    for asset, amount, lock, _ in outs:
        net[lock + asset.encode()] += amount
        delta[asset.encode()] += amount
    assets = [msgpack.unpackb(v) for k, v in reads.items() if v and k[:1] == b"a"]
    changed = [change for change in delta.values() if change]
    dust = any(out[1] < asset[3] for out in outs for asset in assets)
    if not dust and not any(asset[9] for asset in assets) and len(assets) >= len(delta):  # paused, unknown
        need(kind != TRANSFER or not changed, "TX_UNBALANCED")
        need(kind != BURN or (len(changed) == 1 and changed[0] < 0), "TX_UNBALANCED")
        need(kind != MOVE or max(changed, default=0) <= 0, "TX_UNBALANCED")
    signers, digests = {pair[0] for pair in signatures}, {sha256(each).digest() for each in preimages}
    revealed, owners = {lock_of(each): each for each in conditions}, {lock_of([0, key]) for key in signers}
    named = b"".join(v for k, v in reads.items() if v and k[:1] in b"kKp")
    strange = any(lock_of([0, key]) not in locks and key not in named + pack(conditions) for key in signers)
    for lock in sorted(locks - owners) if kind in SETTLING else ():
        need(lock in revealed, "TX_NOT_AUTHORISED" if strange else "TX_WITNESS_MISSING")
        need(satisfied(revealed[lock], record, signers, digests), "TX_LOCK_UNSATISFIED")
    need(not dust, "TX_DUST")
    check_refused(kind, payload[1][0] if kind == REGISTRY else 0, reads, signers, strange, named)
    return reads, net, delta

def check_changes(record, value, txid, reads, net, delta):
    found = {bytes.fromhex(k): new and bytes.fromhex(new) for k, (_, new) in record["changes"].items()}
    expected = {b"o" + name + index.to_bytes(4, "big"): None for name, index in value[0][2]}
    for place, (asset, amount, lock, _) in enumerate(value[0][3]):
        made = lock + amount.to_bytes(8, "big") + asset.encode()
        expected[b"o" + txid + place.to_bytes(4, "big")] = made
    for place, change in net.items():
        total = int.from_bytes(reads.get(b"b" + place) or b"", "big") + change
        expected |= {b"b" + place: total.to_bytes(8, "big") if total else None} if change else {}
    for asset, change in delta.items():
        former = reads.get(b"s" + asset) or bytes(16)
        books = int.from_bytes(former, "big") + (change << 64 if change > 0 else -change)
        expected |= {b"s" + asset: books.to_bytes(16, "big")} if change else {}
    assert {k: new for k, new in found.items() if k[:1] in b"obs"} == expected, record["name"]
    assert value[0][2] or found[b"t" + txid] == value[0][5].to_bytes(8, "big")

def verdict(record, chain_id):
    """The code this reading gives, or "" when it finds nothing wrong."""
    deflated = base64.b64decode(record.get("deflated", ""))
    try:
        value = read(bytes.fromhex(record["hex"]) if "hex" in record else zlib.decompress(deflated))
        if record.get("stage") == "decode":
            return ""
        body, witness = map(pack, value)
        txid = tagged("drex/tx", chain_id + body)
        ids = [txid, tagged("drex/wtx", txid + witness), tagged("drex/sign", txid)]
        assert [record[name] for name in ("txid", "wtxid", "sighash")] == [each.hex() for each in ids]
        check_static(value)
        if record.get("stage") != "static":
            need(all(verifies(key, ids[2], each) for key, each in value[1][0]), "TX_BAD_SIGNATURE")
            books = check_state(record, value, txid)
            if "changes" in record:
                check_changes(record, value, txid, *books)
    except Refused as refusal:
        return str(refusal)
    return ""

def main():
    files = {path.stem: json.loads(path.read_text()) for path in Path(__file__).parent.glob("*.json")}
    for lock in files["locks"]["locks"]:
        node = msgpack.unpackb(bytes.fromhex(lock["condition"]))
        assert condition(node) and pack(node).hex() == lock["condition"], lock["name"]
        assert lock_of(node).hex() == lock["lock"], lock["name"]
    for each in files["signatures"]["signatures"]:
        parts = [bytes.fromhex(each[name]) for name in ("public_key", "message", "signature")]
        assert verifies(*parts) is each["valid"], each["name"]
    for each in files["blocks"]["tagged_hashes"]:
        assert tagged(each["tag"], bytes.fromhex(each["data"])).hex() == each["hash"], each["tag"]
    counts = Counter()
    for name in ("transactions_valid", "transactions_invalid"):
        for record in files[name]["transactions"]:
            code = verdict(record, bytes.fromhex(files[name]["chain_id"]))
            assert code in ("", record.get("code")), f"{record['name']}: {code}"
            counts.update([name, *["codes derived"] * bool(code)])
    print(", ".join(f"{count} {what}" for what, count in counts.items()))

if __name__ == "__main__":
    main()
