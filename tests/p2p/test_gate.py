"""Permission, points and bans: who is out, for how long, and how it comes back in."""

from p2p.budget import TokenBucket
from p2p.gate import PeerGate
from p2p.identity import peer_id_from_seed
from p2p.transport import DisconnectReason, Offence
from primitives.limits import BAN_MS, MAX_BANS, SCORE_HALF_LIFE_MS
from tests.p2p.support import seed

PEER, OTHER = peer_id_from_seed(seed(0)), peer_id_from_seed(seed(1))


def gate() -> PeerGate:
    made = PeerGate()
    made.set_permitted({PEER: ("/ip4/127.0.0.1/tcp/1",)})
    return made


def test_only_permitted_peers_are_admitted() -> None:
    assert gate().refusal(PEER, 0) is None
    assert gate().refusal(OTHER, 0) is DisconnectReason.NOT_PERMITTED


def test_removed_peer_is_refused_and_its_score_forgotten() -> None:
    peers = gate()
    peers.report(PEER, Offence.INVALID_MESSAGE, "", 0)
    peers.set_permitted({})
    assert peers.refusal(PEER, 0) is DisconnectReason.NOT_PERMITTED
    peers.set_permitted({PEER: ()})
    assert peers.score(PEER, 0) == 0


def test_repeated_offences_ban_for_a_while() -> None:
    peers = gate()
    banned = [peers.report(PEER, Offence.INVALID_MESSAGE, "bad signature", 1000) for _ in range(5)]
    assert banned == [False, False, False, False, True]
    assert peers.refusal(PEER, 1000) is DisconnectReason.BANNED
    assert peers.bans(1000)[0].reason == "invalid_message: bad signature"
    assert peers.refusal(PEER, 1000 + BAN_MS) is None
    assert peers.bans(1000 + BAN_MS) == ()


def test_a_lie_bans_at_once_and_an_operator_can_lift_it() -> None:
    peers = gate()
    assert peers.report(PEER, Offence.LIED, "", 0)
    assert peers.lift_ban(PEER)
    assert not peers.lift_ban(PEER)
    assert peers.refusal(PEER, 0) is None
    assert peers.score(PEER, 0) == 0


def test_points_halve_with_time() -> None:
    peers = gate()
    for _ in range(4):
        peers.report(PEER, Offence.INVALID_MESSAGE, "", 0)
    assert peers.score(PEER, 0) == 80
    assert peers.score(PEER, SCORE_HALF_LIFE_MS) == 40
    assert not peers.report(PEER, Offence.INVALID_MESSAGE, "", SCORE_HALF_LIFE_MS)


def test_a_clock_that_steps_back_earns_no_points() -> None:
    peers = gate()
    peers.report(PEER, Offence.FLOODING, "", 1_000_000)
    assert peers.score(PEER, 0) == Offence.FLOODING


def test_strangers_have_no_score() -> None:
    peers = gate()
    assert not peers.report(OTHER, Offence.LIED, "", 0)
    assert peers.bans(0) == ()


def test_bans_are_bounded_and_the_first_to_end_gives_way() -> None:
    peers = gate()
    ids = [peer_id_from_seed(number.to_bytes(32, "big")) for number in range(MAX_BANS + 1)]
    for number, peer in enumerate(ids):
        peers.ban(peer, 1000 + number, "", 0)
    banned = {ban.peer for ban in peers.bans(0)}
    assert len(banned) == MAX_BANS
    assert ids[0] not in banned


def test_token_bucket_gives_its_burst_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=5, now_s=0)
    assert all(bucket.try_take(1, 0) for _ in range(5))
    assert not bucket.try_take(1, 0)
    assert bucket.try_take(1, 0.1)
    assert not bucket.try_take(1, 0.15)
    assert [bucket.try_take(1, 100) for _ in range(6)] == [True] * 5 + [False]


def test_token_bucket_in_debt_says_how_long_to_pause() -> None:
    bucket = TokenBucket(rate=10, burst=5, now_s=0)
    assert bucket.take(5, 0) == 0
    assert bucket.take(10, 0) == 1.0
    assert bucket.take(0, 0.5) == 0.5
    assert bucket.take(0, 1.0) == 0
