"""The node's one HTTP port: JSON-RPC, probes, metrics, subscriptions (docs/rpc.md)."""
