"""The wallet's functions for every kind, against a chain in memory with real rules and signatures."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from drexnode import client as rpc
from drexnode.wallet import Account, Wallet, WalletBook, WalletError
from drexnode.wallet_contracts import (
    HTLC,
    VAULT,
    Contract,
    htlc_condition,
    lock_draft,
    read_contract,
    unlock_draft,
    vault_condition,
    write_contract,
)
from drexnode.wallet_draft import Draft, make_draft, read_draft, write_draft
from drexnode.wallet_effect import check_terms, read_sources
from drexnode.wallet_interbank import interbank_draft, payee_asset
from drexnode.wallet_orders import (
    acting_participant,
    freeze_draft,
    move_draft,
    registry_draft,
    unfreeze_draft,
)
from drexnode.wallet_swap import (
    Offer,
    Terms,
    accept_offer,
    confirm_swap,
    make_offer,
    read_offer,
    write_offer,
)
from ledger.build import assemble
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB, BANK_B_DVT, BCB_ISPB
from ledger.locks import KeyLeaf
from ledger.payloads import Credential, EnableWallets, Pause, Resume, RotateCondition
from primitives.keys import SigningKey
from tests.drexnode.memory_chain import START_MS, MemoryChain
from tests.drexnode.test_wallet import with_wallet

Names = dict[str, Account]


def key(account: Account) -> SigningKey:
    assert account.key is not None
    return account.key


def total(wallet: Wallet, account: Account, asset: str) -> int:
    balance = wallet.client.run(rpc.balance(account.address)).get(asset)
    return 0 if balance is None else balance.total


def refusal(wallet: Wallet, draft: Draft) -> str | None:
    [answer] = wallet.client.run(rpc.send_many([draft.transaction.raw]))
    return answer.code


async def play(work: Callable[[Wallet, Names], None]) -> MemoryChain:
    chain = MemoryChain()

    def run(wallet: Wallet, book: WalletBook) -> None:
        work(wallet, book.accounts)

    await with_wallet(chain, run)
    return chain


def changed(draft: Draft, **fields: object) -> Draft:
    """A body with other fields, under no signature yet."""
    return make_draft(msgspec.structs.replace(draft.body, **fields), draft.chain_id)


def with_signatures_of(draft: Draft, other: Draft) -> Draft:
    """The signatures of another body, carried over."""
    pairs = [*draft.transaction.witness.signatures, *other.transaction.witness.signatures]
    return Draft(draft.chain_id, assemble(draft.body, draft.chain_id, pairs))


async def test_interbank_moves_three_assets_at_once_or_nothing() -> None:
    def work(wallet: Wallet, who: Names) -> None:
        alice, bob, bank_a, bank_b = (who[name] for name in ("alice", "bob", "bank-a", "bank-b"))
        brl, dvt_a = wallet.asset("BRL"), wallet.asset(BANK_A_DVT)
        wallet.emit(key(who["bcb"]), bank_a.address, brl, 500_00, b"cash")
        dvt_b = payee_asset(wallet, bob.address, dvt_a)
        assert dvt_b.asset == BANK_B_DVT
        draft = interbank_draft(wallet, alice.address, dvt_a, bob.address, dvt_b, 100_00)
        before = wallet.client.run(rpc.block_number())
        both = (key(alice), key(bank_a))
        for names, code in ((("alice",), "TX_WITNESS_MISSING"), (("bank-a",), "TX_WITNESS_MISSING")):
            assert refusal(wallet, draft.signed(*(key(who[name]) for name in names))) == code
        outputs = draft.body.outputs
        for place in range(len(outputs)):
            without = outputs[:place] + outputs[place + 1 :]
            assert refusal(wallet, changed(draft, outputs=without).signed(*both)) in (
                "TX_UNBALANCED",
                "TX_INTERBANK_SHAPE",
            )
            for cent in (-1, 1):
                bent = msgspec.structs.replace(outputs[place], value=outputs[place].value + cent)
                moved = (*outputs[:place], bent, *outputs[place + 1 :])
                found = refusal(wallet, changed(draft, outputs=moved).signed(*both))
                assert found in ("TX_UNBALANCED", "TX_INTERBANK_SHAPE"), (place, cent)
        assert wallet.client.run(rpc.block_number()) == before
        wallet.send(draft.signed(*both))
        assert total(wallet, bob, BANK_B_DVT) == 100_00
        assert total(wallet, bank_b, "BRL") == 100_00
        assert total(wallet, bank_a, "BRL") == 400_00
        assert total(wallet, alice, BANK_A_DVT) == 1_000_000_00 - 100_00

    await play(work)


async def test_a_swap_through_files_is_done_and_what_was_changed_on_the_way_is_not_signed(
    tmp_path: Path,
) -> None:
    terms = Terms(BANK_A_DVT, 50_00, "BRL", 45_00)

    def work(wallet: Wallet, who: Names) -> None:
        bank_a, bank_b, alice = who["bank-a"], who["bank-b"], who["alice"]
        wallet.emit(key(who["bcb"]), bank_b.address, wallet.asset("BRL"), 100_00, b"cash")
        wallet.transfer(alice, bank_a.address, wallet.asset(BANK_A_DVT), 80_00)
        offer = make_offer(wallet, bank_a, terms)
        write_offer(tmp_path / "f1", offer)
        offer = read_offer(tmp_path / "f1", wallet.chain_id)
        for false in (
            terms._replace(gives_amount=51_00),
            terms._replace(gets_amount=44_99),
            terms._replace(gives=BANK_B_DVT),
        ):
            with pytest.raises(WalletError, match="WALLET_TERMS_DIFFER"):
                accept_offer(wallet, offer, bank_b, false)
        greedy = msgspec.structs.replace(offer.draft.body.outputs[0], value=46_00)
        bent = changed(offer.draft, outputs=(greedy, *offer.draft.body.outputs[1:]))
        with pytest.raises(WalletError, match="WALLET_TERMS_DIFFER"):
            accept_offer(wallet, Offer(bent, offer.public_key), bank_b, terms)
        with pytest.raises(WalletError, match="WALLET_OFFER_INVALID"):
            accept_offer(wallet, Offer(offer.draft, key(bank_b).public_key), bank_b, terms)
        assert refusal(wallet, offer.draft.signed(key(bank_a))) == "TX_UNBALANCED"

    await play(work)


async def test_payment_versus_payment_between_two_clients_and_no_other(tmp_path: Path) -> None:
    terms = Terms(BANK_A_DVT, 50_00, BANK_B_DVT, 45_00)

    def work(wallet: Wallet, who: Names) -> None:
        alice, bob, bank_b = who["alice"], who["bob"], who["bank-b"]
        enabling = EnableWallets("99990002", (wallet.lock(alice.address),))
        wallet.send(registry_draft(wallet, "99990002", enabling).signed(key(bank_b)))
        wallet.emit(key(bank_b), bob.address, wallet.asset(BANK_B_DVT), 100_00, b"deposit")
        offer = make_offer(wallet, alice, terms, valid_until=50)
        whole = accept_offer(wallet, offer, bob, terms)
        write_draft(tmp_path / "f2", whole)
        whole = read_draft(tmp_path / "f2", wallet.chain_id)
        assert refusal(wallet, whole) == "TX_WITNESS_MISSING"
        outputs = whole.body.outputs
        for place, output in enumerate(outputs):
            less = msgspec.structs.replace(output, value=output.value - 1)
            bent = changed(whole, outputs=(*outputs[:place], less, *outputs[place + 1 :]))
            with pytest.raises(WalletError, match="WALLET_TERMS_DIFFER"):
                confirm_swap(wallet, bent, offer, alice)
            forged = with_signatures_of(bent.signed(key(alice)), whole)
            assert refusal(wallet, forged) in ("TX_BAD_SIGNATURE", "TX_UNBALANCED")
        with pytest.raises(WalletError, match="WALLET_TERMS_DIFFER"):
            confirm_swap(wallet, whole, offer, bob)
        wallet.send(confirm_swap(wallet, whole, offer, alice))
        assert total(wallet, bob, BANK_A_DVT) == 50_00
        assert total(wallet, alice, BANK_B_DVT) == 45_00
        assert total(wallet, bob, BANK_B_DVT) == 55_00

    await play(work)


async def test_a_hidden_input_of_the_signers_own_vault_is_never_signed() -> None:
    """The other side could reveal the vault's condition after the signature was given."""

    def work(wallet: Wallet, who: Names) -> None:
        alice, bob = who["alice"], who["bob"]
        vault = Contract(VAULT, BANK_A_DVT, vault_condition(1, [key(alice).public_key, key(bob).public_key]))
        wallet.send(lock_draft(wallet, alice.address, vault, 30_00).signed(key(alice)))
        wallet.transfer(alice, bob.address, wallet.asset(BANK_A_DVT), 5_00)
        draft = wallet.transfer_draft(alice.address, bob.address, wallet.asset(BANK_A_DVT), 10_00)
        sources = read_sources(wallet.client, wallet.chain_id, draft.body)
        check_terms(draft, sources, key(alice).public_key, {BANK_A_DVT: -10_00})
        theft = unlock_draft(wallet, vault, bob.address)
        grown = make_draft(
            msgspec.structs.replace(
                draft.body,
                inputs=(*draft.body.inputs, *theft.body.inputs),
                outputs=(*draft.body.outputs, *theft.body.outputs),
            ),
            wallet.chain_id,
        )
        sources = read_sources(wallet.client, wallet.chain_id, grown.body)
        with pytest.raises(WalletError, match="nobody shows whose"):
            check_terms(grown, sources, key(alice).public_key, {BANK_A_DVT: -10_00})

    await play(work)


