"""All methods, by subject. Importing this package fills the registry."""

from drexnode.rpc.methods import (
    chain,
    consensus,
    ledger,
    maintenance,
    money,
    network,
    peering,
    subscriptions,
    transactions,
    upgrade,
)

__all__ = [
    "chain",
    "consensus",
    "ledger",
    "maintenance",
    "money",
    "network",
    "peering",
    "subscriptions",
    "transactions",
    "upgrade",
]
