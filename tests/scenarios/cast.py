"""Who speaks in the dialogues: keys, blocks and messages by name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from consensus.messages import (
    NO_SIGNATURE,
    Claim,
    Commit,
    Message,
    Prepare,
    PreparedCertificate,
    Proposal,
    RoundChange,
    Seal,
    SignedRoundChange,
    Vote,
    prepare_sighash,
    round_change_sighash,
    vote_payload_hash,
    with_signature,
)
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate, commit_sighash, vote_domain
from primitives.keys import PublicKey, SigningKey, verify
from primitives.validators import ValidatorSet

CHAIN = hashlib.sha256(b"scenario chain").digest()
OTHER_CHAIN = hashlib.sha256(b"another chain").digest()
FORGED = bytes(range(64))


class FakeKey:
    """A key whose signatures are cheap hashes, for dialogues with very many messages."""

    def __init__(self, seed: bytes) -> None:
        self.public_key = hashlib.sha256(seed).digest()

    def sign(self, message: bytes) -> bytes:
        """64 bytes that `verify_fake` accepts."""
        return hashlib.sha512(self.public_key + message).digest()


def verify_fake(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """The counterpart of `FakeKey.sign`."""
    return hashlib.sha512(public_key + message).digest() == signature


class Cast:
    """Validators A, B, C, … in the order of their keys, and the blocks a scenario names."""

    def __init__(self, size: int, fake: bool = False, absent: str = "") -> None:
        self.verify = verify_fake if fake else verify
        make = FakeKey if fake else SigningKey
        keys = sorted((make(bytes([i]) * 32) for i in range(1, size + 1)), key=lambda key: key.public_key)
        self.keys = {chr(ord("A") + place): key for place, key in enumerate(keys)}
        self.keys["Z"] = make(b"Z" * 32)  # a stranger
        self.everyone = [name for name in self.keys if name != "Z"]
        members = [name for name in self.everyone if name not in absent]
        self.use_set(0, members)
        self.genesis = self._header("genesis", 0, bytes(32), 1, "A", 0)
        self.tips: dict[int, BlockHeader] = {0: self.genesis}
        self.declared: dict[str, str] = {}
        self._blocks: dict[tuple[str, int], BlockHeader] = {}

    def use_set(self, epoch: int, members: Sequence[str]) -> None:
        """The validator set from now on."""
        self.names = sorted(members)
        self.validators = ValidatorSet(
            epoch, tuple(PublicKey(self.keys[name].public_key) for name in self.names)
        )
        self.domain = vote_domain(CHAIN, self.validators.hash)

    def index(self, name: str) -> int:
        """The validator's index; a stranger gets the first free one."""
        return self.names.index(name) if name in self.names else len(self.names)

    def name_of(self, key: bytes) -> str:
        """The letter of a public key."""
        return next(name for name, signer in self.keys.items() if signer.public_key == key)

    # --- blocks

    def block(self, name: str, height: int, sender: str = "A") -> BlockHeader:
        """The header of block `name` at `height`; its proposer is declared or whoever proposes it."""
        header = self._blocks.get((name, height))
        if header is None:
            options = dict(
                part.strip().split(" ", 1) for part in self.declared.get(name, "").split(",") if part
            )
            parent = self.tips.get(height - 1, self.genesis)
            parent_id = bytes(32) if options.get("parent") == "wrong" else block_id(parent)
            if "on" in options:
                parent = self.block(options["on"], height - 1)
                parent_id = block_id(parent)
            time = parent.timestamp_ms + int(options.get("time", "10"))
            header = self._header(
                name,
                height + int(options.get("height", "0")),
                parent_id,
                time,
                options.get("by", sender),
                int(options.get("txs", "0")),
                options.get("set") == "wrong",
            )
            self._blocks[name, height] = header
        return header

    def _header(
        self,
        name: str,
        height: int,
        parent_id: bytes,
        time: int,
        proposer: str,
        txs: int,
        other_set: bool = False,
    ) -> BlockHeader:
        hash_of_set = bytes(32) if other_set else self.validators.hash
        root = hashlib.sha256(name.encode()).digest()
        key = self.keys[proposer].public_key
        return BlockHeader(
            1, height, parent_id, time, key, txs, root, root, hash_of_set, self.validators.hash
        )

    def block_name(self, identity: bytes) -> str:
        """The name of a block id."""
        for (name, _), header in self._blocks.items():
            if block_id(header) == identity:
                return name
        return "genesis" if identity == block_id(self.genesis) else identity.hex()[:8]

    def wtxids(self, header: BlockHeader) -> tuple[bytes, ...]:
        """A list of the header's length."""
        return tuple(hashlib.sha256(b"%d" % i).digest() for i in range(header.tx_count))

    # --- signatures

    def sign(self, author: str, unsigned: Vote, *, chain: bytes = CHAIN, forged: bool = False) -> Message:
        """The message signed by `author`, or carrying a false signature."""
        if forged:
            return with_signature(unsigned, FORGED)
        domain = vote_domain(chain, self.validators.hash)
        return with_signature(unsigned, self.keys[author].sign(vote_payload_hash(domain, unsigned)))

    def prepares(self, height: int, round: int, identity: bytes, authors: Sequence[str]) -> tuple[Seal, ...]:
        """PREPARE signatures by `authors` in this order; a name with `!` forges its own."""
        sighash = prepare_sighash(self.domain, height, round, identity)
        return tuple(self._seal(author, sighash) for author in authors)

    def _seal(self, author: str, sighash: bytes) -> Seal:
        name = author.rstrip("!")
        signature = FORGED if author.endswith("!") else self.keys[name].sign(sighash)
        return (self.index(name), signature)

    def certificate(self, header: BlockHeader, round: int, authors: Sequence[str]) -> CommitCertificate:
        """A commit certificate with the seals of `authors`."""
        identity = block_id(header)
        sighash = commit_sighash(self.domain, header.height, round, identity)
        seals = tuple(self._seal(author, sighash) for author in authors)
        return CommitCertificate(1, header.height, round, identity, seals)

    def lock(self, height: int, round: int, block: str, authors: Sequence[str]) -> PreparedCertificate:
        """A prepared certificate for `block`."""
        header = self.block(block, height)
        identity = block_id(header)
        return PreparedCertificate(round, identity, header, self.prepares(height, round, identity, authors))

    def signed_change(self, spec: str, height: int, round: int) -> SignedRoundChange:
        """`A`, `A:0:x` (claims to have prepared x in round 0), `A!` (forged), `A@2` (signed for height 2),
        `A^3` (signed for round 3)."""
        author, *claim = spec.split(":")
        name = author[0]
        if "@" in author:
            height = int(author.split("@")[1])
        if "^" in author:
            round = int(author.split("^")[1])
        prepared: Claim | None = None
        if claim:
            prepared = (int(claim[0]), block_id(self.block(claim[1], height)))
        sighash = round_change_sighash(self.domain, height, round, prepared)
        signature = FORGED if author.endswith("!") else self.keys[name].sign(sighash)
        return SignedRoundChange(self.index(name), signature, prepared)