async def test_a_hashed_time_lock_is_claimed_with_the_secret_or_refunded_after_its_time() -> None:
    secret = b"\x07" * 32

    def work(wallet: Wallet, who: Names) -> None:
        alice, bob = who["alice"], who["bob"]
        keys = key(bob).public_key, key(alice).public_key
        digest = sha256(secret).digest()
        late = Contract(HTLC, BANK_A_DVT, htlc_condition(digest, *keys, START_MS + 10**9))
        wallet.send(lock_draft(wallet, alice.address, late, 20_00).signed(key(alice)))
        claim, refund = (unlock_draft(wallet, late, who[name].address) for name in ("bob", "alice"))
        assert refusal(wallet, claim.signed(key(bob))) == "TX_LOCK_UNSATISFIED"
        assert refusal(wallet, claim.signed(key(alice), preimages=[secret])) == "TX_LOCK_UNSATISFIED"
        assert refusal(wallet, refund.signed(key(alice))) == "TX_LOCK_UNSATISFIED"
        wallet.send(claim.signed(key(bob), preimages=[secret]))
        assert total(wallet, bob, BANK_A_DVT) == 20_00
        past = Contract(HTLC, BANK_A_DVT, htlc_condition(digest, *keys, START_MS))
        wallet.send(lock_draft(wallet, alice.address, past, 7_00).signed(key(alice)))
        refund = unlock_draft(wallet, past, alice.address)
        assert refusal(wallet, refund.signed(key(bob))) == "TX_LOCK_UNSATISFIED"
        wallet.send(refund.signed(key(alice)))
        assert total(wallet, alice, BANK_A_DVT) == 1_000_000_00 - 20_00

    await play(work)


