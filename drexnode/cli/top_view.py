"""How `drexnode top` looks: a `Facts` becomes one rich renderable, for 80 columns or more.

Pure: the same facts, width and height give the same picture. From `WIDE` columns on, validators and peers
stand beside the node's own figures.
"""

from __future__ import annotations

import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from drexnode.cli.top_facts import Facts

WIDE = 120
_STRIP_NARROW, _STRIP_WIDE = 20, 28
_PEERS_SHOWN = 12
_SIGNED, _MISSED, _UNKNOWN = "▮", "▯", " "


def render(facts: Facts, width: int, now_ms: int, trouble: str | None = None) -> RenderableType:
    """The whole view. `trouble` is a sentence when the facts are old because the node does not answer."""
    parts: list[RenderableType] = [_title(facts, now_ms, trouble)]
    if width >= WIDE:
        left = Group(_chain(facts, now_ms), _resources(facts))
        right = Group(_validators(facts, _STRIP_WIDE), _peers(facts, wide=True))
        table = Table.grid(expand=True, padding=0)
        table.add_column(ratio=5)
        table.add_column(ratio=7)
        table.add_row(left, right)
        parts.append(table)
    else:
        parts += [
            _chain(facts, now_ms),
            _validators(facts, _STRIP_NARROW),
            _peers(facts, wide=False),
            _resources(facts),
        ]
    return Group(*parts)


def _title(facts: Facts, now_ms: int, trouble: str | None) -> RenderableType:
    node = facts.info["node"]
    when = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
    head = Text.assemble(
        (f" {node['name']} ", "bold reverse"),
        f" {node['role']} of {node['network']}, chain {node['chain_id'][:12]}…  {when:%H:%M:%S} UTC",
    )
    lines: list[RenderableType] = [head, *_warnings(facts, trouble)]
    return Group(*lines)


def _warnings(facts: Facts, trouble: str | None) -> list[Text]:
    if trouble is not None:
        return [Text(f" NO ANSWER: {trouble}; what stands below is old", "bold red")]
    lines = []
    if reason := facts.info["consensus"]["stalled_reason"]:
        lines.append(Text(f" NO BLOCKS: {reason} (drexnode explain-stall)", "bold red"))
    for item in facts.info["reasons"]:
        if item["message"] != reason:
            lines.append(Text(f" NOT READY: {item['code']}: {item['message']}", "bold yellow"))
    return lines


def _pairs(rows: list[tuple[str, RenderableType]]) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(ratio=1)
    for name, value in rows:
        table.add_row(name, value)
    return table


def _chain(facts: Facts, now_ms: int) -> Panel:
    info = facts.info
    tip, consensus, sync = info["tip"], info["consensus"], info["sync"]
    age_s = max(0, now_ms - tip["timestamp_ms"]) / 1000
    margin = consensus["reachable"] - consensus["quorum"]
    quorum = f"{consensus['reachable']} of {len(consensus['validators'])} reachable, {consensus['quorum']}"
    rows: list[tuple[str, RenderableType]] = [
        ("height", f"{tip['height']:,}, final {age_s:,.0f} s ago"),
        ("block", Text(tip["block_id"], no_wrap=True, overflow="ellipsis")),
        ("deciding", f"{consensus['height']:,} · round {consensus['round']} · {consensus['phase']}"),
        ("quorum", Text(f"{quorum} needed", "green" if margin > 0 else "yellow" if margin == 0 else "red")),
        ("rounds lost", f"{consensus['round_changes']:,} since start"),
        ("block interval", _seconds(facts.mean("block_interval_seconds"), "mean since start")),
        ("time to final", _seconds(facts.mean("tx_finality_seconds"), "mean since start")),
    ]
    if sync["syncing"]:
        rows.insert(1, ("syncing", _share(sync["height"], sync["target_height"], "")))
    return Panel(_pairs(rows), title="chain", title_align="left", padding=(0, 1))


