"""`drexnode verify-proof`: believes a proof file because of a genesis or a pinned validator set, and nobody.

Asks no node and reads two files at most. What exists exits 0; what is proven absent exits 6 (`PROOF_ABSENT`),
unless absence was asked for with --absent.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drexnode.cli.options import ExampleCommand, as_output
from drexnode.cli.output import CliError, note, show_json, show_pairs

if TYPE_CHECKING:
    from ledger.genesis_records import GenesisDocument
    from ledger.proof import Proof, Proven, Question


class Hash32(click.ParamType[bytes]):
    """32 bytes in hex."""

    name = "hash"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Refuse anything else."""
        try:
            data = bytes.fromhex(str(value).removeprefix("0x"))
        except ValueError:
            data = b""
        if len(data) != 32:
            self.fail("32 bytes in hex are expected", param, ctx)
        return data


@click.command(
    "verify-proof", cls=ExampleCommand, example="drexnode verify-proof alice.proof --genesis genesis.json"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--genesis", type=click.Path(path_type=Path), metavar="FILE", help="Trust this network's genesis."
)
@click.option(
    "--validators-hash", "pinned", type=Hash32(), metavar="HASH", help="Trust the set with this hash."
)
@click.option(
    "--chain-id", type=Hash32(), metavar="ID", help="Refuse another chain (needless with --genesis)."
)
@click.option(
    "--min-height", type=click.IntRange(0), metavar="HEIGHT", help="Refuse what an older block says."
)
@click.option("--output-is", "output", metavar="TXID:INDEX", help="Refuse a proof about anything else.")
@click.option("--address-is", "address", metavar="ADDRESS", help="Refuse a proof about anything else.")
@click.option("--supply-is", "supply", metavar="ASSET", help="Refuse a proof about anything else.")
@click.option("--absent", is_flag=True, help="Succeed when what was asked for is proven not to exist.")
@as_output
def command(
    file: Path,
    genesis: Path | None,
    pinned: bytes | None,
    chain_id: bytes | None,
    min_height: int | None,
    output: str | None,
    address: str | None,
    supply: str | None,
    absent: bool,
    as_json: bool,
) -> None:
    """Check a proof made by `drexnode query proof`: certificate, validators and state, without any node."""
    from drexnode.home import read_genesis
    from ledger.proof import anchor_of, check
    from primitives.keys import verify

    if genesis is None and pinned is None:
        raise click.UsageError("name what is trusted: --genesis FILE, or --validators-hash HASH")
    document = None if genesis is None else read_genesis(genesis)
    proof, size_bytes = _read(file)
    anchor = anchor_of(proof, document, pinned, chain_id)
    _expect(proof.question, output, address, supply)
    proven = check(proof, anchor, verify)
    if min_height is not None and proven.header.height < min_height:
        message = f"it is of block {proven.header.height}, before block {min_height}: ask for a newer one"
        raise CliError("PROOF_STALE", message, height=proven.header.height)
    facts = _facts(proven, document, proof.chain_id.hex(), size_bytes)
    if as_json:
        show_json(facts)
    else:
        show_pairs([(name, value) for name, value in facts.items() if name != "outputs"])
        for item in proven.outputs:
            click.echo(f"  {item.txid.hex()}:{item.place}  {item.output.amount} {item.output.asset}")
    if document is None and chain_id is None:
        note(f"the chain id was not pinned; compare it, or give --chain-id {proof.chain_id.hex()}")
    if proven.is_present is absent:
        code, said = ("PROOF_PRESENT", "exists") if absent else ("PROOF_ABSENT", "does not exist")
        message = f"what it is about {said} after block {proven.header.height}"
        raise CliError(code, message, height=proven.header.height)


def _read(path: Path) -> tuple[Proof, int]:
    from ledger.proof import decode_proof_file
    from primitives.errors import DecodeError
    from primitives.limits import MAX_PROOF_FILE_BYTES

    try:
        with path.open("rb") as file:
            data = file.read(MAX_PROOF_FILE_BYTES + 1)
    except OSError as error:
        raise CliError("PROOF_UNREADABLE", f"{path}: {error.strerror}", path=str(path)) from None
    try:
        return decode_proof_file(data), len(data)
    except DecodeError as error:
        message = f"{path} is no proof: {error.message}"
        raise CliError("PROOF_MALFORMED", message, path=str(path), cause=error.code) from None


def _expect(question: Question, output: str | None, address: str | None, supply: str | None) -> None:
    """Refuse a proof about something else than was expected."""
    from ledger.proof import Subject

    txid, index = question.name[:32].hex(), int.from_bytes(question.name[32:], "big")
    about = {
        "output": f"{txid}:{index}" if question.subject is Subject.OUTPUT else None,
        "supply": question.name.decode() if question.subject is Subject.SUPPLY else None,
        "address": question.lock.hex() if question.subject is not Subject.SUPPLY else None,
    }
    wanted = {"output": output, "supply": supply, "address": None if address is None else _lock(address)}
    for name, value in wanted.items():
        if value is not None and value != about[name]:
            raise CliError("PROOF_OTHER_SUBJECT", f"it is about another {name}", proven=about[name])


def _lock(address: str) -> str:
    """Of any network: the chain is told apart by its id."""
    from primitives.address import decode_address

    return decode_address(address.rpartition("1")[0], address).hex()


def _facts(
    proven: Proven, document: GenesisDocument | None, chain_id: str, size_bytes: int
) -> dict[str, object]:
    from ledger.proof import Subject
    from primitives.address import encode_address
    from primitives.block import block_id

    question, header = proven.question, proven.header
    facts: dict[str, object] = {
        "about": question.subject.name.lower(),
        "present": proven.is_present,
        "chain_id": chain_id,
        "height": header.height,
        "block_id": block_id(header).hex(),
        "timestamp_ms": header.timestamp_ms,
        "validators_hash": header.validators_hash.hex(),
        "signers": proven.signers,
        "size_bytes": size_bytes,
    }
    if question.subject is Subject.SUPPLY:
        books = proven.supply
        figures = ("emitted", "burned", "circulating")
        amounts = {name: "0" if books is None else str(getattr(books, name)) for name in figures}
        return {**facts, "asset": question.name.decode(), **amounts}
    if question.subject is Subject.OUTPUT:
        facts["output"] = f"{question.name[:32].hex()}:{int.from_bytes(question.name[32:], 'big')}"
    facts["lock"] = question.lock.hex()
    if document is not None:
        facts["address"] = encode_address(document.address_prefix, question.lock)
    facts["outputs"] = [
        {
            "txid": item.txid.hex(),
            "index": item.place,
            "asset": item.output.asset,
            "amount": str(item.output.amount),
        }
        for item in proven.outputs
    ]
    return facts
