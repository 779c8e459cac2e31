"""What the command line prints: data on stdout as a table or JSON, messages and errors on stderr.

JSON always carries `schema_version`. An error names a stable code, its cause, the evidence and the next
command, and ends the process with the documented exit code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from primitives.errors import DrexError

SCHEMA_VERSION = 1

OK = 0
FAILURE = 1
USAGE = 2
CONFIGURATION = 3
NOT_SYNCED = 4
UNREACHABLE = 5
REJECTED = 6
CORRUPT = 7
UNSAFE = 8
TRY_AGAIN = 75

_STATE_ANEW = "make this node's statement and propose anew: drexnode recover statement --home DIR"
_EXIT_OF_CODE = {
    "RECOVER_FILE": USAGE,
    "NODE_UNREACHABLE": UNREACHABLE,
    "NODE_NOT_READY": NOT_SYNCED,
    "NODE_SYNCING": NOT_SYNCED,
    "NODE_OBSERVER": REJECTED,
    "KEY_EXPOSED": UNSAFE,
    "KEY_EXISTS": UNSAFE,
    "HOME_EXISTS": UNSAFE,
    "FILE_EXISTS": UNSAFE,
    "STORAGE_EXISTS": UNSAFE,
    "SNAPSHOT_EXISTS": UNSAFE,
    "BACKUP_FOREIGN": UNSAFE,
    "BACKUP_OTHER_SIGNER": UNSAFE,
    "BACKUP_MISSING": USAGE,
    "BACKUP_AHEAD": TRY_AGAIN,
    "BACKUP_STOPPED": TRY_AGAIN,
    "JOB_RUNNING": TRY_AGAIN,
    "PRUNE_ARCHIVE": UNSAFE,
    "PRUNE_TOO_FEW": UNSAFE,
    "RETENTION_NOT_ARCHIVE": CONFIGURATION,
    "ROLLBACK_HEIGHT": USAGE,
    "JOB_FOLDER": USAGE,
    "SNAPSHOT_FOREIGN": UNSAFE,
    "SNAPSHOT_MISSING": USAGE,
    "SNAPSHOT_NO_PATH": FAILURE,
    "SNAPSHOT_STOPPED": TRY_AGAIN,
    "DEVNET_EXISTS": UNSAFE,
    "WATERMARK_EXISTS": UNSAFE,
    "SIGNER_RETIRED": UNSAFE,
    "SIGNER_EXPORT_OLD": UNSAFE,
    "SIGNER_EXPORT_NOT_OURS": UNSAFE,
    "SIGNER_EXPORT_FOREIGN": CONFIGURATION,
    "SIGNER_EXPORT_DAMAGED": CORRUPT,
    "SIGNER_EXPORT_MISSING": USAGE,
    "SIGNER_UNREACHABLE": UNREACHABLE,
    "SIGNER_BUSY": TRY_AGAIN,
    "SIGN_QUARANTINED": TRY_AGAIN,
    "WALLET_TERMS_DIFFER": UNSAFE,
    "WALLET_CONFIRM_NEEDED": UNSAFE,
    "WALLET_FILE_EXISTS": UNSAFE,
    "WALLET_OTHER_CHAIN": UNSAFE,
    "NODE_BUSY": TRY_AGAIN,
    "TX_NOT_FINAL": TRY_AGAIN,
    "RPC_RATE_LIMITED": TRY_AGAIN,
    "RPC_TOO_MANY_WAITERS": TRY_AGAIN,
    "STORAGE_CORRUPT": CORRUPT,
    "STATE_ROOT_MISMATCH": CORRUPT,
    "SUPPLY_MISMATCH": CORRUPT,
    "REPLAY_DIFFERS": CORRUPT,
    "REPLAY_PRUNED": UNSAFE,
    "BLOCK_PRUNED": UNSAFE,
    "BUNDLE_UNREADABLE": USAGE,
    "BUNDLE_OTHER_NODE": USAGE,
    "PEER_INVALID": USAGE,
    "PEER_TEST_RUNNING": TRY_AGAIN,
    "PEER_IS_VALIDATOR": UNSAFE,
    "PROOF_UNREADABLE": USAGE,
    "PROOF_NO_BLOCK": TRY_AGAIN,
    "PROOF_TOO_LARGE": FAILURE,
    "EXPORT_NO_PARQUET": CONFIGURATION,
    "AMOUNT_INVALID": USAGE,
    "ADDRESS_INVALID": USAGE,
}
_EXIT_OF_FAMILY = {
    "TX": REJECTED,
    "CONFIG": CONFIGURATION,
    "GENESIS": CONFIGURATION,
    "HOME": CONFIGURATION,
    "KEY": CONFIGURATION,
    "RAM_LOCK": CONFIGURATION,
    "RPC_PORT": CONFIGURATION,
    "RPC_CANNOT": CONFIGURATION,
    "RPC_TLS": CONFIGURATION,
    "RPC_ACCESS": CONFIGURATION,
    "RPC_BAD": CONFIGURATION,
    "CLIENT_TLS": CONFIGURATION,
    "REPAIR": UNSAFE,
    "ROLLBACK": UNSAFE,
    "RECOVER": UNSAFE,
    "STATEMENT": UNSAFE,
    "OVERRIDE": UNSAFE,
    "STORAGE": TRY_AGAIN,
    "SNAPSHOT": CORRUPT,
    "BACKUP": CORRUPT,
    "BUNDLE": UNSAFE,
    "PROOF": REJECTED,
    "TRUST": REJECTED,
    "CERTIFICATE": REJECTED,
}
_NEXT = {
    "STORAGE_CORRUPT": "drexnode verify --home DIR, then drexnode repair --home DIR",
    "STORAGE_LOCKED": "stop the node first",
    "KEY_ENCRYPTED": "to vote, let its node cast it: drexnode validators propose add KEY --by HOME",
    "KEY_WRONG_PASSPHRASE": "give the right one with --passphrase-file, --passphrase-fd or at the prompt",
    "SIGNER_RETIRED": "sign on the machine the key moved to; see: drexnode signer status --home DIR",
    "SIGNER_UNREACHABLE": "drexnode signer run --home DIR",
    "SIGNER_EXPORT_DAMAGED": "copy the file again, or drexnode signer export-state again for the same heir",
    "SIGNER_EXPORT_NOT_OURS": "import it on the machine it was exported for (--heir PEER_ID)",
    "SIGNER_EXPORT_OLD": "use the newest export: this machine signed, or gave the key away, after this one",
    "REPLAY_DIFFERS": "drexnode verify --home DIR, then drexnode repair --home DIR",
    "REPAIR_NO_PEERS": "name a peer in p2p.peers, or restore a copy of the data",
    "STATEMENT_UNPROVEN": "leave that statement out, and find out who made it",
    "STATEMENT_BAD_SIGNATURE": "ask that node for its statement again",
    "RECOVER_CONFLICT": "stop: more than f validators signed two branches; compare their proofs",
    "RECOVER_BODIES_MISSING": "find the statement of a validator that is locked on the block",
    "RECOVER_FILE_EXISTS": "name a new file with --out",
    "RECOVER_NO_MEMORY": "name it with --signer-home DIR; gone for good: --memory-lost, --abandon-lock",
    "RECOVER_BEHIND": "bring its chain up again among its peers, or state the tip with --memory-lost",
    "OVERRIDE_NOT_AUTHORISED": "drexnode recover sign FILE KEY --genesis genesis.json",
    "OVERRIDE_LOWER_TIP": _STATE_ANEW,
    "OVERRIDE_OTHER_BLOCK": _STATE_ANEW,
    "OVERRIDE_LOCK_NOT_CARRIED": f"{_STATE_ANEW}; --abandon-lock when others have gone on already",
    "OVERRIDE_NO_MEMBER": "sign with a key of the genesis's recovery condition: drexnode genesis show FILE",
    "BUNDLE_UNREADABLE": "ask whoever sent it for the file that drexnode registry invite wrote",
    "BUNDLE_DAMAGED": "copy the file again",
    "BUNDLE_MALFORMED": "ask for a new one: drexnode registry invite",
    "BUNDLE_BAD_SIGNATURE": "do not use it: it was changed after it was signed; ask for a new one",
    "BUNDLE_FOREIGN_SIGNER": "ask the authority for its key, and if it is that one: --authority KEY",
    "BUNDLE_OTHER_CHAIN": "ask the authority for the bundle of your network",
    "BUNDLE_EXPIRED": "ask for a new one: drexnode registry invite",
    "PEER_INVALID": "an address looks like /ip4/10.0.0.1/tcp/26600/p2p/12D3KooW…: drexnode peers list --all",
    "PEER_NOT_PERMITTED": "the authority registers it: drexnode registry node add PEER ROLE ISPB --by WALLET",
    "PEER_IS_VALIDATOR": "vote it out first: drexnode validators propose remove KEY --by HOME",
    "PROOF_UNREADABLE": "make one: drexnode query proof supply BRL --out FILE",
    "PROOF_STALE": "ask a node that is at its peers' tip: drexnode query proof … --out FILE",
    "PROOF_TOO_LARGE": "prove single outputs: drexnode query proof output TXID:INDEX --out FILE",
    "PROOF_NEEDS_ADDRESS": "drexnode query proof output TXID:INDEX --address ACCOUNT --out FILE",
    "OVERRIDE_UNPROVEN": "give the genesis as well: --genesis FILE",
    "NODE_UNREACHABLE": "drexnode devnet status, or name a node with --rpc URL",
    "NODE_OBSERVER": "send to a validator or a full node with --rpc URL",
    "CONFIG_UNKNOWN_KEY": "drexnode config show",
    "CONFIG_BAD_VALUE": "drexnode config show",
    "RPC_UNAUTHORISED": "name the node's --home, or a --token-file made by: drexnode rpc token create",
    "RPC_FORBIDDEN": "drexnode rpc token create --methods METHOD --out FILE",
    "RPC_TOKEN_EXPIRED": "drexnode rpc token create --methods GLOB --out FILE",
    "RPC_TOKEN_REVOKED": "drexnode rpc token new-key NAME, then drexnode rpc token create --key-id NAME",
    "RPC_TOKEN_UNKNOWN_KEY": "drexnode rpc list --home DIR shows whom the node trusts",
    "RPC_API_KEY_UNKNOWN": "drexnode rpc list --home DIR shows whom the node trusts",
    "RPC_API_KEY_REVOKED": "drexnode rpc key create NAME --methods GLOB --home DIR",
    "RPC_ACCESS_UNREADABLE": "repair it, or move it away: drexnode config check --home DIR",
    "CLIENT_TLS_FILE": "name PEM files with --ca and --cert",
    "RPC_PORT_IN_USE": "drexnode start --set rpc.port=PORT",
    "TX_NOT_FINAL": "drexnode tx wait TXID, or drexnode status to see why no block comes",
    "TX_DOUBLE_SPEND": "drexnode query utxos ADDRESS",
    "WALLET_FUNDS": "drexnode query balance NAME",
    "WALLET_UNKNOWN": "drexnode keys list",
    "WALLET_TOO_MANY_COINS": "drexnode tx consolidate NAME",
}


class CliError(DrexError):
    """An error of the command line itself. `data["next"]` names the next command."""


def exit_code(error: DrexError) -> int:
    """The documented exit code of an error."""
    if error.code in _EXIT_OF_CODE:
        return _EXIT_OF_CODE[error.code]
    for family, code in _EXIT_OF_FAMILY.items():
        if error.code.startswith(f"{family}_"):
            return code
    return FAILURE


def show_error(error: DrexError, *, as_json: bool) -> None:
    """Write an error to stderr."""
    evidence = {key: _plain(value) for key, value in error.data.items() if key != "next"}
    following = error.data.get("next", _NEXT.get(error.code))
    if as_json:
        body = {"code": error.code, "message": error.message, "evidence": evidence, "next": following}
        document = {"schema_version": SCHEMA_VERSION, "error": body}
        click.echo(json.dumps(document, ensure_ascii=False), err=True)
        return
    click.echo(f"error {error.code}: {error.message}", err=True)
    for key, value in evidence.items():
        click.echo(f"  {key}: {value}", err=True)
    if following:
        click.echo(f"  next: {following}", err=True)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | bool | None) else str(value)


def show_json(data: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout, `schema_version` first."""
    document = {"schema_version": SCHEMA_VERSION, **{key: _plain(value) for key, value in data.items()}}
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def show_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Write names and values, one pair a line, aligned."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        click.echo(f"{name.ljust(width)}  {'-' if value is None else value}")


def show_table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """Write a table; columns whose place is in `right` are right-aligned. Nothing is cut off."""
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[place]) for line in [list(heads), *cells]) for place in range(len(heads))]
    for number, line in enumerate([list(heads), *cells]):
        padded = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text = "  ".join(padded).rstrip()
        click.echo(click.style(text, bold=True) if number == 0 and sys.stdout.isatty() else text)


def note(message: str) -> None:
    """Write a message for a person to stderr."""
    click.echo(message, err=True)
