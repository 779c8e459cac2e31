"""Votes of validators on the set."""

from __future__ import annotations

from ledger import codes
from ledger.payloads import Kind, RemoveCandidate, ValidatorVote, VoteOperation
from ledger.transaction import Transaction
from tests.ledger.cases import invalid, valid
from tests.ledger.world import BCB, VALIDATOR_NAMES, World, key

VOTER, OTHER = VALIDATOR_NAMES[:2]


def vote(
    world: World,
    subject: str = "candidate",
    operation: VoteOperation = VoteOperation.ADD,
    voter: str = VOTER,
    signer: str | None = None,
    expiry: int = 200,
) -> Transaction:
    """A vote by `voter`, signed by itself unless said otherwise."""
    payload = ValidatorVote(key(voter).public_key, key(subject).public_key, operation, expiry)
    return world.order(Kind.VALIDATOR_VOTE, payload, [signer or voter])


@valid
def vote_to_add_a_candidate(world: World) -> Transaction:
    return vote(world)


@valid
def vote_to_remove_a_validator(world: World) -> Transaction:
    return vote(world, OTHER, VoteOperation.REMOVE)


@valid
def the_same_vote_by_two_validators(world: World) -> Transaction:
    world.apply(vote(world))
    return vote(world, voter=OTHER)


@valid
def vote_withdrawn(world: World) -> Transaction:
    world.apply(vote(world))
    return vote(world, operation=VoteOperation.WITHDRAW)


@valid
def vote_that_expires_with_its_block(world: World) -> Transaction:
    return vote(world, expiry=world.height)


@invalid(codes.NOT_A_VALIDATOR)
def vote_by_a_candidate(world: World) -> Transaction:
    return vote(world, voter="candidate")


@invalid(codes.NOT_A_VALIDATOR)
def vote_by_a_bank(world: World) -> Transaction:
    return vote(world, voter="bank-a")


@invalid(codes.NOT_AUTHORISED)
def vote_in_another_validators_name(world: World) -> Transaction:
    return vote(world, signer=OTHER)


@invalid(codes.VOTE_INVALID)
def vote_to_add_somebody_who_is_no_candidate(world: World) -> Transaction:
    return vote(world, "alice")


@invalid(codes.VOTE_INVALID)
def vote_to_add_a_former_candidate(world: World) -> Transaction:
    world.apply(world.act(BCB, RemoveCandidate(key("candidate").public_key), ["bcb-registry"]))
    return vote(world)


@invalid(codes.VOTE_INVALID)
def vote_to_add_a_current_validator(world: World) -> Transaction:
    return vote(world, OTHER)


@invalid(codes.VOTE_INVALID)
def vote_to_remove_a_candidate(world: World) -> Transaction:
    return vote(world, operation=VoteOperation.REMOVE)


@invalid(codes.VOTE_INVALID)
def vote_that_expired(world: World) -> Transaction:
    return vote(world, expiry=world.height - 1)


@invalid(codes.VOTE_INVALID)
def withdrawal_of_no_vote(world: World) -> Transaction:
    return vote(world, operation=VoteOperation.WITHDRAW)


@invalid(codes.REPLAYED)
def the_same_vote_twice(world: World) -> Transaction:
    return world.apply(vote(world))


@invalid(codes.REPLAYED)
def an_old_vote_again_after_it_was_withdrawn(world: World) -> Transaction:
    first = world.apply(vote(world))
    world.apply(vote(world, operation=VoteOperation.WITHDRAW))
    return first
