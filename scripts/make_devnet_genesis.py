"""Write genesis/devnet.json: the devnet's document for four validators, from the keys that everybody knows.

.venv/bin/python scripts/make_devnet_genesis.py [--validators 4] > genesis/devnet.json
"""

from __future__ import annotations

import argparse
import json
import sys

from ledger.devnet import (
    DEVNET_WALLETS,
    DevnetNode,
    devnet_seed,
    ed25519_peer_id,
    make_devnet_genesis,
)
from ledger.genesis_json import document_to_json
from ledger.genesis_records import GenesisDocument
from ledger.payloads import NodeRole
from primitives.keys import PublicKey, SigningKey

FIRST_PORT = 26_600


def open_key(name: str) -> PublicKey:
    """The public key of a devnet wallet or node."""
    return SigningKey(devnet_seed(name)).public_key


def open_devnet(validators: int) -> GenesisDocument:
    """The document of `validators` validators, one full node and one observer on loopback."""
    roles = [("validator", NodeRole.VALIDATOR)] * validators + [
        ("full", NodeRole.FULL),
        ("observer", NodeRole.OBSERVER),
    ]
    nodes = []
    for place, (prefix, role) in enumerate(roles):
        name = f"{prefix}-{place if role is NodeRole.VALIDATOR else 0}"
        key = open_key(name) if role is NodeRole.VALIDATOR else None
        address = f"/ip4/127.0.0.1/tcp/{FIRST_PORT + place}"
        nodes.append(DevnetNode(role, ed25519_peer_id(open_key(f"{name}/p2p")), (address,), key))
    return make_devnet_genesis(nodes, {name: open_key(name) for name in DEVNET_WALLETS})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validators", type=int, default=4)
    document = open_devnet(parser.parse_args().validators)
    json.dump(document_to_json(document), sys.stdout, indent=2, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