class MessageWords:
    """Reads a message out of words such as `PREPARE B r0 x` or `PROPOSAL C r1 y with A B D`."""

    KEYWORDS = (
        "via",
        "height",
        "forged",
        "chain",
        "with",
        "prepares",
        "prepared",
        "claims",
        "header",
        "list",
    )

    def __init__(self, cast: Cast, words: list[str], height: int) -> None:
        self.cast = cast
        self.kind, self.author = words[0], words[1]
        self.round = int(words[2].removeprefix("r"))
        rest = words[3:]
        self.block = rest.pop(0) if rest and rest[0] not in self.KEYWORDS else ""
        self.options: dict[str, list[str]] = {}
        for word in rest:
            if word in self.KEYWORDS:
                current = self.options[word] = []
            else:
                current.append(word)
        self.height = int(self.options["height"][0]) if "height" in self.options else height
        self.peer = self.options["via"][0] if "via" in self.options else self.author

    def message(self) -> Message:
        """The signed message."""
        chain = OTHER_CHAIN if "chain" in self.options else CHAIN
        return self.cast.sign(self.author, self._unsigned(), chain=chain, forged="forged" in self.options)

    def _unsigned(self) -> Vote:
        cast, index = self.cast, self.cast.index(self.author)
        if self.kind == "ROUND_CHANGE":
            return self._round_change(index)
        header = cast.block(self.block, self.height, self.author)
        if self.kind == "PROPOSAL":
            return self._proposal(index, header)
        fields = (self.height, self.round, index, NO_SIGNATURE, block_id(header))
        return Prepare(*fields) if self.kind == "PREPARE" else Commit(*fields)

    def _proposal(self, index: int, header: BlockHeader) -> Proposal:
        changes = tuple(
            self.cast.signed_change(spec, self.height, self.round) for spec in self.options.get("with", [])
        )
        prepares: tuple[Seal, ...] = ()
        if "prepares" in self.options:
            round, *authors = self.options["prepares"]
            prepares = self.cast.prepares(self.height, int(round), block_id(header), authors)
        wtxids = self.cast.wtxids(header)
        if "list" in self.options:  # `list 3`: so many transactions, whatever the header says
            wtxids = (bytes(32),) * int(self.options["list"][0])
        return Proposal(self.height, self.round, index, NO_SIGNATURE, header, wtxids, changes, prepares)

    def _round_change(self, index: int) -> RoundChange:
        prepared: Claim | None = None
        header: BlockHeader | None = None
        prepares: tuple[Seal, ...] = ()
        words = self.options.get("prepared") or self.options.get("claims") or []
        if words:
            claimed = self.cast.block(words[1], self.height)
            prepared = (int(words[0]), block_id(claimed))
            if "prepared" in self.options:
                header = claimed
                prepares = self.cast.prepares(self.height, prepared[0], prepared[1], words[3:])
        if "header" in self.options:
            header = self.cast.block(self.options["header"][0], self.height)
        return RoundChange(self.height, self.round, index, NO_SIGNATURE, prepared, header, prepares)
