"""Plays a dialogue about proofs: what anyone makes of the bytes of evidence and of conflict proofs."""

from __future__ import annotations

from consensus.evidence import (
    ConflictProof,
    Evidence,
    Payload,
    decode_conflict_proof,
    decode_evidence,
    verify_conflict_proof,
    verify_evidence,
)
from primitives.block import block_id
from primitives.certificate import vote_sighash
from primitives.codec import encode
from primitives.errors import DrexError
from tests.scenarios.cast import CHAIN, FORGED, OTHER_CHAIN, Cast
from tests.scenarios.language import Scenario, Step
from tests.scenarios.render import STEPS


class ProofBench:
    """A reader who knows the chain and nothing else. Each `>` line is sent to it as bytes."""

    def __init__(self, scenario: Scenario) -> None:
        self.cast = Cast(4)
        self.cast.declared = scenario.blocks

    def play(self, step: Step) -> list[str]:
        """Send what a line describes, and say what is made of it."""
        kind, *words = step.text.split()
        try:
            return [self._read_evidence(words) if kind == "evidence" else self._read_proof(words)]
        except DrexError as refusal:
            return [f"refused {refusal.code}"]

    def check(self, step: Step) -> None:
        """Nothing is kept, so nothing can be asked."""
        raise ValueError(f"not understood: {step.text}")

    def _read_evidence(self, words: list[str]) -> str:
        """`A COMMIT r0 x and y [cut] [elsewhere]`; a payload is a block, `1:x`, `nothing` or `stub`; with `!`
        its signature is forged."""
        author, kind, round, first, _, second, *rest = words
        step, number = STEPS.index(kind), int(round.removeprefix("r"))
        evidence = Evidence(
            validator=self.cast.keys[author].public_key,
            validators_hash=self.cast.validators.hash,
            step=step,
            height=1,
            round=number,
            first=self._payload(first),
            first_signature=self._signature(author, step, number, first),
            second=self._payload(second),
            second_signature=self._signature(author, step, number, second),
        )
        data = encode(evidence)
        read = decode_evidence(data[:-1] if "cut" in rest else data)
        chain = OTHER_CHAIN if "elsewhere" in rest else CHAIN
        return "stands" if verify_evidence(read, chain, self.cast.verify) else "proves nothing"

    def _payload(self, word: str) -> Payload:
        word = word.rstrip("!")
        if word == "nothing":
            return None
        if word == "stub":
            return bytes(31)
        round, _, block = word.rpartition(":")
        identity = block_id(self.cast.block(block, 1))
        return (int(round), identity) if round else identity

    def _signature(self, author: str, step: int, round: int, word: str) -> bytes:
        payload = self._payload(word)
        rest = payload if isinstance(payload, tuple) else () if payload is None else (payload,)
        sighash = vote_sighash(self.cast.domain, step, 1, round, *rest)
        return FORGED if word.endswith("!") else self.cast.keys[author].sign(sighash)

    def _read_proof(self, words: list[str]) -> str:
        """`x r0 by A B C and y r1 by B C D [of DCBA]`: two certified blocks, of a set that is not sorted."""
        keys = self.cast.validators.keys
        if "of" in words:
            keys = tuple(keys[self.cast.index(name)] for name in words[-1])
            words = words[:-2]
        middle = words.index("and")
        (one, round_one, _, *seals_one), (two, round_two, _, *seals_two) = words[:middle], words[middle + 1 :]
        header_one, header_two = self.cast.block(one, 1), self.cast.block(two, 1)
        proof = ConflictProof(
            chain_id=CHAIN,
            epoch=self.cast.validators.epoch,
            validators=keys,
            header_a=header_one,
            certificate_a=self.cast.certificate(header_one, int(round_one[1:]), seals_one),
            header_b=header_two,
            certificate_b=self.cast.certificate(header_two, int(round_two[1:]), seals_two),
        )
        read = decode_conflict_proof(encode(proof))
        verify_conflict_proof(read, self.cast.verify)
        return f"stands accusing {' '.join(self.cast.name_of(key) for key in read.accused)}"
