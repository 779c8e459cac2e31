"""`drexnode query`: what the chain says. Amounts are shown in the asset's unit."""

from __future__ import annotations

from typing import Any

import click

from drexnode import client as rpc
from drexnode.cli import query_proof
from drexnode.cli.locate import open_client, wallet_book
from drexnode.cli.options import ExampleCommand, ExampleGroup, as_output, at_node
from drexnode.cli.output import CliError, show_json, show_pairs, show_table
from primitives.units import format_amount

ROWS = 100


@click.group("query", cls=ExampleGroup, example="drexnode query balance alice")
def command() -> None:
    """Balances, outputs, transactions, blocks, supply, validators."""


def address_of(client: rpc.Client, text: str) -> str:
    """The address of a devnet's wallet, a contact, a key in the keystore, or the address itself."""
    from drexnode.cli.secrets import default_keystore
    from drexnode.keystore import Keystore
    from drexnode.wallet import find_account
    from ledger.locks import key_lock
    from primitives.address import encode_address

    prefix: str = client.run(rpc.network_info())["node"]["address_prefix"]
    book, store = wallet_book(), Keystore(default_keystore())
    if (book is None or book.find(text) is None) and text in store.names():
        return encode_address(prefix, key_lock(store.show(text).public_key))
    return find_account(text, book, prefix).address


def _decimals(client: rpc.Client) -> dict[str, int]:
    return {item.asset: item.decimals for item in client.run(rpc.assets())}


@command.command("balance", cls=ExampleCommand, example="drexnode query balance alice -o json")
@click.argument("account")
@at_node
@as_output
def balance(account: str, as_json: bool) -> None:
    """What a wallet (name or address) holds of each asset: total, frozen, free."""
    with open_client() as client:
        address = address_of(client, account)
        found = client.run(rpc.balance(address))
        decimals = _decimals(client)
    rows = [
        {
            "asset": asset,
            "total": format_amount(entry.total, decimals.get(asset, 0)),
            "frozen": format_amount(entry.frozen, decimals.get(asset, 0)),
            "free": format_amount(entry.free, decimals.get(asset, 0)),
        }
        for asset, entry in sorted(found.items())
    ]
    if as_json:
        show_json({"address": address, "balances": rows})
    else:
        cells = [(row["asset"], row["total"], row["frozen"], row["free"]) for row in rows]
        show_table(("ASSET", "TOTAL", "FROZEN", "FREE"), cells, right=(1, 2, 3))


@command.command("utxos", cls=ExampleCommand, example="drexnode query utxos alice --asset BRL@99990001/DVT")
@click.argument("account")
@click.option("--asset", help="Of one asset alone.")
@click.option("--cursor", help="Go on after an earlier page.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=ROWS, show_default=True)
@at_node
@as_output
def utxos(account: str, asset: str | None, cursor: str | None, limit: int, as_json: bool) -> None:
    """Unspent outputs of a wallet (name or address)."""
    with open_client() as client:
        address = address_of(client, account)
        page = client.run(rpc.unspent(address, asset, cursor, limit))
        decimals = _decimals(client)
    rows = [
        {
            "txid": coin.txid,
            "index": coin.index,
            "asset": coin.asset,
            "amount": format_amount(coin.amount, decimals.get(coin.asset, 0)),
        }
        for coin in page.outputs
    ]
    if as_json:
        show_json({"address": address, "height": page.height, "outputs": rows, "cursor": page.cursor})
        return
    cells = [(row["txid"], row["index"], row["asset"], row["amount"]) for row in rows]
    show_table(("TRANSACTION", "INDEX", "ASSET", "AMOUNT"), cells, right=(1, 3))
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor}", err=True)


@command.command("tx", cls=ExampleCommand, example="drexnode query tx TXID -o json")
@click.argument("txid")
@at_node
@as_output
def transaction(txid: str, as_json: bool) -> None:
    """A transaction: status, place, inputs, outputs, signers."""
    with open_client() as client:
        found = client.run(rpc.transaction(txid))
        status = client.run(rpc.transaction_status(txid))
        decimals = _decimals(client)
    if found is None and status.status != "REJECTED":
        raise CliError("NOT_FOUND", f"this node knows no transaction {txid}", status=status.status)
    view = {**(found or {}), "txid": txid, "status": status.status, "round": status.round}
    view |= {"code": status.code, "reason": status.reason}
    if as_json:
        show_json(view)
    else:
        _show_transaction(view, decimals)


def _show_transaction(view: dict[str, Any], decimals: dict[str, int]) -> None:
    names = ("txid", "status", "kind", "height", "index", "round", "block_id", "size_bytes", "code", "reason")
    show_pairs([(name, view[name]) for name in names if view.get(name) is not None])
    for item in view.get("inputs", ()):
        click.echo(f"  in   {item['txid']}:{item['index']}")
    for item in view.get("outputs", ()):
        amount = format_amount(int(item["amount"]), decimals.get(item["asset"], 0))
        click.echo(f"  out  {amount} {item['asset']} to {item['address']}")
    for item in view.get("signers", ()):
        click.echo(f"  by   {item['address']}")


@command.command("block", cls=ExampleCommand, example="drexnode query block latest")
@click.argument("which", default="latest")
@click.option("--full", is_flag=True, help="With decoded transactions.")
@at_node
@as_output
def block(which: str, full: bool, as_json: bool) -> None:
    """A block by height, id, or "latest"."""
    call = rpc.block_by_id(which, full=full) if len(which) == 64 else rpc.block(which, full=full)
    with open_client() as client:
        found = client.run(call)
    if found is None:
        raise CliError("NOT_FOUND", f"this node has no block {which}")
    if as_json:
        show_json(found)
        return
    certificate = found.pop("certificate") or {}
    transactions = found.pop("transactions")
    pairs = [(name, value) for name, value in found.items()]
    pairs.append(("signers", f"{len(certificate.get('signers', ()))} of {certificate.get('validators')}"))
    show_pairs(pairs)
    for item in transactions:
        click.echo(f"  {item if isinstance(item, str) else item['txid'] + ' ' + item['kind']}")


