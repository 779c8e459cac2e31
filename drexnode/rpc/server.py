"""Serves the HTTP port on Hypercorn's trio worker, in the node's own event loop."""
