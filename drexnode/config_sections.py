"""The sections of `drexnode.toml`: each key is a field, declared once with type, bounds, default and help.

Secrets are never values here, only paths to files. docs/cli.md, "Configuration".
"""

from dataclasses import dataclass, field
from typing import Any

from drexnode.profiles import PROFILES

ROLES = ("validator", "full", "observer")


def _key(
    default: Any, text: str, *, low: int | None = None, high: int | None = None, one_of: tuple[str, ...] = ()
) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high, "one_of": one_of})


@dataclass(frozen=True, slots=True)
class NodeSection:
    """Who the node is and where its files are."""

    name: str = _key("node", "Name in logs, metrics and peers' lists.")
    role: str = _key("full", "validator, full or observer.", one_of=ROLES)
    genesis: str = _key("genesis.json", "Genesis document (relative to the home).")
    data_dir: str = _key("data", "Chain, state and vote journal.")
    profile: str = _key(
        "balanced", "balanced, throughput or latency: defaults for other keys.", one_of=tuple(PROFILES)
    )


@dataclass(frozen=True, slots=True)
class KeysSection:
    """Files that hold this node's secrets, mode 0600, and the sign watermark."""

    validator: str = _key("keys/validator.key", "Validator's signing seed (role validator only).")
    peer: str = _key("keys/peer.key", "libp2p identity seed.")
    watermark: str = _key(
        "signer/watermark", "Sign watermark; outside the data directory, never in a backup."
    )
    signer: str = _key("local", "Who signs: local (this process), or unix:PATH of a drexnode signer run.")
    passphrase_file: str = _key("", "File of mode 0600 with an encrypted validator key's passphrase.")


@dataclass(frozen=True, slots=True)
class P2pSection:
    """The libp2p host."""

    listen: tuple[str, ...] = _key(("/ip4/0.0.0.0/tcp/26600",), "Multiaddresses to listen on.")
    announce: tuple[str, ...] = _key((), "Multiaddresses told to others; empty: those listened on.")
    peers: tuple[str, ...] = _key((), "Peers to keep connected, multiaddresses that end in /p2p/<peer id>.")
    allow: tuple[str, ...] = _key((), "Peer ids permitted beside those of the registry.")
    max_peers: int = _key(64, "Connections held at most.", low=1, high=1000)


@dataclass(frozen=True, slots=True)
class PoolSection:
    """Transactions that wait for a block."""

    max_transactions: int = _key(50_000, "Transactions held at most.", low=1, high=5_000_000)
    max_bytes: int = _key(64 << 20, "Bytes held at most.", low=1 << 16, high=1 << 34)
    batch_wait_ms: int = _key(
        50, "Under load, a proposer waits at most this long for what is being judged.", low=0, high=10_000
    )
    verify_workers: int = _key(0, "Worker processes for signatures; 0: inline.", low=0, high=64)


@dataclass(frozen=True, slots=True)
class StorageSection:
    """LevelDB and the RAM hot set."""

    hot_set_bytes: int = _key(256 << 20, "RAM for the hot set of unspent outputs.", low=1 << 20, high=1 << 40)
    cache_bytes: int = _key(32 << 20, "LevelDB block cache.", low=1 << 20, high=1 << 38)
    tree_bytes: int = _key(128 << 20, "RAM for the state tree's pages.", low=1 << 20, high=1 << 40)
    ram_lock: bool = _key(False, "Keep all of the node's pages in RAM (mlockall), or do not start.")
    retention: str = _key(
        "full", "archive: every block since genesis; full: every block it gets; pruned:N: the last N."
    )
    free_floor_bytes: int = _key(
        256 << 20, "Halt while the disk has less than this free.", low=0, high=1 << 40
    )


@dataclass(frozen=True, slots=True)
class SyncSection:
    """How an empty node begins, and the snapshots that others begin with."""

    mode: str = _key(
        "blocks",
        "An empty node begins with blocks, a peer's snapshot, or snapshot-or-blocks.",
        one_of=("blocks", "snapshot", "snapshot-or-blocks"),
    )
    anchor: str = _key("", "validators_hash (hex) that a snapshot must lead through; empty: genesis alone.")
    snapshots: str = _key(
        "auto", "off, or COUNT@HEIGHTS kept for peers; auto: 2@10000 on full nodes, else off."
    )


@dataclass(frozen=True, slots=True)
class RpcSection:
    """The HTTP port."""

    host: str = _key("127.0.0.1", "Address to listen on.")
    port: int = _key(26650, "Port to listen on; 0: any free one.", low=0, high=65535)
    max_connections: int = _key(500, "Connections open at one time.", low=1, high=100_000)
    max_body_bytes: int = _key(4 << 20, "Larger bodies are answered 413.", low=1 << 10, high=1 << 28)
    max_batch: int = _key(100, "Calls in one JSON-RPC batch.", low=1, high=10_000)
    max_range: int = _key(256, "Heights or rows in one answer.", low=1, high=10_000)
    max_transactions: int = _key(1000, "Transactions in one drex_sendTransactions.", low=1, high=10_000)
    rate_per_second: int = _key(1000, "Calls a second and client; 0: no limit.", low=0, high=1_000_000)
    rate_burst: int = _key(2000, "Calls a client may save up.", low=1, high=1_000_000)
    max_wait_ms: int = _key(60_000, "Longest drex_waitTransaction.", low=0, high=600_000)
    max_waiters: int = _key(1000, "Calls and subscriptions that wait at one time.", low=1, high=100_000)
    origins: tuple[str, ...] = _key((), "Browser origins allowed; empty: none.")
    cookie: str = _key("data/admin.cookie", "File for the admin credential, made at start, mode 0600.")
    access: str = _key(
        "rpc-access.json", "Token keys and API keys, as drexnode rpc … writes it; may be absent."
    )
    public: tuple[str, ...] = _key(
        ("*",), "Methods open without a credential, as globs; admin methods never are."
    )
    tls_certificate: str = _key("", "PEM file with the port's certificate and its chain; empty: plain HTTP.")
    tls_key: str = _key("", "PEM file with the certificate's private key, mode 0600.")
    tls_client_ca: str = _key(
        "", "PEM file with the authorities of clients: who has no certificate is cut off."
    )


@dataclass(frozen=True, slots=True)
class LogSection:
    """Logs go to stderr."""

    level: str = _key("info", "debug, info, warning or error.", one_of=("debug", "info", "warning", "error"))
    format: str = _key(
        "auto", "console, json or auto (console on a terminal).", one_of=("auto", "console", "json")
    )
    traces: str = _key("", "File for OpenTelemetry spans, one a line; needs drexnode[tracing]; empty: none.")


SECTIONS: dict[str, type[Any]] = {
    "node": NodeSection,
    "keys": KeysSection,
    "p2p": P2pSection,
    "pool": PoolSection,
    "storage": StorageSection,
    "sync": SyncSection,
    "rpc": RpcSection,
    "log": LogSection,
}
