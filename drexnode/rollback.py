"""A stopped node's last blocks are dropped, to be fetched again (`drexnode rollback`).

Promises: nothing is dropped unless a peer shows, at this moment, a certified block that follows the one that
stays; what stays is executed anew from the genesis; what is dropped lies beside it until somebody deletes it;
vote journal and watermark are not touched, so a validator signs nothing twice, whatever is rolled back.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from drexnode.config import NodeConfig
from drexnode.keystore import read_plain_key
from drexnode.node import configured_peers
from drexnode.permits import Permits
from drexnode.rebuild import open_builder, read_source
from drexnode.recovery import STORE_FOLDER, head_of
from drexnode.stopped import StoppedChain, open_stopped
from drexnode.wire import METHOD_HEADERS, HeadersRequest, HeadersResponse, decode_message, encode_message
from ledger.override import finality_checks
from ledger.state import NODE
from p2p.host import open_host
from p2p.identity import peer_id_from_seed
from p2p.transport import PeerEventKind, PeerId, RequestFailed, Transport
from primitives.block import block_id
from primitives.errors import DecodeError, DrexError, InvalidBlock
from primitives.keys import verify_many
from primitives.limits import MAX_REGISTERED_NODES, MAX_RESPONSE_BYTES
from storage import failpoints
from storage.files import sync_directory, write_failed
from storage.validator_rows import read_overrides

Progress = Callable[[str, int, int], None]
REQUEST_SECONDS = 5.0


class RollbackRefused(DrexError):
    """Nothing was dropped. Codes ROLLBACK_*."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """`dropped` blocks now lie in the folder `aside`."""

    height: int
    block_id: bytes
    dropped: int
    aside: Path
    served_by: PeerId


def roll_back(config: NodeConfig, height: int, progress: Progress, *, patience_s: float = 20.0) -> RolledBack:
    """Drop a stopped node's blocks above `height`.

    Raises `RollbackRefused` (ROLLBACK_HEIGHT, ROLLBACK_PRUNED, ROLLBACK_NO_PEER), `ReplayDiffers`,
    `StorageFailure` (STORAGE_LOCKED while it runs) and `ConfigError`."""
    folder = config.data_path / STORE_FOLDER
    building = folder.with_name(folder.name + ".building")
    mark, building_mark = (item.with_name(item.name + ".acknowledged") for item in (folder, building))
    aside = folder.with_name(f"{STORE_FOLDER}.rolled-back-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    try:
        with open_stopped(config) as chain:
            _check(chain, height)
            peer = trio.run(_find_server, config, chain, height, patience_s)
            shutil.rmtree(building, ignore_errors=True)
            building_mark.unlink(missing_ok=True)
            name = _rebuild(chain, building, height, config, progress)
            dropped = chain.tip.height - height
            failpoints.reach("rollback.before_swap")
            if mark.exists():
                mark.rename(folder / "acknowledged")
            folder.rename(aside)
            building_mark.rename(mark)
            building.rename(folder)
            sync_directory(folder.parent)
    except OSError as error:
        raise write_failed(building, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
        building_mark.unlink(missing_ok=True)
    return RolledBack(height, name, dropped, aside, peer)


def _check(chain: StoppedChain, height: int) -> None:
    if not 0 <= height < chain.tip.height:
        message = f"the tip is block {chain.tip.height}: a lower height is expected, not {height}"
        raise RollbackRefused("ROLLBACK_HEIGHT", message, tip=chain.tip.height)
    if chain.queries.pruned_below > 1:
        message = (
            f"bodies are kept from block {chain.queries.pruned_below} on, and the state is made from all"
        )
        raise RollbackRefused(
            "ROLLBACK_PRUNED", message, next="drexnode repair, then drexnode snapshot restore or start"
        )


def _rebuild(chain: StoppedChain, folder: Path, height: int, config: NodeConfig, progress: Progress) -> bytes:
    """The blocks up to `height`, executed anew in `folder`; the id of the last."""
    builder = open_builder(
        folder, chain.document, hot_set_bytes=config.storage.hot_set_bytes, signatures=False
    )
    try:
        for override in read_overrides(chain.store.database):
            builder.follow(override)
        for number in range(1, height + 1):
            builder.append(read_source(chain.queries, number))
            progress("blocks", number, height)
        tip = builder.store.tip
        assert tip is not None
        return tip.block_id
    finally:
        builder.store.close()


# --- a peer that has what would be fetched


async def _find_server(config: NodeConfig, chain: StoppedChain, height: int, patience_s: float) -> PeerId:
    """A peer that serves a certified block after the one of `height`. Raises `RollbackRefused`."""
    seed = read_plain_key(config.peer_key_path).seed
    permitted = _peers_of(config, chain, peer_id_from_seed(seed))
    network = f"{chain.document.name}-{chain.chain_id.hex()[:16]}"
    found: list[PeerId] = []
    async with open_host(seed=seed, network=network, listen=()) as transport:
        transport.set_permitted(permitted)
        for peer in sorted(permitted):
            transport.add_persistent(peer)
        with trio.move_on_after(patience_s):
            while not found:
                events = await transport.events.receive()
                for peer in [event.peer for event in events if event.kind is PeerEventKind.CONNECTED]:
                    if not found and await _serves(transport, peer, chain, height + 1):
                        found.append(peer)
    if not found:
        message = (
            f"none of {len(permitted)} peers showed a certified block {height + 1} within {patience_s:g} s: "
            "what would be dropped might be nowhere else"
        )
        raise RollbackRefused("ROLLBACK_NO_PEER", message, next="drexnode status at another node, then again")
    return found[0]


def _peers_of(config: NodeConfig, chain: StoppedChain, own: PeerId) -> Mapping[PeerId, tuple[str, ...]]:
    head = head_of(chain.store, chain.chain_id)
    entries = chain.queries.state_entries(NODE, MAX_REGISTERED_NODES)
    overrides = read_overrides(chain.store.database)
    return Permits(entries, head.validators, own, configured_peers(config), overrides).permitted()


async def _serves(transport: Transport, peer: PeerId, chain: StoppedChain, height: int) -> bool:
    try:
        answer = await transport.request(
            peer,
            METHOD_HEADERS,
            encode_message(HeadersRequest(height, 1)),
            timeout_s=REQUEST_SECONDS,
            max_response_bytes=MAX_RESPONSE_BYTES,
        )
        return _is_certified(chain, decode_message(answer, HeadersResponse), height)
    except (RequestFailed, DecodeError, InvalidBlock):
        return False


def _is_certified(chain: StoppedChain, answer: HeadersResponse, height: int) -> bool:
    """Whether the first header of an answer follows our block below it, by the seals of its deciders."""
    own, validators = chain.queries.header(height - 1), chain.queries.validators_at(height)
    if not answer.headers or own is None or validators is None:
        return False
    header, certificate = answer.headers[0].header, answer.headers[0].certificate
    if certificate is None or header.height != height or header.parent_id != block_id(own):
        return False
    overrides = read_overrides(chain.store.database)
    checks = finality_checks(header, certificate, chain.chain_id, validators, overrides)
    return all(verify_many(checks))
