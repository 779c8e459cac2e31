"""Commands at a running network: what is sent is waited for, and the wallets of a devnet are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drexnode import client as rpc
from drexnode.wallet import Wallet
from drexnode.wallet_accounts import Account
from tests.drexnode.shell import Shell
from tests.network.net import Network


class Desk(Shell):
    """Commands at one node; what is sent is waited for. `folder` takes the files that are handed over."""

    def __init__(self, net: Network, folder: Path) -> None:
        super().__init__(net.nodes[0].rpc_url, folder, ("--dir", str(net.folder)))
        self.net = net

    def final(self, *arguments: str) -> dict[str, Any]:
        done = self.done(*arguments, "--wait")
        assert done["status"] == "FINAL"
        assert len(done["signers"]) >= 2
        return done

    def account(self, name: str) -> Account:
        return self.net.wallets[name]

    def open(self) -> Wallet:
        return Wallet(rpc.Client(self.url))

    def next_validators(self) -> int:
        """How many decide the next height."""
        with rpc.Client(self.url) as client:
            return len(client.run(rpc.validators(client.run(rpc.block_number()) + 1)))

    def raw(self, txid: str) -> bytes:
        found = self.net.ask("validator-0", rpc.transaction(txid))
        assert found is not None
        return bytes.fromhex(found["raw"])

    def verdict(self, raw: bytes) -> str | None:
        return self.net.ask("validator-0", rpc.simulate(raw)).code