async def test_a_vault_opens_for_two_of_three_and_keeps_its_change(tmp_path: Path) -> None:
    def work(wallet: Wallet, who: Names) -> None:
        alice, bob, bank = who["alice"], who["bob"], who["bank-a"]
        keys = [key(account).public_key for account in (alice, bob, bank)]
        vault = Contract(VAULT, BANK_A_DVT, vault_condition(2, keys))
        write_contract(tmp_path / "vault", vault, wallet.address(vault.lock))
        vault = read_contract(tmp_path / "vault", VAULT)
        wallet.send(lock_draft(wallet, alice.address, vault, 30_00).signed(key(alice)))
        draft = unlock_draft(wallet, vault, bob.address, 10_00)
        assert refusal(wallet, draft.signed(key(bank))) == "TX_LOCK_UNSATISFIED"
        wallet.send(draft.signed(key(bank)).joined(draft.signed(key(bob))))
        assert total(wallet, bob, BANK_A_DVT) == 10_00
        left = wallet.coins(wallet.address(vault.lock), BANK_A_DVT)
        assert [coin.amount for coin in left] == [20_00]
        with pytest.raises(WalletError, match="WALLET_FILE"):
            read_contract(tmp_path / "vault", HTLC)
        with pytest.raises(WalletError, match="WALLET_CONDITION_INVALID"):
            vault_condition(3, keys[:2])

    await play(work)