@command.command("supply", cls=ExampleCommand, example="drexnode query supply BRL")
@click.argument("asset", default="BRL")
@at_node
@as_output
def supply(asset: str, as_json: bool) -> None:
    """What was emitted and burned of an asset, and what circulates."""
    with open_client() as client:
        found = client.run(rpc.supply(asset))
        places = _decimals(client).get(asset, 0)
    view = {
        "asset": asset,
        "height": found.height,
        "emitted": format_amount(found.emitted, places),
        "burned": format_amount(found.burned, places),
        "circulating": format_amount(found.circulating, places),
    }
    if as_json:
        show_json(view)
    else:
        show_pairs(list(view.items()))


@command.command("validators", cls=ExampleCommand, example="drexnode query validators")
@click.argument("height", default="latest")
@at_node
@as_output
def validators(height: str, as_json: bool) -> None:
    """Keys of the validators that decide a height."""
    with open_client() as client:
        keys = client.run(rpc.validators(height))
    if as_json:
        show_json({"height": height, "validators": keys})
    else:
        show_table(("INDEX", "PUBLIC KEY"), list(enumerate(keys)), right=(0,))


@command.command("participants", cls=ExampleCommand, example="drexnode query participants")
@at_node
@as_output
def participants(as_json: bool) -> None:
    """Registered participants."""
    with open_client() as client:
        found = client.run(rpc.participants())
    if as_json:
        show_json({"participants": found})
    else:
        rows = [(item["ispb"], item["name"], item["role"], item["settlement_address"]) for item in found]
        show_table(("ISPB", "NAME", "ROLE", "SETTLEMENT ADDRESS"), rows)


@command.command("assets", cls=ExampleCommand, example="drexnode query assets")
@at_node
@as_output
def assets(as_json: bool) -> None:
    """Registered assets and their policies."""
    import msgspec

    with open_client() as client:
        found = [msgspec.to_builtins(item) for item in client.run(rpc.assets())]
    if as_json:
        show_json({"assets": found})
    else:
        rows = [(item["asset"], item["issuer"], item["decimals"], item["holders"]) for item in found]
        show_table(("ASSET", "ISSUER", "DECIMALS", "HOLDERS"), rows, right=(2,))


@command.command("history", cls=ExampleCommand, example="drexnode query history alice --limit 20")
@click.argument("account")
@click.option("--cursor", help="Go on after an earlier page.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=ROWS, show_default=True)
@at_node
@as_output
def history(account: str, cursor: str | None, limit: int, as_json: bool) -> None:
    """Final transactions of a wallet (name or address), newest first."""
    with open_client() as client:
        address = address_of(client, account)
        page = client.run(rpc.history(address, cursor, limit))
    entries = [{"height": item.height, "index": item.index, "txid": item.txid} for item in page.entries]
    if as_json:
        show_json({"address": address, "height": page.height, "entries": entries, "cursor": page.cursor})
        return
    rows = [(item["height"], item["index"], item["txid"]) for item in entries]
    show_table(("HEIGHT", "INDEX", "TRANSACTION"), rows, right=(0, 1))
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor}", err=True)


@command.command("frozen", cls=ExampleCommand, example="drexnode query frozen alice")
@click.argument("account")
@at_node
@as_output
def frozen(account: str, as_json: bool) -> None:
    """Freezes that stand on a wallet (name or address): asset, author, order, amount."""
    with open_client() as client:
        address = address_of(client, account)
        found = client.run(rpc.frozen(address))
        decimals = _decimals(client)
    rows = [
        {
            "asset": item.asset,
            "author": item.author,
            "order_id": item.order_id,
            "amount": format_amount(item.amount, decimals.get(item.asset, 0)),
        }
        for item in found
    ]
    if as_json:
        show_json({"address": address, "freezes": rows})
    else:
        cells = [(row["asset"], row["author"], row["order_id"], row["amount"]) for row in rows]
        show_table(("ASSET", "AUTHOR", "ORDER", "AMOUNT"), cells, right=(3,))


@command.command("wallet", cls=ExampleCommand, example="drexnode query wallet bob")
@click.argument("account")
@at_node
@as_output
def wallet(account: str, as_json: bool) -> None:
    """What the registry says of a wallet (name or address): whose it is, who enabled or disabled it."""
    import msgspec

    with open_client() as client:
        found = client.run(rpc.wallet(address_of(client, account)))
    if as_json:
        show_json(msgspec.to_builtins(found))
        return
    own = found.participant or {}
    show_pairs([("address", found.address), *((name, own[name]) for name in own if own[name])])
    for item in found.clients_of:
        state = f"disabled by {', '.join(item.disabled_by)}" if item.disabled_by else "enabled"
        click.echo(f"  client of {item.issuer}: {state}")


command.add_command(query_proof.command)


@command.command("votes", cls=ExampleCommand, example="drexnode query votes")
@at_node
@as_output
def votes(as_json: bool) -> None:
    """Validator votes that stand, and the height until which each counts."""
    with open_client() as client:
        found = client.run(rpc.pending_votes())
    if as_json:
        show_json({"votes": found})
    else:
        rows = [
            (item["subject"], "add" if item["add"] else "remove", item["voter"], item["expires"])
            for item in found
        ]
        show_table(("SUBJECT", "VOTE", "VOTER", "EXPIRES"), rows, right=(3,))
