"""Random questions to a real chain, each answered by a proof that stands alone, checked from the genesis.

    python -m tests.drexnode.random_proofs --count 10000

Every answer is compared with the state itself; every tenth proof is spoiled in one random bit and must be
refused. Prints sizes, and the processor time to make and to check a proof.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trio

from drexnode.finalizer import Finalizer
from drexnode.proofs import prove
from ledger.proof import Proven, Question, Subject, anchor_of, check, decode_proof_file
from ledger.state import OUTPUT, SUPPLY, read_output
from ledger.supply import decode_supply
from primitives.codec import encode
from primitives.errors import DrexError
from primitives.keys import verify
from tests.drexnode.chain import Chain, genesis_document, open_finalizer

DOCUMENT = genesis_document(validators=5, outputs=400)


@dataclass
class Figures:
    """Of each subject: sizes in bytes, processor time to make and to check in µs."""

    size_bytes: dict[Subject, list[int]] = field(default_factory=dict)
    made_us: dict[Subject, list[float]] = field(default_factory=dict)
    checked_us: dict[Subject, list[float]] = field(default_factory=dict)
    present: int = 0
    absent: int = 0
    spoiled: int = 0


def questions(chain: Finalizer, chance: random.Random) -> Iterator[Question]:
    """About what exists and what does not, endlessly."""
    outputs = [(key, read_output(value)) for key, value in chain.queries.scan_state(OUTPUT)]
    locks = sorted({output.lock for _, output in outputs})
    assets = [key[len(SUPPLY) :] for key, _ in chain.queries.scan_state(SUPPLY)]
    while True:
        key, output = chance.choice(outputs)
        name = key[len(OUTPUT) :]
        yield chance.choice(
            [
                Question(Subject.OUTPUT, output.lock, name),
                Question(Subject.OUTPUT, output.lock, chance.randbytes(36)),
                Question(Subject.OUTPUT, chance.randbytes(32), name),
                Question(Subject.ADDRESS, chance.choice(locks), b""),
                Question(Subject.ADDRESS, chance.randbytes(32), b""),
                Question(Subject.SUPPLY, b"", chance.choice(assets)),
                Question(Subject.SUPPLY, b"", chance.randbytes(4).hex().encode()),
            ]
        )


def expected(chain: Finalizer, question: Question) -> tuple[set[bytes], object]:
    """The names of the outputs that exist and the books, read from the state row by row."""
    if question.subject is Subject.SUPPLY:
        value = chain.state.get(SUPPLY + question.name)
        return set(), None if value is None else decode_supply(value)
    if question.subject is Subject.OUTPUT:
        value = chain.state.get(OUTPUT + question.name)
        is_there = value is not None and read_output(value).lock == question.lock
        return ({question.name} if is_there else set()), None
    rows = chain.queries.scan_state(OUTPUT)
    return {key[len(OUTPUT) :] for key, value in rows if read_output(value).lock == question.lock}, None


def _same(proven: Proven, wanted: tuple[set[bytes], object]) -> bool:
    names = {item.txid + item.place.to_bytes(4, "big") for item in proven.outputs}
    return (names, proven.supply) == wanted


def _is_refused(raw: bytes, chance: random.Random) -> bool:
    spoiled = bytearray(raw)
    bit = chance.randrange(8 * len(raw))
    spoiled[bit // 8] ^= 1 << bit % 8
    try:
        proof = decode_proof_file(bytes(spoiled))
        check(proof, anchor_of(proof, DOCUMENT, None), verify)
    except DrexError:
        return True
    return decode_proof_file(raw).question != proof.question  # it truly proves another absence


def try_proofs(chain: Finalizer, count: int, seed: int) -> Figures:
    """Make, encode, decode, check and compare so many. Raises `AssertionError` for the first that fails."""
    chance, figures = random.Random(seed), Figures()
    known: dict[Question, tuple[set[bytes], object]] = {}
    for number, question in zip(range(count), questions(chain, chance), strict=False):
        begin = time.process_time()
        raw = encode(prove(chain, question))
        made = time.process_time()
        proof = decode_proof_file(raw)
        proven = check(proof, anchor_of(proof, DOCUMENT, None), verify)
        end = time.process_time()
        if question not in known:
            known[question] = expected(chain, question)
        assert _same(proven, known[question]), f"seed {seed}, proof {number}: {question}"
        figures.size_bytes.setdefault(question.subject, []).append(len(raw))
        figures.made_us.setdefault(question.subject, []).append(1e6 * (made - begin))
        figures.checked_us.setdefault(question.subject, []).append(1e6 * (end - made))
        figures.present += proven.is_present
        figures.absent += not proven.is_present
        if number % 10 == 0:
            figures.spoiled += 1
            assert _is_refused(raw, chance), f"seed {seed}, proof {number}: a spoiled one was believed"
    return figures


async def grown(finalizer: Finalizer) -> None:
    """Twenty blocks with a change of the validator set at the first."""
    chain = Chain(finalizer, DOCUMENT)
    votes = [chain.vote(f"validator-{number}", "validator-4", add=False) for number in range(4)]
    await finalizer.finalize(*chain.build(votes))
    await chain.grow(20, 10)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_finalizer(Path(folder), DOCUMENT) as finalizer:
        trio.run(grown, finalizer)
        figures = try_proofs(finalizer, given.count, given.seed)
    for subject, sizes in sorted(figures.size_bytes.items()):
        made, checked = figures.made_us[subject], figures.checked_us[subject]
        print(
            f"{subject.name.lower():8} {len(sizes):6} proofs: {statistics.median(sizes):8.0f} bytes"
            f" (largest {max(sizes)}), made in {statistics.median(made):6.0f} µs,"
            f" checked in {statistics.median(checked):6.0f} µs"
        )
    print(f"{figures.present} of what exists, {figures.absent} of what does not: all hold")
    print(f"{figures.spoiled} with one bit changed: none was believed")


if __name__ == "__main__":
    main()
