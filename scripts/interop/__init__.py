"""Another libp2p, written by others, as an observer of a network: see README.md."""
