"""The node: the composition root of every room below it."""
