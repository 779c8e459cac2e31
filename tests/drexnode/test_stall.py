"""Why no block comes: every cause is named by its code, and nothing is named that is not so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from drexnode.rpc.node_values import ConsensusStatus, Reason, ValidatorInfo
from drexnode.signer import NodeSigner
from drexnode.stall import NEXT, StallCauses
from primitives.errors import DrexError
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import COOKIE, serving
from tests.drexnode.test_rpc import call

FOUR = tuple(ValidatorInfo(index, bytes([index]) * 32, f"v{index}", True) for index in range(4))
WELL = ConsensusStatus(7, 0, "waiting", None, 3, 4, FOUR)
GONE = DrexError("SIGNER_UNREACHABLE", "no signer answers")


@dataclass
class World:
    status: ConsensusStatus = WELL
    fault: DrexError | None = None
    quarantined: bool = False
    member: bool = True
    room: bool = True

    def codes(self) -> list[str]:
        signer: Any = SimpleNamespace(fault=self.fault, in_quarantine=self.quarantined)
        causes = StallCauses(
            signer=cast(NodeSigner, signer),
            is_validator=lambda: self.member,
            room_on_disk=lambda: self.room,
            consensus=lambda: self.status,
        )
        return [cause.code for cause in causes.all()]


def test_nothing_is_named_while_nothing_stands_in_the_way() -> None:
    assert World().codes() == []


@pytest.mark.parametrize(
    ("world", "codes"),
    [
        (World(status=replace(WELL, reachable=2)), ["NO_QUORUM"]),
        (World(status=replace(WELL, phase="changing_round", round=3)), ["CHANGING_ROUND"]),
        (World(fault=GONE), ["SIGNER_UNREACHABLE"]),
        (World(quarantined=True), ["QUARANTINE"]),
        (World(room=False), ["DISK_LOW"]),
        (World(status=replace(WELL, reachable=2), quarantined=True), ["NO_QUORUM", "QUARANTINE"]),
        (World(fault=GONE, quarantined=True, room=False, member=False), []),
    ],
)  # fmt: skip
def test_each_cause_has_its_code_and_something_to_do(world: World, codes: list[str]) -> None:
    assert world.codes() == codes
    assert all(NEXT[code] for code in codes)


@pytest.mark.trio
async def test_the_rpc_names_causes_and_whether_everyone_is_stalled() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        well = (await call(url, "qbft_explainStall"))["result"]
        assert (well["stalled"], well["code"], well["causes"]) == (False, None, [])
        for code, stalled in (("QUARANTINE", False), ("NO_QUORUM", True)):
            chain.reasons = [Reason(code, "why", {"reachable": 2})]
            found = (await call(url, "qbft_explainStall"))["result"]
            assert (found["stalled"], found["code"], found["reason"]) == (stalled, code, "why")
            assert found["causes"][0]["next"] == found["next"] == NEXT[code]
            assert found["causes"][0]["reachable"] == 2


@pytest.mark.trio
async def test_votes_are_cast_by_rpc_with_the_credential_alone() -> None:
    chain, key = MemoryChain(), "ab" * 32
    async with serving(chain) as url:
        refused = await call(url, "qbft_proposeValidatorVote", key, True)
        assert refused["error"]["data"]["code"] == "RPC_UNAUTHORISED"
        refused = await call(url, "qbft_discardValidatorVote", key)
        assert refused["error"]["data"]["code"] == "RPC_UNAUTHORISED"
        assert chain.votes == []
        admin = {"authorization": f"Bearer {COOKIE}"}
        cast_ = await call(url, "qbft_proposeValidatorVote", key, False, headers=admin)
        assert (cast_["result"]["subject"], cast_["result"]["add"]) == (key, False)
        await call(url, "qbft_discardValidatorVote", key, headers=admin)
        assert [operation.name for _, operation in chain.votes] == ["REMOVE", "WITHDRAW"]