async def test_orders_by_who_may_and_not_by_who_may_not() -> None:
    def work(wallet: Wallet, who: Names) -> None:
        alice, bob = who["alice"], who["bob"]
        bcb, bank = key(who["bcb-orders"]), key(who["bank-a"])
        dvt = wallet.asset(BANK_A_DVT)
        assert acting_participant(wallet, who["bank-a"].address) == BANK_A_ISPB
        assert acting_participant(wallet, who["bcb-orders"].address) == BCB_ISPB
        frozen = freeze_draft(wallet, BCB_ISPB, alice.address, BANK_A_DVT, 999_999_00, b"court-1").signed(bcb)
        for thief in ("alice", "bank-a", "bcb"):
            forged = make_draft(frozen.body, wallet.chain_id).signed(key(who[thief]))
            assert refusal(wallet, forged) == "TX_NOT_AUTHORISED"
        wallet.send(frozen)
        again = freeze_draft(wallet, BCB_ISPB, alice.address, BANK_A_DVT, 1, b"court-1")
        assert refusal(wallet, again.signed(bcb)) == "TX_ORDER_EXISTS"
        spent = wallet.transfer_draft(alice.address, bob.address, dvt, 2_00)
        assert refusal(wallet, spent.signed(key(alice))) == "TX_FROZEN"
        moved = move_draft(wallet, BANK_A_ISPB, alice.address, bob.address, dvt, 2_00, b"bank-1")
        assert refusal(wallet, moved.signed(bank)) == "TX_FROZEN"
        lifted = unfreeze_draft(wallet, BANK_A_ISPB, alice.address, BANK_A_DVT, BCB_ISPB, b"court-1")
        assert refusal(wallet, lifted.signed(bank)) == "TX_NOT_AUTHORISED"
        moved = move_draft(wallet, BCB_ISPB, alice.address, bob.address, dvt, 2_00, b"court-2")
        wallet.send(moved.signed(bcb))
        assert total(wallet, bob, BANK_A_DVT) == 2_00
        burned = move_draft(wallet, BCB_ISPB, bob.address, None, dvt, 2_00, b"court-3").signed(bcb)
        wallet.send(burned)
        assert wallet.client.run(rpc.supply(BANK_A_DVT)).burned == 2_00
        lifted = unfreeze_draft(wallet, BCB_ISPB, alice.address, BANK_A_DVT, BCB_ISPB, b"court-1")
        wallet.send(lifted.signed(bcb))
        wallet.transfer(alice, bob.address, dvt, 2_00)

    await play(work)


async def test_pause_resume_and_the_rotation_of_the_emission_key() -> None:
    def work(wallet: Wallet, who: Names) -> None:
        alice, bank, old = who["alice"], key(who["bank-a"]), key(who["bcb"])
        pause = registry_draft(wallet, BANK_A_ISPB, Pause(BANK_A_DVT, b"p-1"))
        assert refusal(wallet, pause.signed(key(alice))) == "TX_NOT_AUTHORISED"
        wallet.send(pause.signed(bank))
        dvt = wallet.asset(BANK_A_DVT)
        draft = wallet.transfer_draft(alice.address, who["bob"].address, dvt, 1)
        assert refusal(wallet, draft.signed(key(alice))) == "TX_PAUSED"
        resume = Resume(BANK_A_DVT, BANK_A_ISPB, b"p-1")
        wallet.send(registry_draft(wallet, BANK_A_ISPB, resume).signed(bank))
        assert refusal(wallet, draft.signed(key(alice))) is None
        new = SigningKey(b"\x05" * 32)
        rotate = RotateCondition(BCB_ISPB, Credential.EMISSION, KeyLeaf(new.public_key))
        act = registry_draft(wallet, BCB_ISPB, rotate)
        assert refusal(wallet, act.signed(key(who["bcb-registry"]))) == "TX_NOT_AUTHORISED"
        wallet.send(act.signed(old))
        emission = wallet.emit_draft(who["bcb"].address, wallet.asset("BRL"), 5, b"after")
        assert refusal(wallet, emission.signed(old)) == "TX_NOT_AUTHORISED"
        wallet.send(emission.signed(new))
        assert wallet.client.run(rpc.supply("BRL")).circulating == 5

    await play(work)


async def test_files_of_another_chain_or_kind_or_body_are_refused(tmp_path: Path) -> None:
    def work(wallet: Wallet, who: Names) -> None:
        alice, bob = who["alice"], who["bob"]
        dvt = wallet.asset(BANK_A_DVT)
        draft = wallet.transfer_draft(alice.address, bob.address, dvt, 1)
        other = wallet.transfer_draft(alice.address, bob.address, dvt, 2)
        with pytest.raises(WalletError, match="WALLET_FILES_DIFFER"):
            draft.joined(other)
        write_draft(tmp_path / "draft", draft)
        with pytest.raises(WalletError, match="WALLET_FILE_EXISTS"):
            write_draft(tmp_path / "draft", draft)
        with pytest.raises(WalletError, match="WALLET_OTHER_CHAIN"):
            read_draft(tmp_path / "draft", bytes(32))
        for content in ("", "{}", '{"type": "drexnode transaction", "version": 2}', "[" * 9000):
            (tmp_path / "bad").write_text(content)
            with pytest.raises(WalletError, match="WALLET_FILE"):
                read_draft(tmp_path / "bad", wallet.chain_id)

    await play(work)
