"""`drexnode replay`: the stored chain made again, or the block named that does not follow."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from drexnode.rebuild import ReplayDiffers, SourceBlock, open_builder, read_source
from ledger.transaction import make_transaction
from primitives.certificate import decode_certificate
from primitives.codec import encode
from storage import tree_rows
from storage.layout import CERTIFICATE, EDITS, after, height_key
from storage.leveldb import open_database
from storage.queries import ChainQueries
from tests.drexnode.chain import Chain, genesis_document, key, open_finalizer
from tests.drexnode.homes import DOCUMENT, command, done, files_of, grow, make_home, refused


def test_a_replay_makes_the_same_root_and_leaves_the_data_alone(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    grow(home, 6)
    before = files_of(home)
    found = done("replay", "--home", home, "--scratch", tmp_path)
    assert (found["height"], found["transactions"]) == (6, 18)
    assert found["state_root"] == done("inspect", "summary", "--home", home)["state_root"]
    assert done("replay", "--home", home, "--to", 2, "--skip-signatures")["height"] == 2
    assert files_of(home) == before
    assert [path.name for path in tmp_path.iterdir()] == ["observer-0"]


def test_a_block_whose_certificate_was_exchanged_is_named(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    grow(home, 4)
    database = open_database(home / "data" / "chain")
    row = database.get(height_key(CERTIFICATE, 3))
    assert row is not None
    certificate = decode_certificate(row)
    seals = ((certificate.seals[0][0], bytes(64)), *certificate.seals[1:])
    batch = database.batch()
    batch.put(height_key(CERTIFICATE, 3), encode(msgspec.structs.replace(certificate, seals=seals)))
    database.write(batch)
    database.close()
    code, error = command("replay", "--home", home)
    assert (code, error["code"]) == (7, "REPLAY_DIFFERS")
    assert error["evidence"] == {"height": 3, "cause": "CERTIFICATE_BAD_SEAL"}
    assert "drexnode verify" in error["next"]


async def test_a_change_of_validators_is_followed(tmp_path: Path) -> None:
    document = genesis_document(validators=5)
    with open_finalizer(tmp_path / "source", document) as finalizer:
        chain = Chain(finalizer, document)
        votes = [chain.vote(f"validator-{number}", "validator-4", add=False) for number in range(4)]
        await finalizer.finalize(*chain.build(votes))
        await chain.grow(3)
        assert finalizer.head.validators.size == 4
        builder = open_builder(tmp_path / "copy", document, hot_set_bytes=1 << 20)
        for height in range(1, 5):
            builder.append(read_source(finalizer.queries, height))
        assert builder.state_root == finalizer.tree.root
        assert ChainQueries(builder.store, finalizer.chain_id).validators_at(4) == finalizer.head.validators
        builder.store.close()


async def test_a_rebuilt_chain_saves_its_pages_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_rows, "TREE_EDITS_PER_TURN", 120)
    with open_finalizer(tmp_path / "source", DOCUMENT) as finalizer:
        await Chain(finalizer, DOCUMENT).grow(8)
        builder = open_builder(tmp_path / "copy", DOCUMENT, hot_set_bytes=1 << 20)
        for height in range(1, 9):
            builder.append(read_source(finalizer.queries, height))
            rows = builder.store.database.scan(EDITS, after(EDITS))
            assert len({key[1:9] for key, _ in rows}) < 5
        builder.store.close()
        again = open_builder(tmp_path / "copy", DOCUMENT, hot_set_bytes=1 << 20)
        assert again.state_root == finalizer.tree.root
        again.store.close()


async def test_a_transaction_nobody_signed_is_found_although_a_quorum_decided_it(tmp_path: Path) -> None:
    with open_finalizer(tmp_path / "source", DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        good = chain.transfers(1)[0]
        forged_witness = msgspec.structs.replace(
            good.witness, signatures=((bytes(key("alice").public_key), bytes(64)),)
        )
        forged = make_transaction(good.body, forged_witness, finalizer.chain_id)
        block, executed = chain.build([forged])
        await finalizer.finalize(block, executed)
        source = read_source(finalizer.queries, 1)
        believer = open_builder(tmp_path / "one", DOCUMENT, hot_set_bytes=1 << 20, signatures=False)
        believer.append(source)
        believer.store.close()
        checker = open_builder(tmp_path / "two", DOCUMENT, hot_set_bytes=1 << 20)
        with pytest.raises(ReplayDiffers) as caught:
            checker.append(source)
        assert caught.value.data["cause"] == "TX_BAD_SIGNATURE"
        with pytest.raises(ReplayDiffers):
            checker.append(SourceBlock(source.header, source.certificate, ()))
        assert checker.height == 0
        checker.store.close()


def test_a_node_without_blocks_cannot_be_replayed(tmp_path: Path) -> None:
    assert refused("replay", "--home", make_home(tmp_path)) == (75, "STORAGE_MISSING")
