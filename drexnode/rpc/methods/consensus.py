"""Consensus from outside: who proposed and signed, how long a round waits, and why no block comes."""

from __future__ import annotations

from typing import Any

from drexnode.rpc import answers
from drexnode.rpc.errors import invalid_params, too_large
from drexnode.rpc.examples import VALIDATOR_KEY
from drexnode.rpc.methods.network import consensus_view
from drexnode.rpc.node_values import CastVote
from drexnode.rpc.params import Flag, Hash32, Height
from drexnode.rpc.registry import Context, method
from drexnode.stall import NEXT
from ledger.genesis import decode_genesis
from ledger.override import encode_override
from ledger.payloads import VoteOperation

# What keeps blocks from everyone; any other cause concerns the asked node alone.
NETWORK_CAUSES = frozenset({"NO_QUORUM", "CHANGING_ROUND"})


@method(
    "qbft_explainStall",
    "{stalled, code, reason, missing, causes, …}",
    answers.Stall,
    rest="GET /consensus/stall",
)
async def explain_stall(context: Context) -> dict[str, Any]:
    """What keeps blocks from coming or this validator from voting: each cause with what to do."""
    status = context.api.consensus()
    view = consensus_view(status)
    missing = [item for item in view["validators"] if not item["connected"]]
    causes = [
        {"code": cause.code, "message": cause.message, "next": NEXT.get(cause.code), **dict(cause.data)}
        for cause in context.api.stall_causes()
    ]
    first = causes[0] if causes else {"code": None, "message": None, "next": None}
    return {
        "stalled": any(cause["code"] in NETWORK_CAUSES for cause in causes),
        "code": first["code"],
        "reason": first["message"],
        "next": first["next"],
        "causes": causes,
        "missing": [item["name"] or item["public_key"] for item in missing],
        **{key: view[key] for key in ("height", "round", "phase", "quorum", "reachable")},
    }


@method(
    "qbft_proposeValidatorVote",
    "{txid, voter, subject, add, expires, warning}",
    answers.VoteCast,
    rest="PUT /consensus/votes/{key}",
    admin=True,
    example=(VALIDATOR_KEY, False),
)
async def propose_validator_vote(context: Context, key: Hash32, add: Flag) -> dict[str, Any]:
    """Let this validator vote a candidate into the set, or a validator out of it."""
    cast = await context.api.cast_vote(key, VoteOperation.ADD if add else VoteOperation.REMOVE)
    return {**_vote_view(cast, key), "add": add, "expires": cast.expires, "warning": cast.warning}


@method(
    "qbft_discardValidatorVote",
    "{txid, voter, subject}",
    answers.VoteTaken,
    rest="DELETE /consensus/votes/{key}",
    admin=True,
    example=(VALIDATOR_KEY,),
)
async def discard_validator_vote(context: Context, key: Hash32) -> dict[str, Any]:
    """Let this validator take its standing vote on a key back."""
    return _vote_view(await context.api.cast_vote(key, VoteOperation.WITHDRAW), key)


def _vote_view(cast: CastVote, subject: bytes) -> dict[str, Any]:
    return {"txid": cast.txid.hex(), "voter": cast.voter.hex(), "subject": subject.hex()}


@method(
    "qbft_getEvidence",
    "list of {validator, height, round, step, proof}",
    list[answers.EvidenceProof],
    rest="GET /consensus/evidence",
)
async def evidence(context: Context) -> list[dict[str, Any]]:
    """Proofs that a validator signed two payloads for one step, as this node keeps them on disk."""
    steps = ("ROUND_CHANGE", "PROPOSAL", "PREPARE", "COMMIT")
    return [
        {
            "validator": found.validator.hex(),
            "height": found.height,
            "round": found.round,
            "step": steps[found.step],
            "proof": found.raw.hex(),
        }
        for found in context.api.evidence()
    ]


@method(
    "qbft_getOverrides",
    "list of {height, block_id, rests_on, epoch, validators, record}",
    list[answers.OverrideRecord],
    rest="GET /consensus/overrides",
)
async def overrides(context: Context) -> list[dict[str, Any]]:
    """Recovery overrides of the validator set that this node follows: who checks certificates needs them."""
    return [
        {
            "height": override.height,
            "block_id": override.block_id.hex(),
            "rests_on": "lock" if override.rests_on_lock else "decided block",
            "epoch": override.order.epoch,
            "validators": [key.hex() for key in override.validators.keys],
            "record": encode_override(override).hex(),
        }
        for override in context.api.overrides()
    ]


@method("qbft_getRequestTimeoutSeconds", "{base, cap}", answers.Timeouts, rest="GET /consensus/timeouts")
async def request_timeout(context: Context) -> dict[str, str]:
    """How long round 0 waits, and the longest a round waits, in seconds as text."""
    parameters = decode_genesis(context.api.identity.genesis).parameters
    return {
        "base": f"{parameters.base_timeout_ms / 1000:g}",
        "cap": f"{parameters.max_timeout_ms / 1000:g}",
    }


@method(
    "qbft_getSignerMetrics",
    "list of {public_key, proposed, signed, …}",
    list[answers.SignerFigures],
    rest="GET /consensus/signers",
    example=(1, "latest"),
)
async def signer_metrics(context: Context, first: Height, last: Height) -> list[dict[str, Any]]:
    """For each validator: blocks proposed and sealed in a range of heights, and the last of each."""
    if last < first:
        raise invalid_params("the last height is below the first")
    if last - first + 1 > context.config.max_range:
        raise too_large("heights in one answer", last - first + 1, context.config.max_range)
    found: dict[str, dict[str, Any]] = {}

    def entry(key: bytes) -> dict[str, Any]:
        blank = {"proposed": 0, "signed": 0, "last_proposed": None, "last_signed": None}
        return found.setdefault(key.hex(), {"public_key": key.hex(), **blank})

    for header in await context.api.headers(max(first, 1), last):
        certificate = await context.api.certificate(header.height)
        validators = await context.api.validators_at(header.height)
        if certificate is None or validators is None:
            continue
        for key in validators.keys:
            entry(key)
        proposer = entry(header.proposer)
        proposer["proposed"] += 1
        proposer["last_proposed"] = header.height
        for index, _ in certificate.seals:
            signer = entry(validators.keys[index])
            signer["signed"] += 1
            signer["last_signed"] = header.height
    return [found[key] for key in sorted(found)]