def _resources(facts: Facts) -> Panel:
    pool = facts.info["pool"]
    hits, misses = facts.figure("hotset_hits_total") or 0.0, facts.figure("hotset_misses_total") or 0.0
    rate = f", {hits / (hits + misses):.0%} of reads" if hits + misses else ""
    lag = facts.mean("loop_lag_seconds")
    rows: list[tuple[str, RenderableType]] = [
        (
            "pool",
            _share(pool["transactions"], pool["max_transactions"], f"{_bytes(pool['size_bytes'])} waiting"),
        ),
        (
            "hot set",
            f"{facts.figure('hotset_entries') or 0:,.0f} outputs, "
            f"{_bytes(facts.figure('hotset_bytes'))}{rate}",
        ),
        (
            "disk",
            f"{_bytes(facts.figure('db_bytes'))} used, {_bytes(facts.figure('disk_free_bytes'))} free",
        ),
        ("loop lag", "-" if lag is None else f"{lag * 1000:.1f} ms (mean since start)"),
        ("refused", f"{facts.figure('tx_rejected_total') or 0:,.0f} transactions since start"),
    ]
    return Panel(_pairs(rows), title="this node", title_align="left", padding=(0, 1))


def _validators(facts: Facts, strip: int) -> Panel:
    consensus = facts.info["consensus"]
    shown = facts.sealed[-strip:]
    table = Table(box=None, expand=True, padding=(0, 1), header_style="cyan")
    for name in ("#", "VALIDATOR", "UP", "SIGNED"):
        table.add_column(name, justify="right" if name in "#SIGNED" else "left", no_wrap=True)
    table.add_column(f"LAST {strip} BLOCKS", no_wrap=True, min_width=strip)
    for item in consensus["validators"]:
        key = item["public_key"]
        marks = [(_SIGNED, "green") if key in block.signers else (_MISSED, "red") for block in shown]
        signs = Text.assemble(_UNKNOWN * (strip - len(marks)), *marks)
        up = Text("yes", "green") if item["connected"] else Text("NO", "bold red")
        who = Text(item["name"] or key[:12], "bold" if key == consensus["proposer"] else "")
        if item["suspended_until"] is not None:
            who.append(f" suspended until {item['suspended_until']}", "yellow")
        table.add_row(str(item["index"]), who, up, _or_dash(item["last_signed_height"]), signs)
    return Panel(table, title="validators (bold: proposes)", title_align="left", padding=(0, 1))


def _peers(facts: Facts, *, wide: bool) -> Panel:
    title = f"peers: {facts.info['peers']}"
    if facts.peers is None:
        body: RenderableType = Text(
            "the list needs the node's admin credential: drexnode top --home DIR", "dim"
        )
        return Panel(body, title=title, title_align="left", padding=(0, 1))
    table = Table(box=None, expand=True, padding=(0, 1), header_style="cyan")
    for name in ("PEER", "ROLE", "WAY", "HEIGHT", "RTT ms"):
        table.add_column(name, justify="right" if name in ("HEIGHT", "RTT ms") else "left", no_wrap=True)
    if wide:
        table.add_column("ADDRESS", ratio=1)  # the only one that may be cut
    for peer in sorted(facts.peers, key=lambda item: (item["name"], item["peer_id"]))[:_PEERS_SHOWN]:
        cells = [
            peer["name"] or peer["peer_id"][:16],
            peer["role"],
            peer["direction"],
            _or_dash(peer["height"]),
            _or_dash(peer["rtt_ms"]),
        ]
        where = Text(peer["address"].split("/p2p/")[0], no_wrap=True, overflow="ellipsis")
        table.add_row(*cells, *((where,) if wide else ()))
    if len(facts.peers) > _PEERS_SHOWN:
        table.caption = f"and {len(facts.peers) - _PEERS_SHOWN} more"
    return Panel(table, title=title, title_align="left", padding=(0, 1))


def _share(part: int, whole: int, text: str) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_row(ProgressBar(total=max(1, whole), completed=part, width=12), f"{part:,} of {whole:,}", text)
    return table


def _seconds(value: float | None, what: str) -> str:
    return "-" if value is None else f"{value:.2f} s ({what})"


def _bytes(value: float | None) -> str:
    if value is None:
        return "-"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f} B"


def _or_dash(value: Any) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
