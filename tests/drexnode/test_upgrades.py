"""Protocol versions: a node stops before a block whose rules it lacks, and shows who is ready for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from drexnode import client as rpc
from drexnode import doctor, protocol_guard, version
from drexnode.cli import output, start
from drexnode.config import load_config
from drexnode.metrics import Metrics
from drexnode.protocol_guard import UpgradeNeeded, check_protocol
from drexnode.recovery import open_chain
from drexnode.rpc.upgrade_api import NodeProtocol, UpgradeStatus
from ledger.registry import ProtocolRecord
from tests.drexnode.chain import Chain, genesis_document, open_finalizer
from tests.drexnode.homes import DOCUMENT, command, grow, make_home
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving


@pytest.fixture
def two_from_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry has set version 2 for block 4."""
    monkeypatch.setattr(protocol_guard, "get_protocol", lambda state: ProtocolRecord(1, 2, 4))


def test_a_version_that_is_known_or_not_in_force_yet_stops_nothing(
    two_from_four: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with open_finalizer(tmp_path, genesis_document(outputs=2)) as finalizer:
        check_protocol(finalizer.state, 3)
        with pytest.raises(UpgradeNeeded) as refused:
            check_protocol(finalizer.state, 4)
        assert (refused.value.code, refused.value.data["version"]) == ("PROTOCOL_UNSUPPORTED", 2)
        monkeypatch.setattr(version, "PROTOCOL_VERSION", 2)
        check_protocol(finalizer.state, 4)


async def test_the_last_block_of_the_old_rules_is_durable_and_the_next_is_refused(
    two_from_four: None, tmp_path: Path
) -> None:
    document = genesis_document(outputs=16)
    with open_finalizer(tmp_path, document) as finalizer:
        heard: list[int] = []
        finalizer.on_final(lambda block, executed: heard.append(block.height))
        chain = Chain(finalizer, document)
        with pytest.raises(UpgradeNeeded):
            await chain.grow(10, 1)
        assert finalizer.head.height == 3
        assert heard == [1, 2, 3]
        assert finalizer.upgrade_needed is not None
    with open_finalizer(tmp_path, document) as finalizer:
        assert finalizer.head.height == 3


def test_a_node_that_lacks_the_rules_does_not_start_and_a_newer_one_goes_on(
    two_from_four: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "PROTOCOL_VERSION", 2)
    home = make_home(tmp_path)
    grow(home, 3)
    monkeypatch.setattr(version, "PROTOCOL_VERSION", 1)
    with pytest.raises(UpgradeNeeded) as refused:
        open_chain(load_config(home), DOCUMENT, Metrics())
    assert start.exit_code_of(refused.value) == output.CONFIGURATION
    monkeypatch.setattr(version, "PROTOCOL_VERSION", 2)
    finalizer = open_chain(load_config(home), DOCUMENT, Metrics())
    finalizer.store.close()
    assert finalizer.head.height == 3


async def status_of(chain: MemoryChain) -> tuple[int, dict[str, object]]:
    async with serving(chain) as url:
        return await trio.to_thread.run_sync(lambda: command("upgrade", "status", "--rpc", url))


def node(name: str, protocol: int | None, *, decides: bool = True) -> NodeProtocol:
    return NodeProtocol(name, name, "validator", decides, None if protocol is None else "0.2.0", protocol)


@pytest.mark.parametrize(
    ("wanted", "supported", "known", "ready"),
    [
        (None, 1, (1, 1, None, None), True),
        (2, 2, (2, 2, 2, 1), True),
        (2, 2, (2, 2, 1, None), False),
        (2, 1, (2, 2, 2, 1), False),
    ],
)
async def test_a_network_is_ready_when_a_quorum_and_the_asked_node_know_the_version(
    wanted: int | None, supported: int, known: tuple[int | None, ...], ready: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    nodes = (*(node(f"v{place}", each) for place, each in enumerate(known)), node("f", 2, decides=False))
    status = UpgradeStatus(10, 1, wanted, None if wanted is None else 500, supported, 3, nodes)
    monkeypatch.setattr(MemoryChain, "upgrade", lambda chain: status)
    code, document = await status_of(MemoryChain())
    assert document["ready"] is ready
    assert code == (output.OK if ready else output.FAILURE)
    assert document["next_version"] == wanted


async def test_the_doctor_names_a_version_that_is_coming_and_not_known() -> None:
    async with serving(MemoryChain()) as url:

        def look() -> list[doctor.Finding]:
            with rpc.Client(url) as client:
                return list(doctor._check_protocol(client))

        [found] = await trio.to_thread.run_sync(look)
    assert found.verdict == "bad"
    assert "version 2 holds from block 1000000 on" in found.message
